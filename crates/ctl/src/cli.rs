//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::bundle::SupportBundleArgs;
use crate::convert::{self, ConvertArgs};
use crate::doctor::DoctorArgs;
use crate::drain::DrainArgs;
use crate::explain::ExplainArgs;
use crate::migrate::MigrateArgs;
use crate::output::{escaped, print};
use crate::plan::PlanArgs;
use crate::status::StatusArgs;
use crate::top::TopArgs;
use crate::ui::UiArgs;
use crate::validate::{self, ValidateArgs};

/// Explains, checks and shows what Herald does. Also found as `kubectl herald`.
#[derive(Debug, Parser)]
#[command(name = "heraldctl", version)]
struct CtlCli {
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// Explains why a Service, an address, a pool or a node is as it is.
    Explain(Box<ExplainArgs>),
    /// Shows pools, Services, nodes and programs, what is wrong first.
    Status(Box<StatusArgs>),
    /// Shows the addresses that other machines ask for most (ARP and NDP requests), and which nodes they reach.
    Top(Box<TopArgs>),
    /// Checks a cluster, before the installation of Herald and after it, and names each remedy.
    Doctor(Box<DoctorArgs>),
    /// Shows which addresses and owners would change if manifests were applied. Nothing is written.
    Plan(Box<PlanArgs>),
    /// Helps to take the place of MetalLB.
    Migrate(Box<MigrateArgs>),
    /// Drains a node before maintenance: moves its addresses to other nodes, and waits until they have moved.
    Drain(Box<DrainArgs>),
    /// Ends the drain of a node, and waits until it has the addresses that it is elected for.
    Undrain(Box<DrainArgs>),
    /// Shows pools, Services, nodes and the last moves in a web page, which this program serves to this machine only.
    Ui(Box<UiArgs>),
    /// Writes what others need to find a fault into an archive, without Secrets and passwords.
    SupportBundle(Box<SupportBundleArgs>),
    /// Checks manifests before they are applied, without a cluster. Every mistake is named with its place.
    Validate(ValidateArgs),
    /// Prints the ConfigMap that configured MetalLB before version 0.13 as resources.
    Convert(ConvertArgs),
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
    CtlCli::command()
}

/// Runs the program: 0 is success, 1 a failure or a mistake that was found, 2 a command line that cannot be used.
pub fn main() -> ExitCode {
    status(std::env::args_os().skip(1))
}

/// Runs the program with these arguments. Returns whether it succeeded.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> bool {
    status(arguments) == ExitCode::SUCCESS
}

fn status(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = std::iter::once("heraldctl".into()).chain(arguments);
    execute(CtlCli::parse_from(arguments).command).unwrap_or_else(|error| {
        anstream::eprintln!(
            "{}: {}",
            crate::output::error("error"),
            escaped(&format!("{error:#}"))
        );
        ExitCode::FAILURE
    })
}

fn execute(command: CtlCommand) -> anyhow::Result<ExitCode> {
    let done = match command {
        CtlCommand::Validate(args) => return validate::run(&args),
        CtlCommand::Convert(args) => return convert::run(&args),
        CtlCommand::Explain(args) => block_on(args.run()),
        CtlCommand::Status(args) => block_on(args.run()),
        CtlCommand::Doctor(args) => block_on(args.run()),
        CtlCommand::Plan(args) => block_on(args.run()),
        CtlCommand::Migrate(args) => block_on(args.run()),
        CtlCommand::Drain(args) => block_on(args.drain()),
        CtlCommand::Undrain(args) => block_on(args.undrain()),
        CtlCommand::Ui(args) => block_on(args.run()),
        CtlCommand::Top(args) => block_on(args.run()),
        CtlCommand::SupportBundle(args) => block_on(args.run()),
        CtlCommand::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::command(), "heraldctl", &mut script);
            print(&String::from_utf8(script).context("the script is no text")?)
        }
        CtlCommand::Man(args) => {
            let to = || format!("writing man pages to {}", args.directory.display());
            std::fs::create_dir_all(&args.directory).with_context(to)?;
            clap_mangen::generate_to(self::command(), &args.directory).with_context(to)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the runtime")?.block_on(command)
}
