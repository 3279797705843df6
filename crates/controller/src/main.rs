//! The `herald-controller` program.

use clap::Parser;
use herald_controller::Args;

/// Gives addresses to Kubernetes Services of type LoadBalancer.
#[derive(Debug, Parser)]
#[command(name = "herald-controller", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> std::process::ExitCode {
    herald_runtime::log::exit_code(herald_controller::run(Cli::parse().args))
}
