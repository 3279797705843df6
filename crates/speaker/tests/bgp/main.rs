//! The BGP thread with real routers: FRR, BIRD and GoBGP, each in a network namespace. The tests of a router that is not installed,
//! or cannot run here, are shown as ignored, but under continuous integration (`CI` set) they fail.
//!
//! It does not use the test framework of the standard library, because a user namespace must be entered before the first
//! thread starts.

mod bad_peer;
mod bird;
mod cases;
mod frr;
mod gobgp;
mod node;
mod router;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use herald_netns::{sandbox, tool};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::unistd::Uid;

use router::Kind;

fn main() -> ExitCode {
    let is_root = Uid::effective().is_root();
    if let Err(denied) = sandbox::enter() {
        let _ = writeln!(std::io::stderr(), "{denied}");
        return ExitCode::FAILURE;
    }
    let tests = Kind::ALL.into_iter().flat_map(|kind| {
        let tests = cases::ALL.iter();
        tests.map(move |(name, run)| test(kind, name, *run, is_root))
    });
    let tests = tests.collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn test(kind: Kind, name: &str, run: fn(Kind), is_root: bool) -> Trial {
    Trial::ignorable_test(format!("{kind}::{name}"), move || {
        let missing = kind
            .programs()
            .iter()
            .find(|program| tool::find(program).is_none());
        let reason = if let Some(program) = missing {
            format!("{program} is not installed")
        } else if kind == Kind::Frr && !is_root {
            "zebra needs root, because it changes to a user of its own".to_owned()
        } else {
            run(kind);
            return Ok(Completion::Completed);
        };
        if std::env::var_os("CI").is_some() {
            return Err(Failed::from(reason));
        }
        Ok(Completion::ignored_with(reason))
    })
}

/// How long a condition may take: several attempts to connect, of which each may take 5 s, on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(90);

/// Polls `check` until it returns a value.
fn wait_for<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(last) => assert!(
                Instant::now() < deadline,
                "{what}: not within {DEADLINE:?}, but {last}"
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
