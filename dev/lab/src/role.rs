//! The parts that processes of the lab play: the real controller and speaker, and stand-ins for the rest
//! of a cluster.

mod hold;
mod late;
mod machine;
mod metallb;
pub mod pod;
pub mod probe;
pub mod proxy;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use clap::{Args, Subcommand};
use herald_runtime::log::LogLevel;

use crate::process::die_with_parent;

/// Arguments of `herald-lab role`.
#[derive(Debug, Args)]
pub struct RoleArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The real herald-controller.
    Controller(herald_controller::ControllerArgs),
    /// The real herald-speaker.
    Speaker(herald_speaker::Args),
    /// A pod that answers HTTP.
    Pod(pod::PodArgs),
    /// The stand-in for kube-proxy on one node.
    Proxy(proxy::ProxyArgs),
    /// A client that keeps asking.
    Probe(probe::ProbeArgs),
    /// Makes a thread of another process hang.
    Hold(hold::HoldArgs),
    /// Reports how late it gets the processor.
    Late,
    /// The stand-in for MetalLB's speaker on one node.
    #[command(name = "metallb")]
    MetalLb(metallb::MetalLbArgs),
    /// The first process of a node with a real kubelet.
    Machine(machine::MachineArgs),
    /// The real heraldctl.
    #[command(name = "heraldctl")]
    Ctl {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Any other program, tied to the life of the lab.
    Exec {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Plays the role until it ends.
pub fn run(args: RoleArgs) -> anyhow::Result<()> {
    die_with_parent()?;
    match args.role {
        Role::Controller(args) => herald_controller::run(args),
        Role::Speaker(args) => herald_speaker::run(args),
        Role::Pod(args) => block_on(pod::run(args)),
        Role::Proxy(args) => block_on(proxy::run(args)),
        Role::Probe(args) => block_on(probe::run(args)),
        Role::Hold(args) => hold::run(args),
        Role::Late => late::run(),
        Role::MetalLb(args) => block_on(metallb::run(args)),
        Role::Machine(args) => machine::run(&args),
        Role::Ctl { arguments } => {
            anyhow::ensure!(herald_ctl::run(arguments), "heraldctl failed");
            Ok(())
        }
        Role::Exec { command } => exec(&command),
    }
}

fn block_on(part: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    herald_runtime::log::init(LogLevel::Info);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(part)
}

/// `PR_SET_PDEATHSIG` outlives `execve`.
fn exec(command: &[OsString]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no program given")?;
    let cause = Command::new(program).args(arguments).exec();
    Err(cause).with_context(|| format!("cannot run {}", program.display()))
}
