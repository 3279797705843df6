//! `herald-bench`: measures whole programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    herald_lab::cli::enter_role()
        .or_else(herald_bench::enter_reference)
        .unwrap_or_else(herald_bench::main)
}
