//! The clients of an address that is about to lose its owner.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_netns::{MacAddr, wait_for};

use super::fault::Fault;
use super::{DEADLINE, STREAK};
use herald_lab::clock::Monotonic;
use herald_lab::prober::{Pace, Prober};
use herald_lab::role::probe::Outcome;
use herald_lab::role::proxy::DIAL;
use herald_lab::switch::{Host, LINK};

/// How long clients were not served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// For a client that was served before.
    pub(super) outage: Duration,
    /// For a client that has to resolve the address after the fault.
    pub(super) new_client: Option<Duration>,
    /// For how long requests still went to endpoints of the dead node, through a node that lives.
    pub(super) dead_endpoints: Option<Duration>,
}

/// Two machines with clients that are being served.
pub(super) struct Clients<'a> {
    address: IpAddr,
    /// The Ethernet address of the owner that is about to fail.
    owner: MacAddr,
    host: &'a Host,
    prober: Prober,
    second_host: &'a Host,
    second: Option<Second>,
}

/// The purpose of the second machine's client.
enum Second {
    /// Its neighbour entry for the address is removed at the fault.
    New(Prober),
    /// Its neighbour entry is permanent and names a machine that lives.
    ThroughTheLiving(Prober),
}

impl<'a> Clients<'a> {
    /// Starts to request `address` on port 80, and waits until that has gone well for a while. Endpoints of the dead are
    /// looked for through the machine with the Ethernet address `living`.
    pub(super) async fn start(
        [host, second_host]: &'a [Host; 2],
        address: IpAddr,
        owner: MacAddr,
        living: Option<MacAddr>,
        fault: Fault,
    ) -> anyhow::Result<Self> {
        let start = async |host: &Host| {
            let mut prober =
                Prober::start(host.netns(), SocketAddr::new(address, 80), Pace::default()).await?;
            let start = Monotonic::from_nanos(0);
            prober.wait_until_served(start, STREAK, DEADLINE).await?;
            anyhow::Ok(prober)
        };
        let second = match living {
            _ if fault.spares_the_machine() => Some(Second::New(start(second_host).await?)),
            Some(living) if fault.takes_endpoints() => {
                second_host.links().pin_neighbour(LINK, address, living).await?;
                Some(Second::ThroughTheLiving(start(second_host).await?))
            }
            _ => None,
        };
        let prober = start(host).await?;
        let clients = Self {
            address,
            owner,
            host,
            prober,
            second_host,
            second,
        };
        let learnt = clients.learnt().await?;
        ensure!(
            learnt == Some(owner),
            "the address moved to {learnt:?} before the fault"
        );
        Ok(clients)
    }

    /// Waits until requests begun after `since` were answered for a while.
    pub(super) async fn wait_until_served(&mut self, since: Monotonic) -> anyhow::Result<()> {
        self.prober.wait_until_served(since, STREAK, DEADLINE).await?;
        Ok(())
    }

    /// The fault has happened just now: from here on there is a new client.
    pub(super) async fn meet(&self) -> anyhow::Result<()> {
        if let Some(Second::New(_)) = self.second {
            self.second_host
                .links()
                .forget_neighbour(LINK, self.address)
                .await?;
        }
        Ok(())
    }

    /// Waits until the client's neighbour table has another machine and requests are answered again.
    pub(super) async fn measure(mut self, begin: Monotonic) -> anyhow::Result<Measured> {
        wait_for("the client learns a new owner", DEADLINE, async || {
            Ok(self.learnt().await?.filter(|mac| *mac != self.owner))
        })
        .await?;
        let outage = outage(&mut self.prober, begin).await?;
        let (mut new_client, mut dead_endpoints) = (None, None);
        match &mut self.second {
            Some(Second::New(prober)) => new_client = Some(self::outage(prober, begin).await?),
            Some(Second::ThroughTheLiving(prober)) => {
                dead_endpoints = Some(detours(prober, begin).await?);
            }
            None => {}
        }
        Ok(Measured {
            outage,
            new_client,
            dead_endpoints,
        })
    }

    async fn learnt(&self) -> anyhow::Result<Option<MacAddr>> {
        let entry = self.host.links().neighbour(self.address).await?;
        Ok(entry.and_then(|entry| entry.mac))
    }
}

async fn outage(prober: &mut Prober, begin: Monotonic) -> anyhow::Result<Duration> {
    let history = prober
        .wait_until_served(Monotonic::now(), STREAK, DEADLINE)
        .await?;
    let outage = history.outage(begin).context("no answer before the fault")?;
    Ok(outage.gap)
}

/// Until when, counted from `begin`, a request met an endpoint that did not answer, so that it was lost or another endpoint had
/// to be tried.
async fn detours(prober: &mut Prober, begin: Monotonic) -> anyhow::Result<Duration> {
    let is_straight =
        |outcome: &&Outcome| outcome.answer.is_ok() && outcome.finished.since(outcome.started) < DIAL;
    let history = prober
        .wait_for(DEADLINE, |history| {
            let recent = history.outcomes().iter().rev();
            let recent = recent.filter(|outcome| outcome.started > begin);
            recent.take_while(is_straight).count() >= STREAK
        })
        .await
        .context("requests still go to endpoints of the dead node")?;
    let since = history.outcomes().iter().filter(|o| o.finished > begin);
    let detours = since.filter(|outcome| !is_straight(outcome));
    Ok(detours
        .map(|outcome| outcome.finished.since(begin))
        .max()
        .unwrap_or_default())
}
