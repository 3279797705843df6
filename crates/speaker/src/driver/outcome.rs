//! Carrying out what was decided, and telling of it: wire, statuses, events, metrics.

use std::net::IpAddr;

use herald_core::ServiceKey;
use herald_core::eligibility::Exclusion;
use herald_core::holding::{Effect, Report};
use herald_core::ownership::Verdict;
use herald_runtime::event::Severity;
use tracing::{info, warn};

use super::Driver;
use crate::status::Fare;

impl Driver {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        let wire = &self.parts.wire;
        match effect {
            Effect::Probe(announcement) => wire.probe(announcement),
            Effect::StopProbe(address) => wire.stop_probe(address),
            Effect::Announce(announcement) => wire.announce(announcement),
            Effect::Withdraw(address) => wire.withdraw(address),
            Effect::Defend(address) => wire.defend(address),
            Effect::Reannounce(address) => wire.reannounce(address),
            Effect::Gained(service, address) => self.gained(service, address),
            Effect::Lost(service, address) => self.lost(&service, address),
            Effect::Report(address, report) => self.report(address, &report),
        }
    }

    fn gained(&mut self, service: ServiceKey, address: IpAddr) {
        info!(%service, %address, "announcing");
        self.metrics.announced(&service, address);
        let addresses = self.announced.entry(service.clone()).or_default();
        addresses.insert(address);
        if addresses.len() == 1 {
            let note = format!("announcing from node \"{}\" with protocol \"layer2\"", self.node);
            self.emit(&service, Severity::Normal, "nodeAssigned", note);
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
        let claim = self.ownership.verdict(&service).and_then(Verdict::claim);
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
        self.metrics.report(report.reason());
        if report.concerns_users() {
            let severity = match report {
                Report::Resolved => Severity::Normal,
                Report::Conflict(_)
                | Report::Duplicate(_)
                | Report::Challenged(_)
                | Report::Deferred(_)
                | Report::Overruled(_)
                | Report::Yielded(_) => Severity::Warning,
            };
            for service in self.holdings.services_of(address) {
                self.emit(service, severity, report.reason(), format!("{address}: {report}"));
                self.unshown.insert(service.clone());
            }
        }
    }

    fn emit(&self, service: &ServiceKey, severity: Severity, reason: &str, note: String) {
        if let Some(reference) = self.services.get(service) {
            self.parts.events.emit(reference, severity, reason, note);
        }
    }

    pub(super) fn tell(&self, service: &ServiceKey, verdict: Option<&Verdict>) {
        match verdict {
            None => info!(%service, "gone"),
            Some(Verdict::Standby(owner)) => info!(%service, %owner, "owned elsewhere"),
            Some(Verdict::Owner(claim)) => info!(%service, addresses = ?claim.addresses, "elected"),
            Some(Verdict::Heir { of, claim }) => {
                info!(%service, addresses = ?claim.addresses, %of, "elected if the owner is dead");
            }
            Some(Verdict::Unowned(exclusion)) => {
                info!(%service, reason = exclusion.reason(), "not announced: {exclusion}");
                if let Exclusion::NoInterface(_) = exclusion {
                    let note = format!(
                        "not announced from node \"{}\" with protocol \"layer2\": {exclusion}",
                        self.node
                    );
                    self.emit(service, Severity::Warning, "announceFailed", note);
                }
            }
        }
    }
}
