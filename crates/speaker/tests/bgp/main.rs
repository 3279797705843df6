//! The BGP thread with real routers: FRR, BIRD and GoBGP, each in a network namespace. The tests of a router that is not installed,
//! or cannot run here, are shown as ignored, but under continuous integration (`CI` set) they fail.
//!
//! It does not use the test framework of the standard library, because a user namespace must be entered before the first
//! thread starts.

mod bad_peer;
mod cases;
mod node;

use std::io::Write;
use std::process::ExitCode;

use herald_netns::blocking::Host;
use herald_netns::sandbox;
use herald_routers::Kind;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    if let Err(denied) = sandbox::enter() {
        let _ = writeln!(std::io::stderr(), "{denied}");
        return ExitCode::FAILURE;
    }
    let tests = Kind::ALL
        .into_iter()
        .flat_map(|kind| cases::of(kind).map(move |(name, run)| test(kind, name, *run)));
    let tests = tests.chain([in_a_vrf()]).collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn test(kind: Kind, name: &str, run: fn(Kind)) -> Trial {
    Trial::ignorable_test(format!("{kind}::{name}"), move || {
        with_router(kind, || {
            run(kind);
            Completion::Completed
        })
    })
}

/// Not every kernel has VRFs. Where they are missing the test is ignored, under continuous integration as well: no package
/// brings them.
fn in_a_vrf() -> Trial {
    let kind = Kind::Frr;
    let name = format!("{kind}::a_session_in_a_vrf_leaves_by_its_routes");
    Trial::ignorable_test(name, move || {
        with_router(kind, || match cases::add_vrf(&Host::new()) {
            Ok(()) => {
                cases::a_session_in_a_vrf_leaves_by_its_routes(kind);
                Completion::Completed
            }
            Err(error) => Completion::ignored_with(format!("this kernel has no VRF: {error:#}")),
        })
    })
}

fn with_router(kind: Kind, run: impl FnOnce() -> Completion) -> Result<Completion, Failed> {
    let Some(reason) = kind.obstacle() else {
        return Ok(run());
    };
    if std::env::var_os("CI").is_some() {
        return Err(Failed::from(reason));
    }
    Ok(Completion::ignored_with(reason))
}
