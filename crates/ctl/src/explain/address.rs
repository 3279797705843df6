//! Who has an address, for whom it is kept, who waits for it, and who answers for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use herald_api::convert;
use herald_core::ServiceKey;
use herald_core::ipam::{AllocationOutcome, Refusal};
use serde::Serialize;

use super::announcement::AddressAnnouncement;
use super::history::{MoveLine, moves, moves_text};
use crate::cluster::ClusterView;
use crate::model::{AnnouncementModel, Model};
use crate::output::{Printable, faint, heading, quoted, unknown_text, warning};

/// The explanation of an address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressExplanation {
    address: String,
    /// The pool that contains it, and whether the pool gives it out.
    pool: Option<String>,
    is_given_out: bool,
    /// The Services that have it, oldest first.
    holders: Vec<String>,
    /// The Service that `spec.reservations` keeps it for.
    reserved_for: Option<String>,
    /// The Services that ask for it and do not have it, each with the reason.
    waiting: Vec<WaitingLine>,
    quarantine: QuarantineState,
    /// The Node that has the address itself.
    node: Option<String>,
    /// How it is announced, for its oldest Service.
    announcement: Option<AddressAnnouncement>,
    moves: Vec<MoveLine>,
    unknown: Vec<String>,
    #[serde(skip)]
    today: jiff::Timestamp,
}

/// A Service that asks for the address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitingLine {
    service: String,
    reason: String,
    message: String,
}

/// Whether the address is kept from other Services because one released it lately.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
enum QuarantineState {
    None,
    #[serde(rename_all = "camelCase")]
    Until {
        until: String,
        last_service: String,
    },
    /// No controller was asked.
    Unknown,
}

/// Explains an address, which need not be in a pool.
pub(crate) fn explain(cluster: &ClusterView, model: &mut Model, address: IpAddr) -> AddressExplanation {
    let text = address.to_string();
    let mut holders = Vec::new();
    let mut waiting = Vec::new();
    let ours = cluster.objects.services.iter();
    for service in ours.filter(|service| convert::is_ours(service, cluster.installation.class())) {
        let key = convert::key(service);
        if convert::ingress_addresses(service).contains(&address) {
            let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
            holders.push((created, key));
        } else if convert::service(service)
            .request
            .addresses
            .is_ok_and(|asked| asked.contains(&address))
        {
            waiting.extend(waiting_line(model, key));
        }
    }
    holders.sort();
    let oldest = holders.first().map(|(_, key)| key.clone());
    let announcement = oldest.map(|oldest| {
        let addresses = BTreeSet::from([address]);
        let (objects, states) = (&cluster.objects, &cluster.states);
        let announcements = AnnouncementModel::of(&addresses, objects, states, &cluster.installation, model);
        AddressAnnouncement::new(cluster, &announcements, &oldest, address)
    });
    let pool = model.catalog.pools().iter().find(|pool| pool.contains(address));
    let nodes = cluster.objects.nodes.iter().map(convert::node);
    let node = nodes.into_iter().find(|node| node.addresses.contains(&address));
    AddressExplanation {
        pool: pool.map(|pool| pool.name.to_string()),
        is_given_out: pool.is_some_and(|pool| pool.owns(address)),
        holders: holders.into_iter().map(|(_, key)| key.to_string()).collect(),
        reserved_for: pool
            .and_then(|pool| pool.reservations.get(&address))
            .map(ToString::to_string),
        waiting,
        quarantine: quarantine(cluster, &text),
        node: node.map(|node| node.name.to_string()),
        announcement,
        moves: moves(cluster, |last| last.address == text),
        unknown: cluster.unknown.clone(),
        today: model.today,
        address: text,
    }
}

fn waiting_line(model: &Model, key: ServiceKey) -> Option<WaitingLine> {
    let (outcome, caveat) = model.allocator.decision(&key)?;
    let (reason, message) = match (outcome, caveat) {
        (AllocationOutcome::Unassigned(refusal), _) => texts(&refusal),
        (AllocationOutcome::Assigned(_), Some(note)) => (note.reason().to_owned(), format!("{note:#}")),
        (AllocationOutcome::Assigned(_), None) => (
            "Pending".to_owned(),
            "the controller is to give it the address".to_owned(),
        ),
    };
    Some(WaitingLine {
        service: key.to_string(),
        reason,
        message,
    })
}

fn texts(refusal: &Refusal) -> (String, String) {
    (refusal.reason().to_owned(), format!("{refusal:#}"))
}

fn quarantine(cluster: &ClusterView, address: &str) -> QuarantineState {
    let Some(state) = &cluster.states.controller else {
        return QuarantineState::Unknown;
    };
    let mut quarantined = state.quarantine.iter();
    quarantined
        .find(|quarantined| quarantined.address == address)
        .map_or(QuarantineState::None, |found| QuarantineState::Until {
            until: found.until.clone(),
            last_service: found.last_service.clone(),
        })
}

impl Printable for AddressExplanation {
    fn text(&self, is_wide: bool) -> String {
        let mut text = format!("Address {}\n", heading(&self.address));
        let mut line = |name: &str, value: String| text += &format!("  {name:<12}{value}\n");
        line(
            "pool",
            match &self.pool {
                Some(pool) if self.is_given_out => quoted(pool),
                Some(pool) => format!("{}, which does not give it out (avoidBuggyIPs)", quoted(pool)),
                None => warning("no pool in force contains it"),
            },
        );
        if let Some(node) = &self.node {
            line(
                "node",
                warning(&format!("{node} has the address itself, so no node announces it")),
            );
        }
        line(
            "Services",
            if self.holders.is_empty() {
                "none has it".to_owned()
            } else {
                self.holders.join(", ")
            },
        );
        if let Some(service) = &self.reserved_for {
            line("reserved", format!("for {service}"));
        }
        match &self.quarantine {
            QuarantineState::None => {}
            QuarantineState::Until { until, last_service } => {
                line("quarantine", format!("until {until}; {last_service} had it last"));
            }
            QuarantineState::Unknown => line("quarantine", faint("unknown: no controller was asked")),
        }
        for waiting in &self.waiting {
            line(
                "waiting",
                format!(
                    "{}: {}: {}",
                    waiting.service,
                    waiting.reason,
                    crate::output::escaped(&waiting.message)
                ),
            );
        }
        if let Some(announcement) = &self.announcement {
            text += &format!("\n{}\n{}", heading("Announcement"), announcement.text(is_wide));
        }
        if !self.moves.is_empty() {
            text += &format!("\n{}\n{}", heading("Moves"), moves_text(&self.moves, self.today));
        }
        text + &unknown_text(&self.unknown)
    }
}
