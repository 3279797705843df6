//! Membership without sockets and clocks: datagram contents and time in, datagram contents and events out.
//!
//! The SWIM protocol itself is foca's (`swim`). `Membership` adds what foca leaves to its user or gets wrong:
//!
//! * Members are keyed by node name. A restart or a new identity after a false suspicion is the same member.
//! * This member announces itself repeatedly to expected peers that are missing (`join_rounds`).
//! * A suspicion that was refuted in time is dropped here. foca would still notify the member that it is down, and each lost
//!   datagram would cost a member its identity.
//! * A member that suspects a peer sends it the suspicion at once and in every datagram until the peer has refuted it. With
//!   foca the peer receives it by chance. If the suspicion is never passed on (because the suspecting member was cut off, and
//!   then lost its timers with its identity), it would stay forever.
//! * A member whose epoch is earlier than the one that its peers know (its clock went back between two starts) learns that
//!   and takes a later one, instead of being ignored forever.
//!   Two speakers with one name would do that in turn forever, so they do it less and less often (`identity_conflict`).
//! * The reports of members travel beside the SWIM messages (`dissemination`).
//! * A member asks another one by a datagram of its own whether it announces an address (`queries`).
//! * A datagram is believed only as far as its sender can know its content, and what unknown senders can make this member
//!   remember is bounded (`receive`).

mod dissemination;
mod identity_conflict;
mod join_rounds;
mod lateness;
mod leave;
mod queries;
pub(crate) mod receive;
mod roster;
mod self_report;
mod swim;
mod timers;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use herald_core::announce::layer2::flap_damping::FlapDamping;
use herald_core::{Liveness, Member, NodeName, Time};

use crate::Timings;
use crate::codec::{DATAGRAM_MAX, envelope, seal};
use crate::identity::{Epoch, Identity};
use dissemination::Dissemination;
use identity_conflict::IdentityConflict;
use join_rounds::JoinRounds;
use leave::Leave;
use queries::Queries;
use roster::Roster;
pub use self_report::LocalLink;
use swim::{Connection, Swim};

/// Something that the caller logs or counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// The liveness of a member changed, or the member is new (`from` is `None`).
    Liveness {
        /// The member's node.
        node: NodeName,
        /// The liveness before.
        from: Option<Liveness>,
        /// The liveness now.
        to: Liveness,
    },
    /// The peers had declared this member down; it is back with a new identity.
    Rejoined,
    /// The peers know a later epoch of this node, so this member took a later one: the clock went back, or a second speaker
    /// uses the name.
    Superseded,
    /// A peer asks whether this node announces an address; answer with [`Membership::answer`].
    Queried {
        /// The peer's node.
        peer: NodeName,
        /// The address.
        address: IpAddr,
    },
    /// A peer has answered [`Membership::query`], so it is reachable whatever its liveness.
    Answered {
        /// The peer's node.
        peer: NodeName,
        /// The address.
        address: IpAddr,
        /// Whether the peer announces it.
        announces: bool,
    },
    /// The last peer is gone. Peers may still be there and drop what this member sends as replays: they do when the machine
    /// was rolled back to a snapshot. Returned at most once a second.
    Isolated,
    /// The SWIM library refused a call; it recovers by itself.
    Irregular(String),
}

impl MembershipEvent {
    /// Whether the seal has to start a new session, so that peers accept the datagrams of this member again.
    pub const fn ends_session(&self) -> bool {
        match self {
            Self::Rejoined | Self::Superseded | Self::Isolated => true,
            Self::Liveness { .. } | Self::Queried { .. } | Self::Answered { .. } | Self::Irregular(_) => {
                false
            }
        }
    }
}

/// The members as one speaker knows them.
pub struct Membership {
    swim: Swim,
    dissemination: Dissemination,
    rounds: JoinRounds,
    roster: Roster,
    /// Whether joining is over and the list of members is up to date with it.
    joined: bool,
    /// When [`MembershipEvent::Isolated`] was returned last.
    isolated: Option<Time>,
    conflict: IdentityConflict,
    damping: FlapDamping,
    queries: Queries,
    leaving: Option<Leave>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<MembershipEvent>,
}

/// Receivers remember a bounded number of sessions: this limits how often the loss of all peers starts another one.
const ISOLATED_PERIOD: Duration = Duration::from_secs(1);

impl Membership {
    /// Returns a member of its own, in state [`NodeState::Starting`](herald_core::NodeState::Starting). It sends nothing before
    /// [`Membership::set_expected_peers`] or a datagram. `seed` determines the random choice of the members to probe and to
    /// gossip to.
    pub fn new(node: NodeName, address: SocketAddr, epoch: Epoch, timings: Timings, seed: u64) -> Self {
        let identity = Identity {
            node: node.clone().into(),
            address,
            epoch,
        };
        let mut membership = Self {
            swim: Swim::new(identity, timings, seed),
            dissemination: Dissemination::new(node, epoch),
            rounds: JoinRounds::new(timings.join_timeout),
            roster: Roster::new(),
            joined: false,
            isolated: None,
            conflict: IdentityConflict::new(seed.rotate_left(32)),
            damping: FlapDamping::default(),
            queries: Queries::new(seed.rotate_left(16)),
            leaving: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        membership.compile_roster();
        membership
    }

    /// Replaces the expected peers: the speakers that Kubernetes knows. The name of this node is ignored.
    pub fn set_expected_peers(&mut self, mut peers: BTreeMap<NodeName, SocketAddr>, now: Time) {
        peers.remove(&self.dissemination.own().node);
        if self.roster.set_peers(peers) || self.rounds.next_due().is_none() {
            self.roster.set_stale();
            self.rounds.handle_peers(now);
            self.flush(now);
        }
    }

    /// Does what is due at `now`. Call it after [`Membership::handle_datagram`] for all datagrams that arrived before `now`:
    /// after a stall of this process the answers are in the socket while the timers say that they never came.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.leaving.is_some() {
            self.repeat_leave(now);
            return;
        }
        self.swim.handle_lateness(now);
        while self.swim.handle_timeout(now) {
            self.drain_swim(now);
        }
        if self.dissemination.poll_round(now) {
            self.swim.gossip();
            self.drain_swim(now);
        }
        if self.damping.poll_timeout().is_some_and(|due| due <= now) {
            self.damping.handle_timeout(now);
            self.report_flaps(now);
        }
        self.announce(now);
        self.flush(now);
    }

    /// Leaves: peers see this member down at once. Until [`Membership::has_left`] there are datagrams to send.
    pub fn leave(&mut self, now: Time) {
        self.swim.leave(leave::FANOUT);
        self.leaving = Some(Leave::new(now));
        self.drain_swim(now);
    }

    /// Whether all leave messages are sent.
    pub fn has_left(&self) -> bool {
        self.leaving.is_some_and(|leave| leave.next_due().is_none())
    }

    /// The next content to send, and its receiver.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// When [`Membership::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        if let Some(leave) = self.leaving {
            return leave.next_due();
        }
        let due = [
            self.swim.poll_timeout(),
            self.dissemination.next_due(),
            self.rounds.next_due(),
            self.roster.poll_timeout(),
            self.damping.poll_timeout(),
        ];
        due.into_iter().flatten().min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<MembershipEvent> {
        self.events.pop_front()
    }

    /// The members in order of their names: this one, all known members that are not down, and the expected peers. It is
    /// another list only if something has changed.
    pub const fn members(&self) -> &Arc<[Member]> {
        self.roster.members()
    }

    /// Whether a first attempt to join is over: all expected peers answered, or some did and the others had
    /// their time, or the timeout has passed, or no peer is expected.
    pub const fn joined(&self) -> bool {
        self.joined
    }

    /// The present identity of this member.
    pub fn identity(&self) -> &Identity {
        self.swim.identity()
    }

    /// Returns the version of what this member reports.
    #[cfg(test)]
    pub(crate) const fn version(&self) -> u32 {
        self.dissemination.own().version
    }

    /// Announces this member to missing peers, if a round is due.
    fn announce(&mut self, now: Time) {
        if self.rounds.next_due().is_none_or(|due| due > now) {
            return;
        }
        let missing = self.missing();
        self.rounds.handle_missing(missing.len(), now);
        for node in self.rounds.poll_round(&missing, now) {
            let to = self.last_identity_of(&node, missing[&node]);
            self.swim.announce(to);
        }
        self.drain_swim(now);
    }

    /// The peers that need an announcement: the expected peers that are not there, members whose present process has not
    /// reported, and all while no peer knows this member.
    fn missing(&self) -> BTreeMap<NodeName, SocketAddr> {
        let mut missing = self.roster.peers().clone();
        for member in self.swim.present() {
            let Identity { node, address, epoch } = member.id();
            if self.dissemination.of_process(node, epoch.started).is_none() {
                missing.insert((**node).clone(), *address);
            } else if !self.rounds.is_isolated() {
                missing.remove(&**node);
            }
        }
        missing.remove(&self.dissemination.own().node);
        missing
    }

    /// The last known identity of `node`. The address is the expected one, as the node may come back with another one.
    fn last_identity_of(&self, node: &NodeName, address: SocketAddr) -> Identity {
        match self.swim.last_identity(node) {
            Some(known) => Identity {
                address,
                ..known.clone()
            },
            None => Identity::unknown(node.clone(), address),
        }
    }

    fn repeat_leave(&mut self, now: Time) {
        if self.leaving.as_mut().is_some_and(|leave| leave.poll_round(now)) {
            self.swim.gossip();
            self.drain_swim(now);
        }
    }

    /// Completes each input: drains the SWIM library, brings the list of members up to date, tracks joining.
    fn flush(&mut self, now: Time) {
        self.drain_swim(now);
        self.roster.compare(self.swim.known());
        let has_news = self.swim.has_news() || self.dissemination.has_news();
        if has_news && self.swim.has_peers() {
            self.dissemination.send_in_turn(now);
        }
        if self.roster.poll_compile(now) {
            if self.compile_roster() {
                self.dissemination.send_soon(now);
            }
            if !self.rounds.joined() && self.rounds.next_due().is_some() {
                let missing = self.missing().len();
                self.rounds.handle_missing(missing, now);
            }
        }
        // A caller that sees that joining is over sees the list of that time.
        self.joined |= self.rounds.joined() && !self.roster.is_stale();
    }

    /// Handles what the SWIM library asked for.
    fn drain_swim(&mut self, now: Time) {
        self.swim.start_timers(now);
        let errors = self.swim.poll_errors().into_iter();
        self.events.extend(errors.map(MembershipEvent::Irregular));
        let rejoined = self.swim.poll_rejoined();
        if rejoined {
            self.handle_rejoin(now);
            self.events.push_back(MembershipEvent::Rejoined);
        }
        if let Some(connection) = self.swim.poll_connection() {
            self.rounds.handle_connection(connection, now);
            let is_recent = self.isolated.is_some_and(|at| now < at + ISOLATED_PERIOD);
            if connection == Connection::Isolated && !rejoined && !is_recent {
                self.isolated = Some(now);
                self.events.push_back(MembershipEvent::Isolated);
            }
        }
        for (to, swim) in self.swim.poll_messages() {
            let content = self.enclose(&to, &swim);
            self.transmits.push_back((to.address, content));
        }
    }

    /// Counts a flap if this member was declared down because it was away: it did not run, or no peer answered it. Otherwise it
    /// was a peer that was away and declared all others down. With only one peer nobody can tell, except by a lost link.
    fn handle_rejoin(&mut self, now: Time) {
        let is_alone = self.roster.peers().len() < 2;
        let was_away = if is_alone {
            self.swim.was_late(now)
        } else {
            self.swim.was_away(now)
        };
        if was_away {
            self.damping.handle_flap(now);
            self.report_flaps(now);
        }
    }

    /// Puts a SWIM message to `to` into an envelope, with as many reports as fit.
    fn enclose(&mut self, to: &Identity, swim: &[u8]) -> Vec<u8> {
        let suspicion = self.swim.suspicion_of(to);
        let (nodes, reports) = self.dissemination.for_datagram(&to.node, to.epoch.started);
        // The own report, and perhaps one of an earlier process of the receiver.
        let beside = reports.len() - nodes.len();
        let room = DATAGRAM_MAX - seal::OVERHEAD;
        // Without news an old report is repeated: a peer may know of a member that this one receives nothing from.
        let repetition = self.dissemination.repetition(&to.node);
        let repetition = repetition.filter(|_| nodes.is_empty());
        let repeated = repetition.map(|(node, _)| node.clone());
        let reports = reports.into_iter().chain(repetition.map(|(_, report)| report));
        let (content, count) = envelope::emit(suspicion, reports, swim, room);
        let sent = count.saturating_sub(beside).min(nodes.len());
        self.dissemination.handle_sent(&nodes[..sent], &to.node);
        self.dissemination.set_repeated(repeated);
        content
    }

    /// Compiles the list of members. True if a known member became suspect, down or alive.
    fn compile_roster(&mut self) -> bool {
        self.roster.set_endpoints(self.swim.known());
        let Some(events) = self.roster.update(self.swim.known(), &self.dissemination) else {
            return false;
        };
        let is_change =
            |event: &MembershipEvent| matches!(event, MembershipEvent::Liveness { from: Some(_), .. });
        let has_change = events.iter().any(is_change);
        self.events.extend(events);
        self.swim.adapt();
        self.dissemination.retain(|node| self.roster.get(node).is_some());
        has_change
    }
}
