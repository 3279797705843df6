//! Carrying out what was decided, and telling of it: wire, statuses, events, metrics.

use std::net::IpAddr;

use herald_api::reason::EventReason;
use herald_core::announce::Protocol;
use herald_core::announce::eligibility::Exclusion;
use herald_core::announce::layer2::Command;
use herald_core::announce::layer2::ownership::Verdict;
use herald_core::announce::layer2::takeover::{Effect, Report};
use herald_core::{NodeName, ServiceKey};
use herald_runtime::event::Severity;
use k8s_openapi::api::core::v1::ObjectReference;
use tracing::{info, warn};

use super::Driver;
use crate::status::Fare;

impl Driver {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        let wire = &self.parts.wire;
        match effect {
            Effect::Probe(announcement) => wire.send(Command::Probe(announcement)),
            Effect::Check(announcement, target) => wire.send(Command::Check { announcement, target }),
            Effect::StopProbe(address) => wire.send(Command::CancelProbe(address)),
            Effect::Announce(announcement) => wire.send(Command::Announce(announcement)),
            Effect::Withdraw(address) => wire.send(Command::Withdraw(address)),
            Effect::Defend(address) => wire.send(Command::Defend(address)),
            Effect::Reannounce(address) => wire.send(Command::Reannounce(address)),
            Effect::Gained(service, address) => self.gained(service, address),
            Effect::Lost(service, address) => self.lost(&service, address),
            Effect::TookOver(address, after) => {
                info!(%address, ?after, "taken from an owner that failed");
                self.metrics.took_over(after);
            }
            Effect::Report(address, report) => self.report(address, &report),
        }
    }

    fn gained(&mut self, service: ServiceKey, address: IpAddr) {
        info!(%service, %address, "announcing");
        self.is_reach_stale = true;
        self.metrics.announced(&service, address);
        let addresses = self.announced.entry(service.clone()).or_default();
        addresses.insert(address);
        if addresses.len() == 1 {
            let note = format!(
                "announcing from node \"{}\" with protocol \"{}\"",
                self.node,
                Protocol::Layer2
            );
            self.emit(
                &service,
                Severity::Normal,
                EventReason::NodeAssigned.reason(),
                note,
            );
        }
        self.unshown.insert(service);
    }

    fn lost(&mut self, service: &ServiceKey, address: IpAddr) {
        info!(%service, %address, "no longer announcing");
        self.metrics.withdrawn(service, address);
        let Some(addresses) = self.announced.get_mut(service) else {
            return;
        };
        addresses.remove(&address);
        if addresses.is_empty() {
            self.announced.remove(service);
        }
        self.unshown.insert(service.clone());
    }

    /// Writes on which interfaces a Service is announced here, or what keeps this node from it.
    pub(super) fn show_status(&self, service: ServiceKey) {
        let claim = self.ownership.verdict(&service).and_then(Verdict::interest);
        let fare = claim.and_then(|claim| {
            let addresses = claim.addresses.iter();
            let conflicts: Vec<(IpAddr, Report)> = addresses
                .filter_map(|address| Some((*address, Report::Conflict(self.holdings.stranger(*address)?))))
                .collect();
            let is_shown = self.announced.contains_key(&service) || !conflicts.is_empty();
            is_shown.then(|| Fare {
                interfaces: claim.interfaces.clone().unwrap_or_default(),
                obstacle: conflicts.first().map(|(_, first)| {
                    let texts = conflicts
                        .iter()
                        .map(|(address, report)| format!("{address}: {report}"));
                    (first.reason(), texts.collect::<Vec<_>>().join("; "))
                }),
            })
        });
        self.parts.statuses.set(service, fare);
    }

    fn report(&mut self, address: IpAddr, report: &Report) {
        warn!(%address, reason = report.reason(), "{address}: {report}");
        self.metrics.report(report);
        self.is_reach_stale = true;
        if report.concerns_users() {
            let severity = if report.is_good() {
                Severity::Normal
            } else {
                Severity::Warning
            };
            for service in self.holdings.services_of(address) {
                self.emit(service, severity, report.reason(), format!("{address}: {report}"));
                self.unshown.insert(service.clone());
            }
        }
    }

    /// A peer says that this node does not answer on the wire.
    pub(super) fn report_silence(&self, accuser: &NodeName) {
        let note = format!(
            "node {accuser} finds that this node does not answer ARP or NDP for addresses that it owns, and answers in its stead"
        );
        warn!(%accuser, "{note}; other nodes are preferred for a while");
        self.metrics.silenced.inc();
        self.emit_of_node(Severity::Warning, EventReason::NotHeardOnWire.reason(), note);
    }

    /// What people can do about gossip that is blocked.
    pub(super) fn gossip_obstacle(&self) -> String {
        format!(
            "gossip does not reach speakers that live: is UDP port {} filtered, or is their key another one? \
             Addresses move only when nobody answers for them on the wire, within seconds",
            self.gossip_port
        )
    }

    /// Gossip has come to be blocked, or is so no longer.
    pub(super) fn report_reach(&self, is_blocked: bool) {
        self.metrics.set_gossip_blocked(is_blocked);
        self.show_state();
        if is_blocked {
            let note = self.gossip_obstacle();
            warn!("{note}");
            self.emit_of_node(Severity::Warning, EventReason::GossipBlocked.reason(), note);
        } else {
            info!("gossip reaches most speakers again");
            self.emit_of_node(
                Severity::Normal,
                EventReason::GossipRestored.reason(),
                "gossip reaches most speakers again".to_owned(),
            );
        }
    }

    /// About our Node, by the name that kubelets use for its uid, so that `kubectl describe node` shows it.
    fn emit_of_node(&self, severity: Severity, reason: &'static str, note: String) {
        let node = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.node.to_string()),
            uid: Some(self.node.to_string()),
            ..ObjectReference::default()
        };
        self.parts.events.emit(&node, severity, reason, note);
    }

    fn emit(&self, service: &ServiceKey, severity: Severity, reason: &'static str, note: String) {
        if let Some(reference) = self.services.get(service) {
            self.parts.events.emit(reference, severity, reason, note);
        }
    }

    pub(super) fn tell(&self, service: &ServiceKey, verdict: Option<&Verdict>) {
        match verdict {
            None => info!(%service, "gone"),
            Some(Verdict::Standby { owner, .. }) => info!(%service, %owner, "owned elsewhere"),
            Some(Verdict::Deputy { of, .. }) => {
                info!(%service, owner = %of, "owned elsewhere, watched from here")
            }
            Some(Verdict::Owner(claim)) => info!(%service, addresses = ?claim.addresses, "elected"),
            Some(Verdict::Heir { of, claim }) => {
                info!(%service, addresses = ?claim.addresses, %of, "elected if the owner is dead");
            }
            Some(Verdict::Unowned(exclusion)) => {
                info!(%service, reason = exclusion.reason(), "not announced: {exclusion}");
                if let Exclusion::NoInterface(_) = exclusion {
                    let note = format!(
                        "not announced from node \"{}\" with protocol \"{}\": {exclusion}",
                        self.node,
                        Protocol::Layer2
                    );
                    self.emit(
                        service,
                        Severity::Warning,
                        EventReason::AnnounceFailed.reason(),
                        note,
                    );
                }
            }
        }
    }
}
