//! What a node publishes about a Service that it announces, or would announce if it could. Of a Service that no node may
//! announce, one speaker publishes the reason (`reporters`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

use super::Agent;
use super::reporters::Reporters;
use crate::announce::eligibility::{Exclusion, Exposure};
use crate::announce::facts::{FactChange, Facts};
use crate::announce::layer2::Command;
use crate::announce::layer2::ownership::{Role, RoleChange};
use crate::{NodeName, ServiceKey};

/// How a node announces a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncementStatus {
    /// Whether this node announces the Service or is elected to. Otherwise it only reports the obstacle.
    pub is_elected: bool,
    /// The addresses of which announcements were sent, in the order of the Service.
    pub addresses: Vec<IpAddr>,
    /// The interfaces that announce; empty is all.
    pub interfaces: BTreeSet<String>,
    /// Why at least one of the addresses is not announced: a reason and a message.
    pub obstacle: Option<(&'static str, String)>,
}

/// What the statuses are made of besides the roles.
#[derive(Debug, Default)]
pub(super) struct StatusFacts {
    /// The addresses that this node answers for, by Service.
    announced: BTreeMap<ServiceKey, SmallVec<[IpAddr; 2]>>,
    /// The addresses of which an announcement was sent.
    sent: BTreeSet<IpAddr>,
    reporters: Reporters,
    /// Whether a Node has changed.
    are_nodes_stale: bool,
    /// Whether the members may have changed.
    are_members_stale: bool,
    /// Services whose status may have changed.
    stale: BTreeSet<ServiceKey>,
}

impl StatusFacts {
    /// Records that this node answers for a Service at an address. Returns whether it is the first address of the Service.
    pub(super) fn gain(&mut self, service: &ServiceKey, address: IpAddr) -> bool {
        let addresses = self.announced.entry(service.clone()).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        let is_first = addresses.len() == 1;
        self.stale.insert(service.clone());
        is_first
    }

    /// Records that this node no longer answers for a Service at an address.
    pub(super) fn lose(&mut self, service: &ServiceKey, address: IpAddr) {
        if let Some(addresses) = self.announced.get_mut(service) {
            addresses.retain(|held| *held != address);
            if addresses.is_empty() {
                self.announced.remove(service);
            }
        }
        self.stale.insert(service.clone());
    }

    /// Records that an announcement of an address was sent.
    pub(super) fn handle_announcement<'a>(
        &mut self,
        address: IpAddr,
        services: impl Iterator<Item = &'a ServiceKey>,
    ) {
        if self.sent.insert(address) {
            self.stale.extend(services.cloned());
        }
    }

    /// Records that a command is sent: an address may be withdrawn. Its Services are reported as lost.
    pub(super) fn handle_command(&mut self, command: &Command) {
        if let Command::Withdraw(address) = command {
            self.sent.remove(address);
        }
    }

    /// Records that something happened to an address of these Services.
    pub(super) fn handle_event<'a>(&mut self, services: impl Iterator<Item = &'a ServiceKey>) {
        self.stale.extend(services.cloned());
    }

    /// Records a changed role for a Service, which is `None` if it is gone.
    pub(super) fn handle_role(&mut self, change: &RoleChange, service: Option<&Exposure>) {
        let first = service.and_then(|service| service.addresses.first());
        match first.filter(|_| matches!(change.after, Some(Role::Unowned(_)))) {
            Some(first) => self.reporters.insert(&change.service, change.address, *first),
            None => self.reporters.remove(&change.service, change.address),
        }
        self.stale.insert(change.service.clone());
    }

    /// Records a Service as it is from now on. Another first address may mean another reporter.
    pub(super) fn handle_service(&mut self, service: &Exposure) {
        if let Some(first) = service.addresses.first()
            && self.reporters.set_first(&service.key, *first)
        {
            self.stale.insert(service.key.clone());
        }
    }

    /// Records a change of the facts.
    pub(super) fn handle_change(&mut self, change: &FactChange) {
        match change {
            FactChange::Node(..) | FactChange::NodeRemoved(..) => self.are_nodes_stale = true,
            FactChange::Members(_) => self.are_members_stale = true,
            // Whether another node announces it by BGP may depend on its endpoints.
            FactChange::Service(service, _) if self.reporters.has(service) => {
                self.stale.insert(service.clone());
            }
            FactChange::Pools | FactChange::Service(..) => {}
        }
    }

    /// Records other advertisements or peers of BGP: why a Service is not announced may be something else.
    pub(super) fn handle_bgp_config(&mut self) {
        self.stale.extend(self.reporters.services().cloned());
    }

    /// Records that sessions of BGP have other limits, which concern these Services.
    pub(super) fn handle_bgp_limits(&mut self, services: Vec<ServiceKey>) {
        let reported = services.into_iter().filter(|service| self.reporters.has(service));
        self.stale.extend(reported);
    }

    /// Chooses the reporters again, if a Node or the set of usable speakers has changed. Of members nothing else concerns them,
    /// or the reasons that they report. With limits of BGP, which node reports these depends on all of them.
    pub(super) fn update_reporters(&mut self, facts: &Facts, node: &NodeName, has_limits: bool) {
        let have_members_changed = core::mem::take(&mut self.are_members_stale);
        let have_nodes_changed = core::mem::take(&mut self.are_nodes_stale);
        if have_nodes_changed || (have_members_changed && self.reporters.are_stale(facts)) {
            self.stale.extend(self.reporters.update(facts, node));
            if has_limits {
                self.stale.extend(self.reporters.services().cloned());
            }
        }
    }

    /// Returns the next Service whose status may have changed.
    pub(super) fn poll_stale(&mut self) -> Option<ServiceKey> {
        self.stale.pop_first()
    }

    fn is_announced(&self, service: &ServiceKey, address: IpAddr) -> bool {
        let addresses = self.announced.get(service);
        addresses.is_some_and(|addresses| addresses.contains(&address)) && self.sent.contains(&address)
    }
}

/// [`Exclusion::NoAdvertisement`] for both protocols.
const NO_ADVERTISEMENT: &str = "no L2Advertisement and no BGPAdvertisement selects the pool and the Service";
/// The same where BGP is switched off.
const NO_ADVERTISEMENT_WITHOUT_BGP: &str =
    "no L2Advertisement selects the pool and the Service, and BGP is switched off (speaker.bgp.enabled)";

/// Why an address of a Service is not announced.
struct Obstacle {
    address: IpAddr,
    reason: &'static str,
    message: String,
}

impl Agent {
    /// Returns those of the interfaces that advertisements name which can announce here; `None` as long as this is not known.
    pub fn named_interfaces(&self) -> Option<BTreeSet<&String>> {
        let existing = self.ownership.interfaces()?;
        let advertisements = self.ownership.advertisements().iter();
        let named = advertisements.flat_map(|advertisement| &advertisement.interfaces);
        Some(named.filter(|name| existing.names.contains(*name)).collect())
    }

    /// Returns what this node publishes about a Service. `Some(None)` is nothing. `None` leaves what it has published: the
    /// elected node is about to announce the Service, or to find out why it cannot.
    pub(super) fn status(&self, service: &ServiceKey) -> Option<Option<AnnouncementStatus>> {
        let Some(exposure) = self.facts.service(service) else {
            return Some(None);
        };
        let mut status = AnnouncementStatus {
            is_elected: false,
            addresses: Vec::new(),
            interfaces: BTreeSet::new(),
            obstacle: None,
        };
        let (mut obstacles, mut is_pending) = (Vec::new(), false);
        for address in exposure.addresses.iter().copied() {
            let Some(role) = self.ownership.role(service, address) else {
                continue;
            };
            let obstacle = match role {
                Role::Unowned(exclusion) => self.exclusion_obstacle(service, address, exclusion),
                Role::Owner(_) | Role::Successor { .. } | Role::Backup { .. } => {
                    self.takeover.obstacle(address).map(|event| Obstacle {
                        address,
                        reason: event.reason(),
                        message: event.to_string(),
                    })
                }
                Role::Standby { .. } => None,
            };
            let is_announced = self.statuses.is_announced(service, address);
            is_pending |= matches!(role, Role::Owner(_)) && !is_announced && obstacle.is_none();
            status.is_elected |= is_announced || is_elected(role);
            if is_announced {
                status.addresses.push(address);
                status.interfaces.extend(interfaces(role).cloned());
            }
            obstacles.extend(obstacle);
        }
        // Thousands of them are kept.
        status.addresses.shrink_to_fit();
        if status.addresses.is_empty() && obstacles.is_empty() {
            return (!is_pending).then_some(None);
        }
        status.obstacle = summary(&obstacles, exposure.addresses.len());
        Some(Some(status))
    }

    /// Returns why no node announces an address for a Service, if this node is to report it.
    fn exclusion_obstacle(
        &self,
        service: &ServiceKey,
        address: IpAddr,
        exclusion: &Exclusion,
    ) -> Option<Obstacle> {
        let own = &self.options.node;
        // An entry that is no address is of another implementation, and so is the Service.
        let is_ours = !matches!(exclusion, Exclusion::NoAddress | Exclusion::InvalidAddress);
        let has_no_layer2 = matches!(exclusion, Exclusion::NoAdvertisement);
        let reports_limits = has_no_layer2 && self.reports_limits(service, address);
        let is_reporter = is_of_elected_node(exclusion) || self.statuses.reporters.is_reporter(own, service);
        if !is_ours || !(is_reporter || reports_limits) {
            return None;
        }
        let (exclusion, message) = if has_no_layer2 {
            let reasons = match reports_limits {
                true => self.bgp.reasons_with_limits(&self.facts, service, address),
                false => self.bgp.reasons_of_nodes(&self.facts, service, address),
            };
            match reasons {
                None if !self.options.has_bgp => (exclusion, NO_ADVERTISEMENT_WITHOUT_BGP.to_string()),
                None => (exclusion, NO_ADVERTISEMENT.to_string()),
                // The nodes that announce it by BGP publish that themselves.
                Some(reasons) if reasons.is_empty() => return None,
                Some(reasons) => (
                    &Exclusion::NoCandidate,
                    with_reasons(&Exclusion::NoCandidate, reasons),
                ),
            }
        } else {
            (exclusion, self.describe(service, address, exclusion))
        };
        Some(Obstacle {
            address,
            reason: exclusion.reason(),
            message,
        })
    }

    /// Returns whether this node is to report that it announces an address for a Service to no peer because none of its sessions can
    /// have it: no usable node before it, by the order of elections, could announce it but for its sessions.
    fn reports_limits(&self, service: &ServiceKey, address: IpAddr) -> bool {
        let exposure = self.facts.service(service);
        let Some(first) = exposure.and_then(|exposure| exposure.addresses.first()) else {
            return false;
        };
        let may_announce = |node: &NodeName| self.bgp.may_announce(&self.facts, node, service, address);
        self.bgp.is_limited(&self.facts, service, address)
            && self
                .statuses
                .reporters
                .is_first(&self.options.node, *first, may_announce)
    }

    /// Describes why no node announces an address for a Service, with the reasons of the nodes where these differ. Neither
    /// nodes nor their numbers are named, so that what happens to one node after the other, as in a roll-out, changes the
    /// message once at most.
    fn describe(&self, service: &ServiceKey, address: IpAddr, exclusion: &Exclusion) -> String {
        if !matches!(exclusion, Exclusion::NoCandidate) {
            return exclusion.to_string();
        }
        with_reasons(
            exclusion,
            self.ownership.lasting_reasons(&self.facts, service, address),
        )
    }
}

/// Describes an exclusion with the reasons of the nodes.
fn with_reasons<T: AsRef<str>>(exclusion: &Exclusion, reasons: BTreeSet<T>) -> String {
    if reasons.is_empty() {
        return exclusion.to_string();
    }
    let reasons: Vec<&str> = reasons.iter().map(AsRef::as_ref).collect();
    format!("{exclusion}; the reasons of the nodes: {}", reasons.join(", "))
}

/// Whether the election has chosen this node.
const fn is_elected(role: &Role) -> bool {
    match role {
        Role::Owner(_) => true,
        Role::Unowned(exclusion) => is_of_elected_node(exclusion),
        Role::Successor { .. } | Role::Backup { .. } | Role::Standby { .. } => false,
    }
}

/// Whether only the node that is elected knows the exclusion.
const fn is_of_elected_node(exclusion: &Exclusion) -> bool {
    matches!(
        exclusion,
        Exclusion::NoInterface(_) | Exclusion::NoLinkLocalAddress
    )
}

fn interfaces(role: &Role) -> impl Iterator<Item = &String> {
    let interfaces = role.grant().and_then(|grant| grant.interfaces.as_ref());
    interfaces.into_iter().flatten()
}

/// Joins the obstacles of a Service with so many addresses. What is true of all its addresses is said once.
fn summary(obstacles: &[Obstacle], addresses: usize) -> Option<(&'static str, String)> {
    let first = obstacles.first()?;
    let is_of_all = obstacles.len() == addresses && addresses > 1;
    if is_of_all && obstacles.iter().all(|obstacle| obstacle.message == first.message) {
        return Some((first.reason, first.message.clone()));
    }
    let texts = obstacles
        .iter()
        .map(|obstacle| format!("{}: {}", obstacle.address, obstacle.message));
    Some((first.reason, texts.collect::<Vec<_>>().join("; ")))
}
