//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// Explains, checks and shows what Herald does. Also found as `kubectl herald`.
#[derive(Debug, Parser)]
#[command(name = "heraldctl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Writes a man page for each command.
    Man(ManArgs),
}

#[derive(Debug, Args)]
struct ManArgs {
    /// The directory that the pages are written to.
    #[arg(value_hint = ValueHint::DirPath)]
    directory: PathBuf,
}

/// Returns the command line, for completions, man pages and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program: 0 is success, 1 a failure or a mistake that was found, 2 a command line that cannot be used.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{}: {error:#}", crate::output::error("error"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::command(), "heraldctl", &mut script);
            std::io::stdout().write_all(&script)?;
        }
        Command::Man(args) => {
            let to = || format!("writing man pages to {}", args.directory.display());
            std::fs::create_dir_all(&args.directory).with_context(to)?;
            clap_mangen::generate_to(self::command(), &args.directory).with_context(to)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
