//! Take-over: how this node starts and stops to answer for its addresses. Each address has a machine (`takeover::machine`).
//!
//! Elections follow membership, which may be stale or partitioned. An elected node therefore probes an address before it
//! announces it, and a node that lost an election keeps answering until it sees its successor's announcement.
//!
//! The backup of an address monitors the owner (`takeover::monitor`). A node that has lost peers announces an address periodically
//! (`takeover::heal_beacon`), so that a healed partition is noticed without gossip.
//!
//! Answers on the wire have a limit: fabrics with ARP suppression and proxies answer for dead nodes. When the majority
//! considers a peer down, its answers delay a take-over by [`DOWN_PEER_GRACE`] only. Its announcements, which no proxy makes,
//! keep counting.

mod beside;
mod event;
mod heal_beacon;
mod history;
mod identify;
mod interest;
mod machine;
mod monitor;
mod peers;
mod queries;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

pub use event::AddressEvent;
use heal_beacon::HealBeacon;
use history::AnnouncementHistory;
use identify::Identification;
use interest::{Duty, Interest};
use machine::{AddressMachine, Context, Event, Stage, Xorshift};
use monitor::MonitorSchedule;
use peers::Peers;
pub use queries::REPLY_LIMIT;

use super::ownership::{Grant, Role};
use super::{Announcement, Command, ProbeResult};
use crate::{MacAddr, Member, NodeName, ServiceKey, Time, queue};

/// How long an answer from a peer that the majority considers down can still delay a take-over. Long enough for a speaker
/// that was cut off for a moment to be seen by gossip again, short enough for an outage that a proxy prolongs.
pub const DOWN_PEER_GRACE: Duration = Duration::from_secs(3);

/// How long a node that is no longer elected keeps answering at most. Its successor needs some 150 ms to probe and announce
/// an address, or some seconds with many thousands of addresses.
pub const HANDOVER_LIMIT: Duration = Duration::from_secs(5);

/// Interval of the reminders to a successor that has not announced the address. A successor that was cut off for a moment,
/// and believes that it has been the owner all the time, then announces the address.
const HANDOVER_REMINDER: Duration = Duration::from_millis(500);

/// Interval of the probes for an address that a peer which is down still answers for.
const RETRY: Duration = Duration::from_millis(500);

/// An output of [`Takeover`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A command for the station.
    Command(Command),
    /// This node answers for a Service at this address from now on.
    Gained(ServiceKey, IpAddr),
    /// This node no longer answers for a Service at this address.
    Lost(ServiceKey, IpAddr),
    /// This node has taken an address from an owner that failed, this long after the first sign of the failure.
    TookOver(IpAddr, Duration),
    /// A question to a peer that membership can reach: whether it announces an address.
    QueryPeer(NodeName, IpAddr),
    /// Something that users or operators should know.
    Event(IpAddr, AddressEvent),
}

/// The machines of all addresses of a node, with what they share. Exactly one task owns it.
#[derive(Debug)]
pub struct Takeover {
    /// Whether addresses are probed at all.
    verification: bool,
    /// Boxed, because a B-tree has room for almost twice as many values as it holds.
    machines: BTreeMap<IpAddr, Box<AddressMachine>>,
    peers: Peers,
    identification: Identification,
    timeouts: BTreeSet<(Time, IpAddr)>,
    schedule: MonitorSchedule,
    beacon: HealBeacon,
    history: AnnouncementHistory,
    /// The addresses that this node answers for as the acting owner, with their unresponsive owners.
    acting: BTreeMap<IpAddr, NodeName>,
    effects: VecDeque<Effect>,
    random: Xorshift,
}

impl Takeover {
    /// Starts without addresses. Without `verification` no address is probed: this node answers as soon and as long as it is
    /// elected. `seed` feeds the random pauses of contenders.
    pub const fn new(own_node: NodeName, verification: bool, seed: u64) -> Self {
        Self {
            verification,
            machines: BTreeMap::new(),
            peers: Peers::new(own_node),
            identification: Identification::new(),
            timeouts: BTreeSet::new(),
            schedule: MonitorSchedule::new(),
            beacon: HealBeacon::new(),
            history: AnnouncementHistory::new(),
            acting: BTreeMap::new(),
            effects: VecDeque::new(),
            random: Xorshift::new(seed),
        }
    }

    /// Replaces the members. Call it after the roles that follow from them were set. When a peer that was down has returned,
    /// it and the clients on its side do not know what this node answers for, so all active addresses are announced again.
    pub fn set_members(&mut self, members: &[Member], now: Time) {
        if self.peers.set(members, &self.identification, now) {
            self.reannounce_except(None);
        }
        self.beacon.set(self.peers.has_lost(now), self.peers.alive(), now);
    }

    /// Replaces the addresses of the speakers' nodes as Kubernetes knows them.
    pub fn set_nodes(&mut self, nodes: BTreeMap<NodeName, IpAddr>, now: Time) {
        self.identification.set_nodes(nodes);
        self.peers.index_by_mac(&self.identification, now);
    }

    /// Replaces the role `before` of this node for a Service at an address by `after`.
    pub fn set_role(
        &mut self,
        service: &ServiceKey,
        address: IpAddr,
        before: Option<&Role>,
        after: Option<&Role>,
        now: Time,
    ) {
        let owner = after
            .and_then(Role::owner)
            .or_else(|| before.and_then(Role::owner));
        let is_passed_on = self.verification && after.is_some_and(|role| role.owner().is_some());
        let interest = after.and_then(|role| self.duty_in(role)).map(|(duty, grant)| {
            let interfaces = grant.interfaces.clone();
            (Interest { duty, interfaces }, grant.conflict_detection)
        });
        if interest.is_some() {
            let machine = self.machines.entry(address);
            machine.or_insert_with(|| Box::new(AddressMachine::new()));
        }
        let event = Event::Interest {
            service,
            interest,
            owner,
            is_passed_on,
        };
        self.handle(address, event, now);
    }

    /// Returns what a role obliges this node to do. Owners are not monitored where nothing is probed.
    fn duty_in<'a>(&self, role: &'a Role) -> Option<(Duty, &'a Grant)> {
        match role {
            Role::Owner(grant) | Role::Successor { grant, .. } => Some((Duty::Answer, grant)),
            Role::Backup { grant, .. } => self.verification.then_some((Duty::Monitor, grant)),
            Role::Standby { .. } | Role::Unowned(_) => None,
        }
    }

    /// Handles the end of an absence (unplugged): other nodes may have taken over, so this node probes its addresses before it
    /// answers again.
    pub fn handle_absence(&mut self, now: Time) {
        for address in self.machines.keys().copied().collect::<Vec<_>>() {
            self.handle(address, Event::Absence, now);
        }
    }

    /// Handles the end of a probe or check.
    pub fn handle_probed(&mut self, address: IpAddr, result: ProbeResult, now: Time) {
        if self.identification.is_node(address) {
            self.handle_node_answer(address, result, now);
        }
        self.handle(address, Event::Probed(result), now);
    }

    /// Handles the end of a check for the address of a node.
    fn handle_node_answer(&mut self, address: IpAddr, result: ProbeResult, now: Time) {
        if !self.machines.contains_key(&address) {
            self.effects
                .push_back(Effect::Command(Command::CancelProbe(address)));
        }
        let ProbeResult::Answered(mac) = result else {
            return;
        };
        if self.identification.handle_answer(address, mac) {
            self.peers.index_by_mac(&self.identification, now);
            if self.peers.poll_reannouncement(mac, now) {
                // The identified peer does not know what this node answers for either.
                self.reannounce_except(None);
            }
        }
    }

    /// Handles the announcement of an address by another machine. `outranks` returns whether a node has a better rank than this
    /// one for a Service ([`Ownership::outranks`](super::ownership::Ownership::outranks)).
    pub fn handle_claim(
        &mut self,
        address: IpAddr,
        mac: MacAddr,
        outranks: impl Fn(&NodeName, &ServiceKey) -> bool,
        now: Time,
    ) {
        if self.peers.handle_announcement(mac, now) {
            self.reannounce_except(Some(address));
        }
        let outranks = &outranks;
        self.handle(address, Event::Claimed { mac, outranks }, now);
    }

    /// Handles the answer of a peer to [`Effect::QueryPeer`]: whether it announces an address.
    pub fn handle_reply(&mut self, peer: &NodeName, address: IpAddr, announces: bool, now: Time) {
        self.peers.queries.handle_reply(peer, now);
        self.handle(address, Event::Replied { peer, announces }, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((at, address)) = self.timeouts.first().copied()
            && at <= now
        {
            self.handle(address, Event::Timeout, now);
        }
        while let Some(address) = self.schedule.poll(now) {
            self.handle(address, Event::Check, now);
        }
        if self.peers.poll_pending_reannouncement(now) {
            self.reannounce_except(None);
        }
        if self.beacon.is_due(now) {
            let (has_lost, alive) = (self.peers.has_lost(now), self.peers.alive());
            let address = self.beacon.poll(active(&self.machines), has_lost, alive, now);
            let beacon = address.map(|address| Effect::Command(Command::Defend(address)));
            self.effects.extend(beacon);
        }
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let beacon = self.beacon.poll_timeout();
        let beacon = beacon.filter(|_| active(&self.machines).next().is_some());
        let timeout = self.timeouts.first().map(|(at, _)| *at);
        let reannouncement = self.peers.reannouncement_due();
        let due = [timeout, self.schedule.poll_timeout(), beacon, reannouncement];
        due.into_iter().flatten().min()
    }

    /// Returns the next output.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        queue::pop(&mut self.effects)
    }

    /// Whether this node answers for no address.
    pub fn is_empty(&self) -> bool {
        !self.machines.values().any(|machine| machine.answers())
    }

    /// Whether this node announces an address as the elected node. A node that only hands it over does not, nor does the acting
    /// owner, which leaves the address to the elected node. Beside MetalLB both count: the elected node waits until it knows
    /// that not MetalLB answers here.
    pub fn announces(&self, address: IpAddr) -> bool {
        let Some(machine) = self.machines.get(&address) else {
            return false;
        };
        let is_elected = machine.stage() == Stage::Active && machine.duty() == Some(Duty::Answer);
        is_elected || self.peers.is_beside_metallb() && machine.answers()
    }

    /// Returns the Services that use an address.
    pub fn services_of(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        let machine = self.machines.get(&address).into_iter();
        machine.flat_map(|machine| machine.services())
    }

    /// Whether this node answers for an address; `None` if it has no part in it.
    pub fn answers(&self, address: IpAddr) -> Option<bool> {
        self.machines.get(&address).map(|machine| machine.answers())
    }

    /// Returns the stage of each address in which this node has a part, whether the node answers, and since when.
    pub fn stages(&self) -> impl Iterator<Item = (IpAddr, &'static str, bool, Time)> {
        let machines = self.machines.iter();
        machines.map(|(address, machine)| {
            let stage = machine.stage().as_str();
            (*address, stage, machine.answers(), machine.changed())
        })
    }

    /// Returns how many peers still answer on the wire although they are down by membership; none beside MetalLB, which answers
    /// whether the peer runs or not.
    pub fn deferred(&self) -> usize {
        if self.peers.is_beside_metallb() {
            return 0;
        }
        let nodes = self.machines.values().filter_map(|machine| machine.deferred_to());
        let down = nodes.filter(|node| self.peers.is_down(node));
        down.collect::<BTreeSet<_>>().len()
    }

    /// Returns the owners that do not answer on the wire, so that this node answers for them.
    pub fn unresponsive(&self) -> BTreeSet<&NodeName> {
        self.acting.values().collect()
    }

    /// Returns what keeps the elected node from announcing an address.
    pub fn obstacle(&self, address: IpAddr) -> Option<AddressEvent> {
        let obstacle = self.machines.get(&address)?.obstacle();
        debug_assert!(obstacle.as_ref().is_none_or(AddressEvent::is_obstacle));
        obstacle
    }

    /// Advances the machine of an address, and keeps what is indexed of all machines.
    fn handle(&mut self, address: IpAddr, event: Event<'_>, now: Time) {
        let Some(machine) = self.machines.get_mut(&address) else {
            return;
        };
        let (due, duty, was_acting) = (machine.due(), machine.duty(), machine.acting_for().is_some());
        if machine.answers() {
            self.history.record(address, now);
        }
        let mut context = Context {
            address,
            verification: self.verification,
            peers: &mut self.peers,
            identification: &mut self.identification,
            history: &mut self.history,
            random: &mut self.random,
            effects: &mut self.effects,
            now,
        };
        machine.handle(event, &mut context);
        if due != machine.due() {
            self.timeouts.extend(machine.due().map(|at| (at, address)));
            if let Some(before) = due {
                self.timeouts.remove(&(before, address));
            }
        }
        if duty != machine.duty() {
            let is_monitored = machine.duty() == Some(Duty::Monitor);
            self.schedule.set(address, is_monitored, now);
        }
        let acting_for = machine.acting_for().cloned();
        if machine.stage() == Stage::Idle {
            self.machines.remove(&address);
        }
        match acting_for {
            None => {
                self.acting.remove(&address);
            }
            Some(owner) => {
                let is_first = !self.acting.values().any(|other| *other == owner);
                if is_first && !was_acting {
                    self.check_others_of(&owner, now);
                }
                self.acting.insert(address, owner);
            }
        }
    }

    /// Checks all addresses of an owner, because it does not answer for one of them.
    fn check_others_of(&mut self, owner: &NodeName, now: Time) {
        for address in self.schedule.addresses() {
            let machine = self.machines.get_mut(&address);
            if let Some(machine) = machine.filter(|machine| machine.is_calmly_monitoring(owner)) {
                machine.set_due(now);
                self.timeouts.insert((now, address));
            }
        }
    }

    /// Announces the active addresses again, except one that was handled already, for machines that do not know of them and
    /// may answer for them, too.
    fn reannounce_except(&mut self, handled: Option<IpAddr>) {
        let addresses = active(&self.machines).filter(|address| Some(*address) != handled);
        let commands = addresses.map(|address| Effect::Command(Command::Reannounce(address)));
        self.effects.extend(commands);
    }
}

/// Returns the active addresses in ascending order.
fn active(machines: &BTreeMap<IpAddr, Box<AddressMachine>>) -> impl Iterator<Item = IpAddr> + Clone {
    let active = machines
        .iter()
        .filter(|(_, machine)| machine.stage() == Stage::Active);
    active.map(|(address, _)| *address)
}
