//! Membership without sockets and clocks: datagram contents and time in, datagram contents and events out.
//!
//! The SWIM protocol itself is foca's. This adds what foca leaves to its user or gets wrong:
//!
//! * Members are keyed by node name. A restart or a new identity after a false alarm is the same member.
//! * Whoever is expected and not there is announced to again and again (`announcer`).
//! * A suspicion that was refuted in time is dropped here. foca would tell the member that it is down all the
//!   same, and each lost datagram would cost somebody's identity.
//! * A member hears of a suspicion against it from whoever suspects it, at once and in every datagram until it has
//!   refuted it. With foca it hears of it by chance, and if the suspicion is never passed on (because the suspecting
//!   member was cut off, and then lost its timers with its identity) it stands for ever.
//! * A member whose epoch lies behind the one that its peers know (its clock went back between two starts) is told
//!   so and takes a later one, instead of being ignored for ever.
//!   Two speakers of one name would do that in turn for ever, so they do it less and less (`chase`).
//! * What members say of themselves travels beside the SWIM messages (`rumours`).
//! * A datagram is believed as far as its sender can know what it says, and what strangers can make us remember
//!   has a bound (`intake`).

mod announcer;
mod chase;
mod effects;
mod farewell;
pub(crate) mod intake;
mod own;
mod roster;
mod rumours;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foca::{Foca, NoCustomBroadcast, PostcardCodec, State, Timer};
use herald_core::announce::layer2::flap_damping::Restlessness;
use herald_core::{Liveness, Member, NodeName, Time};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::codec::{DATAGRAM_MAX, envelope, seal};
use crate::identity::{Epoch, Identity};
use crate::timings::{GOSSIP_PERIOD, Timings};
use announcer::Announcer;
use chase::Chase;
use effects::{Connection, Effects, Timers};
use farewell::Farewell;
pub use own::LocalLink;
use roster::Roster;
use rumours::Rumours;

/// Something worth a log line or a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// A member's liveness changed, or it appeared (`from` is `None`).
    Liveness {
        /// Whose.
        node: NodeName,
        /// What it was.
        from: Option<Liveness>,
        /// What it is.
        to: Liveness,
    },
    /// Our peers had declared us down; we are back under a new identity.
    Rejoined,
    /// Our peers know a later epoch of this node, so ours was raised: the clock went back, or a second speaker
    /// uses our name.
    Overtaken,
    /// The last peer is gone. Peers may still be there and take what we send for a replay: they do when this machine
    /// was rolled back to a snapshot. Told at most once a second.
    Alone,
    /// foca reports that it was driven wrongly; it recovers by itself.
    Irregular(String),
}

impl MembershipEvent {
    /// Whether the seal's session is to end here, so that peers listen to us again.
    pub const fn ends_session(&self) -> bool {
        match self {
            Self::Rejoined | Self::Overtaken | Self::Alone => true,
            Self::Liveness { .. } | Self::Irregular(_) => false,
        }
    }
}

/// The members as one speaker sees them.
pub struct Membership {
    foca: Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>,
    effects: Effects,
    timers: Timers,
    rumours: Rumours,
    /// When to pass on news next, and when that was done last.
    news_due: Option<Time>,
    news_sent: Option<Time>,
    announcer: Announcer,
    timings: Timings,
    config_for: usize,
    roster: Roster,
    stale: bool,
    /// When the list of members was put together last.
    refreshed: Option<Time>,
    /// Whether a first attempt to join was over by then.
    joined: bool,
    alone_told: Option<Time>,
    chase: Chase,
    restlessness: Restlessness,
    /// Tells our later epochs apart from those of a second speaker of our name.
    rng: StdRng,
    leaving: Option<Farewell>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<MembershipEvent>,
}

/// Receivers remember a bounded number of sessions: this is how often losing all peers may start another one.
const ALONE_PERIOD: Duration = Duration::from_secs(1);

/// News is passed on at once, but not more often than this: when much happens, it goes out together.
const NEWS_PERIOD: Duration = Duration::from_millis(10);

impl Membership {
    /// A member of its own, in state [`NodeState::Starting`](herald_core::NodeState::Starting). It sends nothing until it is told whom to expect
    /// or hears from somebody. `seed` drives the random choice of whom to probe and to gossip to.
    pub fn new(node: NodeName, address: SocketAddr, epoch: Epoch, timings: Timings, seed: u64) -> Self {
        let identity = Identity {
            node: node.clone().into(),
            address,
            epoch,
        };
        let rng = StdRng::seed_from_u64(seed);
        let rumours = Rumours::new(node, epoch);
        let mut membership = Self {
            foca: Foca::new(identity, timings.config(1), rng, PostcardCodec),
            effects: Effects::default(),
            timers: Timers::default(),
            rumours,
            news_due: None,
            news_sent: None,
            announcer: Announcer::new(timings.join_timeout),
            timings,
            config_for: 1,
            roster: Roster::default(),
            stale: true,
            refreshed: None,
            joined: false,
            alone_told: None,
            chase: Chase::new(),
            restlessness: Restlessness::default(),
            rng: StdRng::seed_from_u64(seed.rotate_left(32)),
            leaving: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        membership.refresh();
        membership
    }

    /// Whom to expect: the speakers that Kubernetes knows of. Our own name is ignored.
    pub fn set_expected_peers(&mut self, mut peers: BTreeMap<NodeName, SocketAddr>, now: Time) {
        peers.remove(&self.rumours.own().node);
        if self.roster.set_peers(peers) || self.announcer.next_due().is_none() {
            self.stale = true;
            self.announcer.handle_peers(now);
            self.settle(now);
        }
    }

    /// Does what is due at `now`. Call it after the datagrams that arrived before `now` were taken in: after a
    /// stall of this process the answers lie in the socket while the timers say that they never came.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.leaving.is_some() {
            self.say_good_bye(now);
            return;
        }
        while let Some(timer) = self.timers.pop_due(now) {
            if self.is_moot(&timer) {
                continue;
            }
            let result = self.foca.handle_timer(timer, &mut self.effects);
            self.note(result);
            self.ask_suspects();
            self.absorb(now);
        }
        if self.news_due.is_some_and(|due| due <= now) {
            let result = self.foca.gossip(&mut self.effects);
            self.note(result);
            self.absorb(now);
            self.news_sent = Some(now);
            self.news_due = None;
        }
        if self.restlessness.poll_timeout().is_some_and(|due| due <= now) {
            self.restlessness.handle_timeout(now);
            self.tell_returns(now);
        }
        self.announce(now);
        self.settle(now);
    }

    /// Whether `timer` would declare a member down that has refuted the suspicion, or already is down. foca
    /// would change nothing, but tell the member that it is down.
    fn is_moot(&self, timer: &Timer<Identity>) -> bool {
        let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = timer
        else {
            return false;
        };
        !self.foca.iter_membership_state().any(|member| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == State::Suspect
        })
    }

    /// Tells whoever just failed to answer our probe that it is suspected, and gives it a message to answer.
    fn ask_suspects(&mut self) {
        let suspects: Vec<Identity> = self.effects.suspects().cloned().collect();
        for suspect in suspects {
            let result = self.foca.announce(suspect, &mut self.effects);
            self.note(result);
        }
    }

    /// At which incarnation we suspect `member`, if we do.
    fn suspicion_of(&self, member: &Identity) -> Option<u16> {
        self.foca
            .iter_members()
            .find(|known| known.id() == member)
            .filter(|known| known.state() == State::Suspect)
            .map(foca::Member::incarnation)
    }

    fn announce(&mut self, now: Time) {
        if self.announcer.next_due().is_none_or(|due| due > now) {
            return;
        }
        let missing = self.missing();
        self.announcer.handle_missing(missing.len(), now);
        for node in self.announcer.poll_round(&missing, now) {
            let to = self.last_identity_of(&node, missing[&node]);
            let result = self.foca.announce(to, &mut self.effects);
            self.note(result);
        }
        self.absorb(now);
    }

    /// Who should be announced to: the expected who are not there, everybody of whose present life we have no
    /// report, and all while nobody knows us.
    fn missing(&self) -> BTreeMap<NodeName, SocketAddr> {
        let mut missing = self.roster.peers().clone();
        for member in self.foca.iter_members() {
            let Identity { node, address, epoch } = member.id();
            if self.rumours.of(node, epoch.started).is_none() {
                missing.insert((**node).clone(), *address);
            } else if !self.announcer.is_alone() {
                missing.remove(&**node);
            }
        }
        missing.remove(&self.rumours.own().node);
        missing
    }

    /// By which identity `node` was last known. The address is the expected one: it may come back elsewhere.
    fn last_identity_of(&self, node: &NodeName, address: SocketAddr) -> Identity {
        let known = self
            .foca
            .iter_membership_state()
            .find(|member| *member.id().node == *node);
        match known {
            Some(member) => Identity {
                address,
                ..member.id().clone()
            },
            None => Identity::unknown(node.clone(), address),
        }
    }

    /// Says good-bye: peers see us go down at once. Until [`Membership::has_left`] there are datagrams to send.
    pub fn leave(&mut self, now: Time) {
        let config = foca::Config {
            num_indirect_probes: farewell::FANOUT,
            ..self.timings.config(self.config_for)
        };
        let changed = self.foca.set_config(config);
        self.note(changed);
        let left = self.foca.leave_cluster(&mut self.effects);
        self.note(left);
        self.leaving = Some(Farewell::new(now));
        self.absorb(now);
    }

    fn say_good_bye(&mut self, now: Time) {
        if self.leaving.as_mut().is_some_and(|leave| leave.poll_round(now)) {
            let result = self.foca.gossip(&mut self.effects);
            self.note(result);
            self.absorb(now);
        }
    }

    /// Whether all good-byes are said.
    pub fn has_left(&self) -> bool {
        self.leaving.is_some_and(|leave| leave.next_due().is_none())
    }

    /// The next content to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// When [`Membership::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        if let Some(leave) = self.leaving {
            return leave.next_due();
        }
        let timers = self.timers.next_due().into_iter();
        let rest = self.restlessness.poll_timeout();
        timers
            .chain(self.news_due)
            .chain(self.announcer.next_due())
            .chain(self.refresh_due())
            .chain(rest)
            .min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<MembershipEvent> {
        self.events.pop_front()
    }

    /// The members in order of their names: ourselves, everybody heard of, and those expected; who is neither
    /// there nor expected is not listed. It is another list only when something has changed.
    pub const fn members(&self) -> &Arc<[Member]> {
        self.roster.members()
    }

    /// Whether a first attempt to join is over: everybody expected answered, or some did and the others had
    /// their chance, or time is up, or nobody is expected.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// Who we are in this life.
    pub fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    fn note(&mut self, result: Result<(), foca::Error>) {
        if let Err(error) = result {
            self.events
                .push_back(MembershipEvent::Irregular(error.to_string()));
        }
    }

    /// Passes news on at once instead of in the usual rhythm, which would cost half a period at every hop.
    fn spread_news(&mut self, now: Time) {
        let earliest = self.news_sent.map_or(now, |sent| now.max(sent + NEWS_PERIOD));
        self.news_due = Some(self.news_due.map_or(earliest, |due| due.min(earliest)));
    }

    /// Carries on after foca was called: effects, members, joining.
    fn settle(&mut self, now: Time) {
        self.absorb(now);
        self.stale |= self.roster.notice(self.foca.iter_membership_state());
        let has_news = self.foca.updates_backlog() > 0 || self.rumours.is_hot();
        if has_news && self.news_due.is_none() && self.foca.num_members() > 0 {
            self.news_due = Some(now + GOSSIP_PERIOD);
        }
        if self.refresh_due().is_some_and(|due| due <= now) {
            self.refreshed = Some(now);
            if self.refresh() {
                self.spread_news(now);
            }
            if !self.announcer.joined() && self.announcer.next_due().is_some() {
                let missing = self.missing().len();
                self.announcer.handle_missing(missing, now);
            }
        }
        // Whoever has joined has the list that goes with it.
        self.joined |= self.announcer.joined() && !self.stale;
    }

    /// When the list of members is to be put together anew: at once, but not more often than news is passed on. It takes
    /// some time where there are a thousand.
    fn refresh_due(&self) -> Option<Time> {
        let earliest = self.refreshed.map_or(Time::ZERO, |at| at + NEWS_PERIOD);
        self.stale.then_some(earliest)
    }

    fn absorb(&mut self, now: Time) {
        for (after, timer) in self.effects.timers.drain(..) {
            self.timers.start(timer, now + after);
        }
        let rejoined = std::mem::take(&mut self.effects.rejoined);
        if rejoined {
            self.restlessness.handle_return(now);
            self.tell_returns(now);
            self.events.push_back(MembershipEvent::Rejoined);
        }
        if let Some(connection) = self.effects.connection.take() {
            self.announcer.handle_connection(connection, now);
            let told = self.alone_told.is_some_and(|told| now < told + ALONE_PERIOD);
            if connection == Connection::Alone && !rejoined && !told {
                self.alone_told = Some(now);
                self.events.push_back(MembershipEvent::Alone);
            }
        }
        for (to, swim) in std::mem::take(&mut self.effects.messages) {
            let suspicion = self.suspicion_of(&to);
            let (names, reports) = self.rumours.for_datagram(&to.node, to.epoch.started);
            // Our own, and perhaps one of the receiver's past.
            let beside = reports.len() - names.len();
            let room = DATAGRAM_MAX - seal::OVERHEAD;
            // Who has no news passes on what is old: a member that another one hears of, but not from, is known to it so.
            let reminder = self.rumours.reminder(&to.node).filter(|_| names.is_empty());
            let reminded = reminder.map(|(node, _)| node.clone());
            let reports = reports.into_iter().chain(reminder.map(|(_, report)| report));
            let (content, count) = envelope::emit(suspicion, reports, &swim, room);
            let passed_on = count.saturating_sub(beside).min(names.len());
            self.rumours.passed_on(&names[..passed_on], &to.node);
            self.rumours.set_reminded(reminded);
            self.transmits.push_back((to.address, content));
        }
    }

    /// Puts the list of members together anew. True if somebody was found suspect, down or alive again.
    fn refresh(&mut self) -> bool {
        self.stale = false;
        let known = self.foca.iter_membership_state();
        let Some(events) = self.roster.update(known, &self.rumours) else {
            return false;
        };
        let urgent =
            |event: &MembershipEvent| matches!(event, MembershipEvent::Liveness { from: Some(_), .. });
        let news = events.iter().any(urgent);
        self.events.extend(events);
        self.resize();
        news
    }

    /// Adapts what depends on the number of members.
    fn resize(&mut self) {
        let present = self.foca.num_members() + 1;
        if present != self.config_for {
            self.config_for = present;
            let changed = self.foca.set_config(self.timings.config(present));
            self.note(changed);
        }
        self.rumours.retain(|node| self.roster.lists(node));
    }
}
