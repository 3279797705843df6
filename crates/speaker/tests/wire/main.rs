//! The wire task against real kernels: every host is a network namespace on a bridge.
//!
//! It does not use the test framework of the standard library, because a user namespace must be entered before the first
//! thread starts.

mod arp;
mod capability;
mod filter;
mod interfaces;
mod kinds;
mod ndp;
mod speaker;
mod switch;
mod tools;

use std::io::Write;
use std::process::ExitCode;

use herald_netns::{sandbox, tool};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    tool::become_tool();
    if let Some(code) = capability::go_without() {
        return code;
    }
    if let Err(denied) = sandbox::enter() {
        let _ = writeln!(std::io::stderr(), "{denied}");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::from_args();
    let tests = [
        arp::tests(),
        capability::tests(),
        filter::tests(),
        interfaces::tests(),
        kinds::tests(),
        ndp::tests(),
        switch::tests(),
        tools::tests(),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
}

/// A test of this name; it fails by panicking.
fn test(name: &str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

/// Names tests by their functions.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn tests() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::test(&format!("{}::{}", module_path!(), stringify!($name)), $name)),*]
        }
    };
}
pub(crate) use tests;
