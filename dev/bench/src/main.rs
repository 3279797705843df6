//! `herald-bench`: measures whole programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    herald_lab::cli::enter_role().unwrap_or_else(herald_bench::main)
}
