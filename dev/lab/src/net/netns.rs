//! A network namespace without a name: it lives in a thread and dies with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Links;
use crate::process;
use crate::tool;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, held by a thread of its own that runs closures and starts processes inside it.
///
/// Nothing appears under `/run/netns`, so two runs cannot collide and nothing can be forgotten there: the
/// namespace ends when this value, the processes in it and the sockets made in it are gone.
pub struct Netns {
    name: String,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    file: File,
}

impl Netns {
    /// Makes a namespace; `name` is for messages only. Its loopback link is down.
    pub fn new(name: impl Into<String>) -> anyhow::Result<Self> {
        let name = name.into();
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (entered, outcome) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("netns-{name}"))
            .spawn(move || live_in_namespace(&entered, &inbox))
            .context("cannot start a thread")?;
        let file = outcome
            .recv()
            .context("the namespace's thread died")?
            .with_context(|| format!("cannot make a network namespace for {name}"))?;
        Ok(Self {
            name,
            jobs: Some(jobs),
            thread: Some(thread),
            file,
        })
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A descriptor of the namespace, to move a link into it.
    pub fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `job` inside the namespace and waits for its result.
    ///
    /// The caller's runtime is entered for the time of the job: an asynchronous socket or child made in it
    /// belongs to this namespace for good and yet is driven by that runtime.
    ///
    /// # Panics
    /// When called outside a runtime, and when `job` panics.
    pub async fn run<T, F>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let runtime = Handle::current();
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _entered = runtime.enter();
            // The caller may have been cancelled; then nobody wants the result.
            let _ = reply.send(job());
        });
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .unwrap_or_else(|| panic!("the thread of namespace {} ended", self.name));
        result
            .await
            .unwrap_or_else(|_| panic!("a job in namespace {} panicked", self.name))
    }

    /// Starts a process inside the namespace. The kernel kills it when this value is dropped, provided that
    /// it asked for that (see [`crate::process`]).
    pub async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || {
            process::name_parent(&mut command);
            command.spawn()
        })
        .await
    }

    /// Runs a program of the machine inside the namespace and waits for what it writes.
    ///
    /// # Errors
    /// When it is not installed or cannot be started; how it ends is the caller's concern.
    pub async fn output(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let found = tool::find(program).with_context(|| format!("{program} is not installed"))?;
        let mut command = process::role(&["exec".to_owned(), found.display().to_string()]);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.spawn(command).await;
        let child = child.with_context(|| format!("cannot run {program} in {}", self.name))?;
        Ok(child.wait_with_output().await?)
    }

    /// Runs a command of nft(8), e.g. `flush ruleset`.
    ///
    /// # Errors
    /// When nft is not installed or refuses.
    pub async fn nft(&self, command: &str) -> anyhow::Result<()> {
        let output = self.output("nft", &[command]).await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "nft {command}: {complaint}");
        Ok(())
    }

    /// A netlink connection to the namespace.
    pub async fn links(&self) -> anyhow::Result<Links> {
        let (connection, handle, _) = self
            .run(rtnetlink::new_connection)
            .await
            .with_context(|| format!("cannot open netlink in {}", self.name))?;
        tokio::spawn(connection);
        Ok(Links::new(handle))
    }

    /// Sets a kernel parameter of the namespace, e.g. `net/ipv4/conf/all/arp_ignore`.
    pub async fn set_sysctl(&self, key: &'static str, value: &'static str) -> anyhow::Result<()> {
        self.run(move || super::sysctl::set(key, value))
            .await
            .with_context(|| format!("in {}", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A job's panic has reached its caller already.
            let _ = thread.join();
        }
    }
}

fn live_in_namespace(entered: &mpsc::Sender<io::Result<File>>, inbox: &mpsc::Receiver<Job>) {
    let namespace = unshare(CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .and_then(|()| File::open("/proc/thread-self/ns/net"));
    let usable = namespace.is_ok();
    if entered.send(namespace).is_ok() && usable {
        inbox.iter().for_each(|job| job());
    }
}
