//! Routes to routers by BGP: the thread of the speaker beside FRR, BIRD and GoBGP, which send the same prefixes to the same sink.
//!
//! * `table`: 10 000 prefixes to a new peer, from the moment at which the session is established for the sink to the last prefix
//!   that it reads; and to BIRD, from the session to the last route that BIRD shows.
//! * `change`: one of 10 000 prefixes gets other attributes, from the command to the UPDATE at the sink.
//! * `peers`: 10 000 prefixes to 100 new peers.
//!
//! Memory is what the process gains, so only the first run in a process shows it.

mod memory;
mod node;
mod reference;
mod sink;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use herald_netns::blocking::Segment;
use tokio::sync::mpsc;

use self::memory::resident;
use self::node::{Node, PREFIXES};
use self::sink::Listener;
use super::Figure;
use super::cpu::Cpu;

/// Peers of the case with many.
const PEERS: usize = 100;
/// Changes in one run.
const CHANGES: u32 = 1_000;
/// The name of the thread of the speaker.
const THREAD: &str = "bgp";

const ROUTER: ([u8; 6], &str) = ([2, 0, 0, 0, 0, 1], "10.0.0.1");
const NODE: ([u8; 6], &str) = ([2, 0, 0, 0, 0, 2], "10.0.0.2");
const SINK: ([u8; 6], &str) = ([2, 0, 0, 0, 0, 3], "10.0.0.3");

/// Measures everything `runs` times and emits each figure as soon as it is known.
///
/// # Errors
/// When namespaces or sockets cannot be made, or a session is not established.
pub async fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let (sender, mut figures) = mpsc::channel(16);
    // Hosts and routers block. The process does not wait for this thread when it is interrupted.
    let thread = std::thread::Builder::new().name("measure".into());
    let thread = thread.spawn(move || {
        measure(runs, &mut |figure| {
            // Fails only after an interruption.
            let _sent = sender.blocking_send(figure);
        })
    });
    while let Some(figure) = figures.recv().await {
        emit(figure);
    }
    let outcome = thread.context("cannot start a thread")?.join();
    outcome.map_err(|_| anyhow!("the measurement panicked"))?
}

fn measure(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    memory(emit)?;
    table(runs, emit)?;
    change(runs, emit)?;
    many_peers(runs, emit)?;
    reference::seen_by_bird(runs, emit)?;
    reference::tables(runs, emit)
}

/// Emits a figure of Herald.
fn report(
    emit: &mut dyn FnMut(Figure),
    case: &str,
    metric: &'static str,
    unit: &'static str,
    samples: &[f64],
) {
    let figure = Figure::of("bgp", "herald", metric, unit, samples);
    figure.into_iter().for_each(|figure| emit(figure.in_case(case)));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn table_case() -> String {
    format!("{PREFIXES} prefixes, 1 peer")
}

fn memory(emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let segment = Segment::new();
    let mut listeners = Listener::many(&segment, PEERS);
    let before = resident(std::process::id())?;
    let node = Node::start(&segment);
    let rest = listeners.split_off(1);
    let _first = node.serve(listeners)?;
    let one = resident(std::process::id())?;
    let _rest = node.serve(rest)?;
    let all = resident(std::process::id())?;
    report(emit, &table_case(), "memory", "MiB", &[one - before]);
    let case = format!("{PREFIXES} prefixes, {PEERS} peers");
    report(emit, &case, "memory", "MiB", &[all - before]);
    Ok(())
}

fn table(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let (mut times, mut spent) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let segment = Segment::new();
        let listener = Listener::many(&segment, 1);
        let node = Node::start(&segment);
        let mut sinks = node.connect(listener)?;
        let (cpu, begin) = (Cpu::of(THREAD)?, Instant::now());
        sinks.establish()?;
        sinks.read_until(PREFIXES)?;
        times.push(milliseconds(begin.elapsed()));
        spent.push(milliseconds(cpu.spent()?));
    }
    report(emit, &table_case(), "time", "ms", &times);
    report(emit, &table_case(), "processor", "ms", &spent);
    Ok(())
}

fn change(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let (mut times, mut spent) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let segment = Segment::new();
        let listener = Listener::many(&segment, 1);
        let node = Node::start(&segment);
        let mut sinks = node.serve(listener)?;
        let cpu = Cpu::of(THREAD)?;
        for number in 0..CHANGES {
            let begin = Instant::now();
            node.change(number);
            sinks.read_until(PREFIXES + 1 + number as usize)?;
            times.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        spent.push(cpu.spent()?.as_secs_f64() * 1e6 / f64::from(CHANGES));
    }
    let case = format!("1 change of {PREFIXES}, 1 peer");
    report(emit, &case, "decision_to_update", "us", &times);
    report(emit, &case, "processor", "us", &spent);
    Ok(())
}

fn many_peers(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let (mut times, mut spent, mut spent_before) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let segment = Segment::new();
        let listeners = Listener::many(&segment, PEERS);
        let node = Node::start(&segment);
        let cpu = Cpu::of(THREAD)?;
        let mut sinks = node.connect(listeners)?;
        spent_before.push(milliseconds(cpu.spent()?));
        let (cpu, begin) = (Cpu::of(THREAD)?, Instant::now());
        sinks.establish()?;
        sinks.read_until(PREFIXES)?;
        times.push(milliseconds(begin.elapsed()));
        spent.push(milliseconds(cpu.spent()?));
    }
    let case = format!("{PREFIXES} prefixes, {PEERS} peers");
    report(emit, &case, "time", "ms", &times);
    report(emit, &case, "processor", "ms", &spent);
    report(emit, &case, "processor_for_commands", "ms", &spent_before);
    Ok(())
}
