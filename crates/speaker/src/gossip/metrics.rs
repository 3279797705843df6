//! The Prometheus metrics of gossip.

use anyhow::Context as _;
use herald_core::{Liveness, Member};
use herald_membership::codec::Rejection;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metrics, with all their label values from the start.
pub(super) struct GossipMetrics {
    pub(super) received: IntCounter,
    pub(super) sent: IntCounter,
    pub(super) suspicions: IntCounter,
    pub(super) false_suspicions: IntCounter,
    pub(super) rejoins: IntCounter,
    members: IntGaugeVec,
    dropped: IntCounterVec,
}

/// Label of datagrams that the kernel did not accept.
const SEND_FAILED: &str = "send_failed";

impl GossipMetrics {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let members = IntGaugeVec::new(
            Opts::new(
                "herald_gossip_members",
                "Speakers as this one sees them, itself included, by liveness: alive, suspect, down",
            ),
            &["state"],
        )?;
        let datagrams = IntCounterVec::new(
            Opts::new(
                "herald_gossip_datagrams_total",
                "Gossip datagrams sent and received",
            ),
            &["direction"],
        )?;
        let dropped = IntCounterVec::new(
            Opts::new(
                "herald_gossip_dropped_total",
                "Gossip datagrams dropped, by reason; unauthentic means another key",
            ),
            &["reason"],
        )?;
        let suspicions = IntCounter::new(
            "herald_gossip_suspicions_total",
            "How often a speaker was suspected to be dead",
        )?;
        let false_suspicions = IntCounter::new(
            "herald_gossip_false_suspicions_total",
            "How often a suspected speaker turned out to be alive",
        )?;
        let rejoins = IntCounter::new(
            "herald_gossip_rejoins_total",
            "How often the peers had declared this speaker down although it was alive",
        )?;
        let collectors: [Box<dyn prometheus::core::Collector>; 6] = [
            Box::new(members.clone()),
            Box::new(datagrams.clone()),
            Box::new(dropped.clone()),
            Box::new(suspicions.clone()),
            Box::new(false_suspicions.clone()),
            Box::new(rejoins.clone()),
        ];
        for collector in collectors {
            registry
                .register(collector)
                .context("registering the gossip metrics")?;
        }
        for rejection in Rejection::ALL {
            dropped.with_label_values(&[rejection.reason()]);
        }
        dropped.with_label_values(&[SEND_FAILED]);
        Ok(Self {
            received: datagrams.with_label_values(&["received"]),
            sent: datagrams.with_label_values(&["sent"]),
            suspicions,
            false_suspicions,
            rejoins,
            members,
            dropped,
        })
    }

    pub(super) fn rejected(&self, rejection: Rejection) {
        self.dropped.with_label_values(&[rejection.reason()]).inc();
    }

    pub(super) fn send_failed(&self) {
        self.dropped.with_label_values(&[SEND_FAILED]).inc();
    }

    pub(super) fn set_members(&self, members: &[Member]) {
        for liveness in Liveness::ALL {
            let count = members.iter().filter(|m| m.liveness == liveness).count();
            self.members
                .with_label_values(&[liveness.as_str()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
