//! Without CAP_NET_RAW.

use std::io::Write;
use std::process::{Command, ExitCode};

use herald_speaker::wire::{Wire, WireOptions};
use nix::sched::{CloneFlags, unshare};
use prometheus::Registry;

crate::tests![a_missing_capability_is_named_with_its_remedy];

/// Set in the process that has to run without the capability.
const WITHOUT: &str = "HERALD_TEST_WITHOUT_CAPABILITY";

/// In a user namespace of its own a process has no say over the network namespace that it came from. Prints why the
/// wire task cannot start there, if this process is the one to find out.
pub(crate) fn go_without() -> Option<ExitCode> {
    std::env::var_os(WITHOUT)?;
    unshare(CloneFlags::CLONE_NEWUSER).expect("user namespaces are needed");
    match Wire::start(WireOptions::default(), &Registry::new()) {
        Ok(_) => Some(ExitCode::SUCCESS),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn a_missing_capability_is_named_with_its_remedy() {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).env(WITHOUT, "1").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert_eq!(
        text.trim(),
        "cannot open a packet socket: needs CAP_NET_RAW: run as root or add NET_RAW to the container's capabilities"
    );
}
