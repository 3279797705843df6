//! A network namespace without a name: it lives in a thread and ends with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Links, sysctl, tool};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, held by a thread of its own that runs closures and starts processes inside it.
///
/// Nothing appears under `/run/netns`, so two runs cannot collide and nothing is left there: the namespace ends when this
/// value, the processes in it and the sockets made in it are gone.
pub struct Netns {
    name: String,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    file: File,
}

impl Netns {
    /// Makes a namespace; `name` is for messages only. Its loopback link is down.
    ///
    /// # Errors
    /// When the process may not make network namespaces, see [`crate::sandbox`].
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
            .context("the namespace's thread ended")?
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

    /// Runs `job` inside the namespace and waits for its result. Threads that `job` starts live in the namespace, too.
    ///
    /// The caller's runtime is entered for the time of the job: an asynchronous socket or child made in it belongs to this
    /// namespace and is driven by that runtime.
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
        self.send(Box::new(move || {
            let _entered = runtime.enter();
            // The caller may have been cancelled; then the result is not needed.
            let _ = reply.send(catch_unwind(AssertUnwindSafe(job)));
        }));
        let result = result.await;
        result
            .unwrap_or_else(|_| panic!("the thread of namespace {} ended", self.name))
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `job` inside the namespace and blocks until its result is there. No runtime is entered.
    ///
    /// # Panics
    /// When `job` panics.
    pub fn run_blocking<T, F>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (reply, result) = mpsc::channel();
        self.send(Box::new(move || {
            let _ = reply.send(catch_unwind(AssertUnwindSafe(job)));
        }));
        result
            .recv()
            .unwrap_or_else(|_| panic!("the thread of namespace {} ended", self.name))
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn send(&self, job: Job) {
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .unwrap_or_else(|| panic!("the thread of namespace {} ended", self.name));
    }

    /// Runs a program of the machine inside the namespace and returns its output.
    ///
    /// # Errors
    /// When it is not installed or cannot be started. Its exit status is for the caller to judge.
    pub async fn output(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let found = tool::find(program).with_context(|| format!("{program} is not installed"))?;
        let mut command = Command::new(found);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = self.run(move || command.spawn()).await;
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
    ///
    /// # Errors
    /// When no netlink socket can be opened.
    pub async fn links(&self) -> anyhow::Result<Links> {
        let (connection, handle, _) = self
            .run(rtnetlink::new_connection)
            .await
            .with_context(|| format!("cannot open netlink in {}", self.name))?;
        tokio::spawn(connection);
        Ok(Links::new(handle))
    }

    /// Sets the namespace up as a host: the loopback link is up, and IPv6 addresses, link-local ones included, are usable at
    /// once. Duplicate address detection (RFC 4862 section 5.4) would delay them by a second, and no other machine has them.
    ///
    /// # Errors
    /// When `/proc/sys` is read-only or netlink refuses.
    pub async fn set_up(&self) -> anyhow::Result<Links> {
        self.set_sysctl("net/ipv6/conf/default/accept_dad", "0").await?;
        let links = self.links().await?;
        links.set_up("lo", true).await?;
        Ok(links)
    }

    /// Sets a kernel parameter of the namespace, e.g. `net/ipv4/conf/all/arp_ignore`.
    ///
    /// # Errors
    /// As [`sysctl::set`].
    pub async fn set_sysctl(&self, key: &'static str, value: &'static str) -> anyhow::Result<()> {
        self.run(move || sysctl::set(key, value))
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
