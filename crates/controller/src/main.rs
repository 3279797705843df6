//! The `herald-controller` program.

use clap::Parser;
use herald_controller::ControllerArgs;

/// Gives addresses to Kubernetes Services of type LoadBalancer.
#[derive(Debug, Parser)]
#[command(name = "herald-controller", version)]
struct ControllerCli {
    #[command(flatten)]
    args: ControllerArgs,
}

fn main() -> std::process::ExitCode {
    herald_runtime::log::exit_code(herald_controller::run(ControllerCli::parse().args))
}
