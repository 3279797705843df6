//! Programs of the machine that tests make use of.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;

/// Set in the process that is to become the program of this name.
const UNPRIVILEGED: &str = "HERALD_TEST_UNPRIVILEGED";

/// The path of a program, if it is installed. Those that administer a network are often in directories that only root's PATH
/// names.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Builds a command that runs `program` as an ordinary user of a user namespace of its own. As root, tcpdump changes to
/// another user, which a user namespace with one user does not allow. The caller's own program is run for it and must call
/// [`become_tool`].
///
/// # Panics
/// When the path of this program is unknown.
pub fn unprivileged(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(arguments).env(UNPRIVILEGED, program);
    command
}

/// Becomes the program that [`unprivileged`] started this process for, if it did. Call it first in `main`.
///
/// # Panics
/// When user namespaces are not allowed or the program cannot be run.
pub fn become_tool() {
    let Some(program) = std::env::var_os(UNPRIVILEGED) else {
        return;
    };
    let outside = Uid::effective();
    unshare(CloneFlags::CLONE_NEWUSER).expect("user namespaces are needed");
    std::fs::write("/proc/self/uid_map", format!("1000 {outside} 1")).expect("the user can be mapped");
    let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
    panic!("cannot become the program: {error}");
}
