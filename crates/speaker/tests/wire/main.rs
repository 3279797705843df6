//! The wire task against real kernels: every host is a network namespace on a bridge.
//!
//! No test framework of the standard library, since a user namespace must be entered before the first thread.

mod arp;
mod capability;
mod capture;
mod filter;
mod host;
mod interfaces;
mod kinds;
mod ndp;
mod segment;
mod speaker;
mod switch;
mod tools;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    tools::become_tool();
    if let Some(code) = capability::go_without() {
        return code;
    }
    host::enter_user_namespace();
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
