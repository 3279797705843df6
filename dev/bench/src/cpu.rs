//! Processor time of threads and processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

/// A thread, and what it has used since when.
pub(super) struct Cpu {
    schedstat: PathBuf,
    used: Duration,
    since: Instant,
}

impl Cpu {
    /// Counts from now on for the thread of this name.
    pub(super) fn of(thread: &str) -> anyhow::Result<Self> {
        let tasks = std::fs::read_dir("/proc/self/task").context("cannot list threads")?;
        let found = tasks.flatten().find(|task| {
            let name = std::fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name.trim_end() == thread)
        });
        let task = found.with_context(|| format!("there is no thread {thread}"))?;
        let schedstat = task.path().join("schedstat");
        let (used, since) = (used(&schedstat)?, Instant::now());
        Ok(Self {
            schedstat,
            used,
            since,
        })
    }

    /// What it has used since then.
    pub(super) fn spent(&self) -> anyhow::Result<Duration> {
        Ok(used(&self.schedstat)?.saturating_sub(self.used))
    }

    /// What it has used since then, in percent of one core.
    pub(super) fn percent(&self) -> anyhow::Result<f64> {
        Ok(self.spent()?.as_secs_f64() / self.since.elapsed().as_secs_f64() * 100.0)
    }
}

/// The first number of `schedstat` is the time on a processor, in nanoseconds (sched-stats documentation of the kernel).
fn used(schedstat: &Path) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(schedstat).context("cannot read a thread's processor time")?;
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds
        .map(Duration::from_nanos)
        .context("the kernel does not tell a thread's processor time")
}

/// The time that a process, all its threads and its children have spent on a processor.
pub(super) fn used_by_family(process: u32) -> anyhow::Result<Duration> {
    let mut spent = Duration::ZERO;
    let mut family = vec![process];
    while let Some(id) = family.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).context("a process has ended")?;
        for task in tasks.flatten().map(|task| task.path()) {
            // A thread may end meanwhile.
            spent += used(&task.join("schedstat")).unwrap_or_default();
            let children = std::fs::read_to_string(task.join("children")).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    Ok(spent)
}
