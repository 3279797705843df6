//! A thread that hangs: stopped by ptrace(2), while the other threads of its process go on.

use anyhow::Context;
use clap::Args;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Arguments of the hold role.
#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// The id of the thread.
    #[arg(long)]
    thread: i32,
}

/// Stops a thread for as long as this process lives, or until the other process ends.
pub(super) fn run(args: HoldArgs) -> anyhow::Result<()> {
    let thread = Pid::from_raw(args.thread);
    ptrace::seize(thread, ptrace::Options::empty()).context("cannot attach to the thread")?;
    ptrace::interrupt(thread).context("cannot stop the thread")?;
    // Each stop that follows a signal stays, too: nothing here lets the thread go on.
    loop {
        waitpid(thread, Some(WaitPidFlag::__WALL)).context("the thread has ended")?;
    }
}
