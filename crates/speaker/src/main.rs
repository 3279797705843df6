//! The `herald-speaker` program.

use clap::Parser;
use herald_speaker::Args;

/// Announces load-balancer addresses from a node and answers ARP and NDP for them.
#[derive(Debug, Parser)]
#[command(name = "herald-speaker", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> std::process::ExitCode {
    herald_runtime::log::exit_code(herald_speaker::run(Cli::parse().args))
}
