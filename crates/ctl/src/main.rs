//! The `heraldctl` program.

fn main() -> std::process::ExitCode {
    herald_ctl::main()
}
