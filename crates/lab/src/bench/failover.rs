//! How long a client is not served, for Herald and for keepalived, on the same network and by the same client.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;

use super::{Figure, keepalived};
use crate::Lab;
use crate::clock::Monotonic;
use crate::fabric::Host;
use crate::net::MacAddr;
use crate::prober::{Outage, Pace, Prober};
use crate::wait::eventually;

/// Longer than any subject takes, keepalived at one advertisement a second included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests answered in a row before the fault, and again after it: a second of them.
const STREAK: usize = 100;
const QUICKSTART: &str = include_str!("../../../../examples/quickstart.yaml");

/// What happens to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its cable is pulled.
    Link,
    /// The program that holds the address is killed (SIGKILL); the machine goes on.
    Kill,
    /// The program is asked to stop (SIGTERM).
    Stop,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Link, Self::Kill, Self::Stop];

    fn name(self) -> &'static str {
        match self {
            Self::Link => "link-loss",
            Self::Kill => "sigkill",
            Self::Stop => "sigterm",
        }
    }
}

/// A program that moves an address.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Herald,
    Keepalived {
        name: &'static str,
        advert_int: &'static str,
    },
}

const SUBJECTS: [Subject; 3] = [
    Subject::Herald,
    Subject::Keepalived {
        name: "keepalived-1s",
        advert_int: "1",
    },
    Subject::Keepalived {
        name: "keepalived-0.1s",
        advert_int: "0.1",
    },
];

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Herald => "herald",
            Self::Keepalived { name, .. } => name,
        }
    }

    /// One fault in a network of its own, so that no run inherits anything from another one.
    async fn suffer(self, fault: Fault) -> anyhow::Result<Outage> {
        match self {
            Self::Herald => herald(fault).await,
            Self::Keepalived { advert_int, .. } => keepalived::suffer(fault, advert_int).await,
        }
    }
}

/// Measures all subjects and faults in turn, `runs` times, and then emits the figures.
pub async fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let mut subjects = SUBJECTS.to_vec();
    if !keepalived::is_installed() {
        anstream::eprintln!("keepalived is not installed: herald is measured without it");
        subjects.retain(|subject| matches!(subject, Subject::Herald));
    }
    let cases: Vec<(Subject, Fault)> = subjects
        .iter()
        .flat_map(|&subject| Fault::ALL.map(|fault| (subject, fault)))
        .collect();
    let mut samples = vec![Vec::new(); cases.len()];
    for run in 1..=runs {
        for ((subject, fault), samples) in cases.iter().zip(&mut samples) {
            let outage = subject.suffer(*fault).await;
            let outage =
                outage.with_context(|| format!("{}, {}, run {run}", subject.name(), fault.name()))?;
            samples.push(outage.gap.as_secs_f64() * 1e3);
        }
    }
    for ((subject, fault), samples) in cases.iter().zip(&samples) {
        let figure = Figure::of("failover", subject.name(), "outage", "ms", samples);
        figure
            .map(|figure| figure.after(fault.name()))
            .into_iter()
            .for_each(&mut *emit);
    }
    Ok(())
}

async fn herald(fault: Fault) -> anyhow::Result<Outage> {
    let mut lab = Lab::builder().start().await?;
    lab.run_app("hello", 8080, &[0, 1, 2]).await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, PATIENCE).await?[0];
    let outcome = herald_fault(&mut lab, address, fault).await;
    match outcome {
        Ok(outage) => Ok(outage),
        Err(error) => Err(error.context(lab.report().await)),
    }
}

async fn herald_fault(lab: &mut Lab, address: IpAddr, fault: Fault) -> anyhow::Result<Outage> {
    let owner = eventually("wire and status agree on the owner", PATIENCE, async || {
        let owner = lab.owner(address, PATIENCE).await?;
        let announcer = lab.cluster().announcer("hello").await?;
        Ok((announcer.as_deref() == Some(lab.node(owner).name())).then_some(owner))
    })
    .await?;
    let observer = Observer::start(lab.client(), address, lab.node(owner).host().mac()).await?;
    let begin = Monotonic::now();
    match fault {
        Fault::Link => lab.node(owner).unplug().await?,
        Fault::Kill => lab.node_mut(owner).kill_speaker().await?,
        Fault::Stop => lab.node_mut(owner).stop_speaker().await.map(drop)?,
    }
    observer.outage(lab.client(), begin).await
}

/// A client that is being served by the owner of an address.
pub(super) struct Observer {
    address: IpAddr,
    owner: MacAddr,
    prober: Prober,
}

impl Observer {
    /// Starts to request `address` on port 80 and waits until that has gone well for a while.
    pub(super) async fn start(client: &Host, address: IpAddr, owner: MacAddr) -> anyhow::Result<Self> {
        let mut prober = Prober::start(client.netns(), SocketAddr::new(address, 80), Pace::default()).await?;
        prober
            .wait_until_served(Monotonic::from_nanos(0), STREAK, PATIENCE)
            .await?;
        Ok(Self {
            address,
            owner,
            prober,
        })
    }

    /// Waits until the client's kernel holds another machine for the owner and all goes well again.
    pub(super) async fn outage(mut self, client: &Host, begin: Monotonic) -> anyhow::Result<Outage> {
        eventually("the client learns a new owner", PATIENCE, async || {
            let entry = client.links().neighbour(self.address).await?;
            Ok(entry.and_then(|entry| entry.mac).filter(|mac| *mac != self.owner))
        })
        .await?;
        let history = self
            .prober
            .wait_until_served(Monotonic::now(), STREAK, PATIENCE)
            .await?;
        history.outage(begin).context("no answer before the fault")
    }
}
