//! The lab's own program, started again as another part of the cluster, and its life and death.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use herald_netns::Netns;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, gettid};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// First argument of a process that plays a part instead of talking to a person.
pub const ROLE: &str = "role";

/// Environment variable that names the thread that started a role, as a path in `/proc`.
const PARENT: &str = "HERALD_LAB_PARENT";

/// The command that runs this very program in another role, e.g. `["pod", "--name", "app-1"]`.
///
/// `/proc/self/exe` and not a path, so that it works although cargo has replaced the file meanwhile.
pub fn role(arguments: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(format!(
            "herald-lab-{}",
            arguments.first().map_or("role", String::as_str)
        ))
        .arg(ROLE)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Notes in the command's environment that the calling thread starts it; [`die_with_parent`] reads it.
pub fn name_parent(command: &mut Command) {
    command.env(PARENT, format!("/proc/{}/task/{}", getpid(), gettid()));
}

/// Starts a process inside `namespace`. The kernel kills it when the namespace's thread ends, provided that it calls
/// [`die_with_parent`].
///
/// # Errors
/// When the program cannot be started.
pub async fn spawn(namespace: &Netns, mut command: Command) -> io::Result<Child> {
    let spawn = move || {
        name_parent(&mut command);
        command.spawn()
    };
    namespace.run(spawn).await
}

/// Asks the kernel to kill this process when the thread that started it ends, however it ends.
pub fn die_with_parent() -> anyhow::Result<()> {
    let parent = std::env::var_os(PARENT).context("only the lab starts a role")?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to its parent")?;
    // The thread may have ended before that call.
    anyhow::ensure!(
        Path::new(&parent).exists(),
        "the lab that started this process is gone"
    );
    Ok(())
}

/// A part of the cluster, ready to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// The role, then its arguments.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl Program {
    /// The command that runs it.
    pub fn command(&self) -> Command {
        let mut command = role(&self.arguments);
        command.envs(self.environment.iter().cloned());
        command
    }
}

fn redirect(command: &mut Command, name: &str, logs: &Path) -> anyhow::Result<()> {
    let log = logs.join(format!("{name}.log"));
    let file = File::options().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    command.stderr(file.try_clone()?).stdout(file);
    Ok(())
}

/// A running process of the cluster, killed when dropped.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command` in `namespace`, its output going to `<logs>/<name>.log`, appended to what is there.
    pub async fn start(
        namespace: &Netns,
        name: &str,
        mut command: Command,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        redirect(&mut command, name, logs)?;
        Self::started(name, spawn(namespace, command).await)
    }

    /// The same in the namespace of the calling thread, with whose end it is killed.
    pub fn start_here(name: &str, mut command: Command, logs: &Path) -> anyhow::Result<Self> {
        redirect(&mut command, name, logs)?;
        name_parent(&mut command);
        Self::started(name, command.spawn())
    }

    fn started(name: &str, child: io::Result<Child>) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            child: child.with_context(|| format!("cannot start {name}"))?,
        })
    }

    /// Its process id; `None` once it has ended and was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its memory that is resident, in bytes.
    pub fn resident_memory(&self) -> anyhow::Result<u64> {
        let id = self
            .child
            .id()
            .with_context(|| format!("{} has ended", self.name))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes.context("no VmRSS")?.trim().parse()?;
        Ok(kilobytes * 1024)
    }

    /// Sends a signal; fails if the process has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self
            .child
            .id()
            .with_context(|| format!("{} has ended", self.name))?;
        kill(Pid::from_raw(i32::try_from(id)?), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop (SIGTERM) and waits for that, at most `grace`.
    pub async fn stop(&mut self, grace: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(grace).await
    }

    /// Waits until it has ended after SIGTERM, at most `grace`.
    pub async fn wait(&mut self, grace: Duration) -> anyhow::Result<ExitStatus> {
        let ended = timeout(grace, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} still runs {grace:?} after SIGTERM", self.name))??)
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}
