//! Routers that send what Herald sends, and BIRD, which shows what it has received of Herald.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_netns::blocking::{Host, Segment};
use herald_routers::{Kind, Neighbour, Router};

use super::memory::resident;
use super::node::{self, Node, PREFIXES};
use super::sink::{self, Sinks};
use super::{NODE, ROUTER, SINK, milliseconds, report, table_case};
use crate::Figure;
use crate::cpu::used_by_family;

const ROUTER_ASN: u32 = 65_000;
/// The pause between two questions to a router.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a router may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// Measures how long it takes until BIRD shows all prefixes of a new session.
pub(super) fn seen_by_bird(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    if let Some(obstacle) = Kind::Bird.obstacle() {
        anstream::eprintln!("{obstacle}: herald is measured without it");
        return Ok(());
    }
    let mut times = Vec::new();
    for _ in 0..runs {
        let segment = Segment::new();
        let router = start(Kind::Bird, &segment);
        let mut node = Node::start(&segment);
        node.add_peer("router", router_address()?, ROUTER_ASN);
        node.wait_for_session();
        let begin = Instant::now();
        wait_for_prefixes(&router);
        times.push(milliseconds(begin.elapsed()));
    }
    report(emit, &table_case(), "time_to_bird", "ms", &times);
    Ok(())
}

/// Measures how long the routers take for the same prefixes, which they have of Herald, with their processor time and memory.
pub(super) fn tables(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    for kind in Kind::ALL {
        if let Some(obstacle) = kind.obstacle() {
            anstream::eprintln!("{obstacle}: herald is measured without {kind}");
            continue;
        }
        let mut samples = Vec::new();
        for _ in 0..runs {
            samples.push(table(kind)?);
        }
        for (metric, unit, pick) in [
            ("time", "ms", (|sample| sample.time) as fn(&Sample) -> f64),
            ("processor", "ms", |sample| sample.processor),
            ("memory", "MiB", |sample| sample.memory),
        ] {
            let samples: Vec<f64> = samples.iter().map(pick).collect();
            let figure = Figure::of("bgp", kind.to_string(), metric, unit, &samples);
            figure
                .into_iter()
                .for_each(|figure| emit(figure.in_case(table_case())));
        }
    }
    Ok(())
}

struct Sample {
    time: f64,
    processor: f64,
    memory: f64,
}

fn table(kind: Kind) -> anyhow::Result<Sample> {
    let segment = Segment::new();
    let router = start(kind, &segment);
    let node = Node::start(&segment);
    let address = router_address()?;
    node.add_peer("router", address, ROUTER_ASN);
    wait_for_prefixes(&router);
    let memory = resident(router.process())?;
    let host = sink::host(&segment);
    let stream = host.run(move || TcpStream::connect(address));
    let mut sink = Sinks::connected(stream.context("the router takes no connection")?)?;
    let before = used_by_family(router.process())?;
    let begin = Instant::now();
    sink.establish()?;
    sink.read_until(PREFIXES)?;
    let time = milliseconds(begin.elapsed());
    let processor = milliseconds(used_by_family(router.process())?.saturating_sub(before));
    Ok(Sample {
        time,
        processor,
        memory,
    })
}

fn router_address() -> anyhow::Result<SocketAddr> {
    Ok((ROUTER.1.parse::<std::net::IpAddr>()?, 179).into())
}

/// Starts a router with two neighbours: the node, and a sink.
fn start(kind: Kind, segment: &Segment) -> Router<Host> {
    let (mac, address) = ROUTER;
    let host = segment.host(mac, &[&format!("{address}/24")]);
    host.set_up("lo", true);
    let neighbour = |address: &str, asn| Neighbour {
        router_asn: ROUTER_ASN,
        router: ROUTER.1.parse().expect("an address"),
        asn,
        address: address.parse().expect("an address"),
        interface: None,
        password: None,
    };
    let neighbours = [neighbour(NODE.1, node::ASN), neighbour(SINK.1, sink::ASN)];
    Router::start(kind, host, &neighbours)
}

fn wait_for_prefixes(router: &Router<Host>) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let count = router.try_count();
        if count == Ok(PREFIXES) {
            return;
        }
        assert!(Instant::now() < deadline, "the router has {count:?} prefixes");
        std::thread::sleep(PAUSE);
    }
}
