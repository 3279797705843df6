//! `herald-lab`: a cluster in a box on one machine.

fn main() -> std::process::ExitCode {
    herald_lab::cli::main()
}
