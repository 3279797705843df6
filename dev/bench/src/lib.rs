//! Benchmarks of whole programs. Each figure stands beside a reference that was measured in the same run.

pub mod alloc;
pub mod arp;
pub mod bgp;
pub mod controller;
mod cpu;
pub mod failover;
mod figure;
pub mod idle;
pub mod memory;
pub mod overload;
mod services;
pub mod status;

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};
use herald_lab::cli::{finish, in_sandbox};
use herald_lab::interrupt::Interrupt;

pub use self::figure::Figure;

/// Measures the programs of Herald, each beside a reference.
#[derive(Debug, Parser)]
#[command(name = "herald-bench", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    /// Number of runs; each benchmark has its own default.
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Prints one JSON object per line instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Bench {
    /// Decisions of the allocator, beside a bare search for the lowest free address.
    Alloc,
    /// ARP answers, beside the kernel's own responder and a bare loop on a packet socket.
    Arp,
    /// Routes by BGP to new peers and one that changes, beside FRR, BIRD and GoBGP.
    Bgp,
    /// Addresses for 10 000 Services by the whole controller, beside a bare client that only PATCHes statuses.
    Controller,
    /// The outage of a client when the owner of an address fails or stops, beside keepalived and others.
    Failover(failover::FailoverArgs),
    /// Processor time of idle speakers, beside keepalived.
    Idle(idle::IdleArgs),
    /// Resident memory of controller and speakers, beside bare clients that watch the same.
    Memory(memory::MemoryArgs),
    /// ARP answers and moved addresses of speakers that get too little processor time, beside a bare loop in their place.
    Overload(overload::OverloadArgs),
    /// `heraldctl status` with 10 000 Services, beside kubectl listing them.
    Status(status::StatusArgs),
}

/// Runs the program. It must be called before anything has started a thread, after [`herald_lab::cli::enter_role`].
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    finish("herald-bench", in_sandbox(|interrupt| run(cli, interrupt)))
}

/// Runs a program that is measured beside Herald, if this process was started for one, and returns how it ended.
pub fn enter_reference() -> Option<ExitCode> {
    let client = memory::Reference::of_arguments(std::env::args());
    let outcome = client
        .map(memory::Reference::run)
        .or_else(|| overload::enter_bare(std::env::args()))?;
    Some(finish("herald-bench", outcome))
}

/// Measures, and prints each figure as soon as it is known.
async fn run(cli: Cli, mut interrupt: Interrupt) -> anyhow::Result<()> {
    let mut print = Printer {
        json: cli.json,
        begun: false,
    };
    let runs = |default: usize| cli.runs.map_or(default, |runs| runs as usize);
    let measured = async {
        match cli.bench {
            Bench::Alloc => alloc::run(runs(20), &mut |figure| print.figure(&figure)),
            Bench::Arp => arp::run(runs(5), &mut |figure| print.figure(&figure)).await,
            Bench::Bgp => bgp::run(runs(5), &mut |figure| print.figure(&figure)).await,
            Bench::Controller => controller::run(runs(3), &mut |figure| print.figure(&figure)).await,
            Bench::Idle(args) => idle::run(args, runs(3), &mut |figure| print.figure(&figure)).await,
            Bench::Memory(args) => memory::run(args, runs(3), &mut |figure| print.figure(&figure)).await,
            Bench::Overload(args) => overload::run(args, runs(3), &mut |figure| print.figure(&figure)).await,
            Bench::Status(args) => status::run(args, runs(10), &mut |figure| print.figure(&figure)).await,
            Bench::Failover(args) => failover::run(args, runs(3), &mut |figure| print.figure(&figure)).await,
        }
    };
    tokio::select! {
        outcome = measured => outcome,
        () = interrupt.requested() => bail!("interrupted"),
    }
}

struct Printer {
    json: bool,
    begun: bool,
}

impl Printer {
    /// Prints one figure. A reader that has closed the pipe does not stop the measurement.
    fn figure(&mut self, figure: &Figure) {
        let mut out = anstream::stdout().lock();
        if self.json {
            let line = serde_json::to_string(figure).unwrap_or_else(|error| error.to_string());
            let _ = writeln!(out, "{line}");
        } else {
            if !self.begun {
                let _ = writeln!(out, "{}", Figure::HEADINGS);
            }
            let _ = writeln!(out, "{figure}");
        }
        self.begun = true;
    }
}
