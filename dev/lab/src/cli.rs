//! The command line of `herald-lab`.

use std::process::ExitCode;

use crate::interrupt::Interrupt;
use clap::{Parser, Subcommand};
use herald_netns::sandbox;

use crate::demo::{self, DemoArgs};
use crate::process::ROLE;
use crate::role::{self, RoleArgs};
use crate::soak::{self, SoakArgs};

/// A cluster on one machine: network namespaces as nodes, an embedded Kubernetes API, the real controller and
/// speakers.
#[derive(Debug, Parser)]
#[command(name = "herald-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the main features from end to end, then cleans up.
    Demo(DemoArgs),
    /// Disturbs a cluster for long, and fails when an address moves.
    Soak(SoakArgs),
    /// Part of a cluster; the lab runs its own program again for each.
    #[command(hide = true, name = ROLE)]
    Role(Box<RoleArgs>),
}

/// Runs the program. Call it before anything has started a thread.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Role(args) => role::run(*args),
        Command::Demo(args) => {
            let json = args.json;
            let outcome = in_sandbox(|interrupt| demo::run(args, interrupt));
            demo::conclude(json, &outcome);
            outcome
        }
        Command::Soak(args) => in_sandbox(|interrupt| soak::run(args, interrupt)),
    };
    finish("herald-lab", outcome)
}

/// Plays a role if this process was started for one, and returns how it ended. A program that uses the lab as a library
/// calls this first in `main`, because the lab runs the program again for every part of the cluster.
pub fn enter_role() -> Option<ExitCode> {
    let plays_a_role = std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ROLE);
    plays_a_role.then(main)
}

/// Runs `body` where network namespaces can be made. `body` ends by itself, or when the interrupt is requested.
///
/// # Errors
/// When namespaces cannot be made, and those of `body`.
pub fn in_sandbox<F>(body: impl FnOnce(Interrupt) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    sandbox::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { body(Interrupt::listen()?).await })
}

/// Turns the outcome of `program` into an exit status, and prints the error if there is one.
pub fn finish(program: &str, outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
