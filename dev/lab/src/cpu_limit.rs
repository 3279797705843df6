//! A limit of processor time for processes, as a container has it: a control group of the kernel, version 2 or 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The period in which the kernel enforces a limit, in microseconds: its default.
const PERIOD: u32 = 100_000;

/// Where control groups are mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// The name of a group begins so; the id of the process that made it follows.
pub(crate) const PREFIX: &str = "herald-lab-";

/// How often it is tried to remove a group, 10 ms apart: a process leaves it some time after it was killed.
const ATTEMPTS: u32 = 200;

/// A control group. When it is dropped, the processes in it are killed and it is removed.
#[derive(Debug)]
pub struct CpuLimit {
    directory: PathBuf,
}

impl CpuLimit {
    /// Creates a group whose processes get `millis` thousandths of a processor together.
    ///
    /// # Errors
    /// When the kernel has no limits of processor time, or this process may not set them: it needs to be root.
    pub fn new(millis: u32) -> anyhow::Result<Self> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let root = Path::new(ROOT);
        let quota = PERIOD / 1000 * millis;
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let (parent, limit) = if controllers.split_whitespace().any(|name| name == "cpu") {
            fs::write(root.join("cgroup.subtree_control"), "+cpu").context("cannot enable CPU limits")?;
            (root.to_owned(), vec![("cpu.max", format!("{quota} {PERIOD}"))])
        } else {
            let files = vec![
                ("cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            (root.join("cpu"), files)
        };
        remove_abandoned(&parent);
        let directory = parent.join(name);
        fs::create_dir(&directory).context("cannot make a control group")?;
        let group = Self { directory };
        for (file, value) in limit {
            group
                .write(file, &value)
                .with_context(|| format!("cannot write {file}"))?;
        }
        Ok(group)
    }

    /// Moves a process with all its threads into the group.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn add(&self, process: u32) -> anyhow::Result<()> {
        self.write("cgroup.procs", &process.to_string())
            .context("cannot limit a process")
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), value)
    }
}

impl Drop for CpuLimit {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines().filter_map(|id| id.parse().ok()) {
            // It may have ended meanwhile.
            let _ended = kill(Pid::from_raw(member), Signal::SIGKILL);
        }
        remove(&self.directory);
    }
}

/// Removes a group whose processes were killed, with the groups in it.
pub(crate) fn remove(group: &Path) {
    let mut removed = remove_now(group);
    for _ in 0..ATTEMPTS {
        if removed.is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
        removed = remove_now(group);
    }
    if let Err(error) = removed {
        tracing::warn!("cannot remove {}: {error}", group.display());
    }
}

fn remove_now(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_now(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Removes the groups of processes that were killed.
pub(crate) fn remove_abandoned(parent: &Path) {
    let groups = fs::read_dir(parent).into_iter().flatten().flatten();
    for group in groups {
        let name = group.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // Its processes may still be ending; the next group removes it then.
            let _busy = remove_now(&group.path());
        }
    }
}
