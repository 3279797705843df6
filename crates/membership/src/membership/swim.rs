//! The SWIM library (foca) with its timers, and what it asks for during a call.
//!
//! A process that did not run cannot tell whether its peers answered in time. So the timers stand still for as long as this
//! member is late, and it gives its peers as much more time as it was late itself in the last seconds (`lateness`): what keeps
//! the processor from it often keeps it from them. Members that are not late find one that failed as fast as ever.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroUsize;
use core::time::Duration;

use foca::{
    Codec as _, Foca, Header, Message, NoCustomBroadcast, Notification, PostcardCodec, ProbeNumber, Runtime,
    State, Timer,
};
use herald_core::{NodeName, Time};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::lateness::Lateness;
use super::timers::Timers;
use crate::Timings;
use crate::identity::Identity;

/// A member as the SWIM library knows it.
pub(super) type SwimMember = foca::Member<Identity>;

/// The SWIM library with its timers.
pub(super) struct Swim {
    foca: Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>,
    outputs: SwimOutputs,
    timers: Timers,
    lateness: Lateness,
    /// When a peer answered a probe last.
    answered: Option<Time>,
    timings: Timings,
    /// The number of members that foca is configured for.
    size: usize,
    /// Calls that foca refused.
    errors: Vec<String>,
}

/// Whether foca probes: it does only while it assumes that a peer knows its present identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// A peer knows this member.
    Connected,
    /// No peer is there, or no peer knows the new identity yet. All timers are void until a message arrives.
    Isolated,
}

impl Swim {
    /// `seed` determines the random choice of the members to probe and to gossip to.
    pub(super) fn new(identity: Identity, timings: Timings, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self {
            foca: Foca::new(identity, timings.config(1), rng, PostcardCodec),
            outputs: SwimOutputs::default(),
            timers: Timers::default(),
            lateness: Lateness::default(),
            answered: None,
            timings,
            size: 1,
            errors: Vec::new(),
        }
    }

    /// Returns the present identity of this member.
    pub(super) fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// Returns the other members, those that are down included.
    pub(super) fn known(&self) -> impl ExactSizeIterator<Item = &SwimMember> {
        self.foca.iter_membership_state()
    }

    /// Returns the other members that are not down.
    pub(super) fn present(&self) -> impl Iterator<Item = &SwimMember> {
        self.foca.iter_members()
    }

    /// Returns the last identity of `node`.
    pub(super) fn last_identity(&self, node: &NodeName) -> Option<&Identity> {
        self.known()
            .map(SwimMember::id)
            .find(|known| *known.node == *node)
    }

    /// Whether there is a peer to gossip to.
    pub(super) fn has_peers(&self) -> bool {
        self.foca.num_members() > 0
    }

    /// Whether there are updates to disseminate.
    pub(super) fn has_news(&self) -> bool {
        self.foca.updates_backlog() > 0
    }

    /// Returns the incarnation at which this member suspects `member`, if it does.
    pub(super) fn suspicion_of(&self, member: &Identity) -> Option<u16> {
        self.present()
            .find(|known| known.id() == member)
            .filter(|known| known.state() == State::Suspect)
            .map(SwimMember::incarnation)
    }

    /// Announces this member to `to`.
    pub(super) fn announce(&mut self, to: Identity) {
        let result = self.try_announce(to);
        self.note(result);
    }

    /// Announces this member to `to`; returns foca's error.
    pub(super) fn try_announce(&mut self, to: Identity) -> Result<(), foca::Error> {
        self.foca.announce(to, &mut self.outputs)
    }

    /// Sends news to some members.
    pub(super) fn gossip(&mut self) {
        let result = self.foca.gossip(&mut self.outputs);
        self.note(result);
    }

    /// Handles a message of a peer.
    pub(super) fn handle_data(&mut self, data: &[u8]) -> Result<(), foca::Error> {
        self.foca.handle_data(data, &mut self.outputs)
    }

    /// Refutes a suspicion of this member at `incarnation`.
    pub(super) fn refute(&mut self, incarnation: u16) {
        let suspected = foca::Member::new(self.identity().clone(), incarnation, State::Suspect);
        let result = self
            .foca
            .apply_many(core::iter::once(suspected), true, &mut self.outputs);
        self.note(result);
    }

    /// Gives this member another identity.
    pub(super) fn set_identity(&mut self, identity: Identity) {
        let result = self.foca.change_identity(identity, &mut self.outputs);
        self.note(result);
    }

    /// Leaves the cluster, and sends that to `fanout` members.
    pub(super) fn leave(&mut self, fanout: NonZeroUsize) {
        let config = foca::Config {
            num_indirect_probes: fanout,
            ..self.timings.config(self.size)
        };
        let changed = self.foca.set_config(config);
        self.note(changed);
        let left = self.foca.leave_cluster(&mut self.outputs);
        self.note(left);
    }

    /// Adapts the settings to the number of members.
    pub(super) fn adapt(&mut self) {
        let size = self.foca.num_members() + 1;
        if size != self.size {
            self.size = size;
            let changed = self.foca.set_config(self.timings.config(size));
            self.note(changed);
        }
    }

    /// The next timer's instant.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.timers.next_due()
    }

    /// Lets the timers stand still for as long as they are late. Call it before each input.
    pub(super) fn handle_lateness(&mut self, now: Time) {
        let late = self.timers.next_due().map_or(Duration::ZERO, |due| now - due);
        if late > self.timings.tolerance() {
            self.timers.stand_still(late);
            self.lateness.handle(late, now);
        }
    }

    /// Whether no peer has answered a probe, or this process did not run, for so long that peers declare this member down.
    pub(super) fn was_away(&self, now: Time) -> bool {
        let time = self.timings.suspicion_among(self.size);
        self.answered.is_none_or(|at| now - at > time)
    }

    /// Whether this process did not run for so long that peers declare this member down.
    pub(super) fn was_late(&self, now: Time) -> bool {
        self.lateness.recent(now) > self.timings.suspicion_among(self.size)
    }

    /// Runs the next timer that is due. False if none is.
    pub(super) fn handle_timeout(&mut self, now: Time) -> bool {
        while let Some((timer, was_deferred)) = self.timers.pop_due(now) {
            if self.is_void(&timer) {
                continue;
            }
            let until = self.lateness.grace(now);
            if !was_deferred && until > now && self.is_accusation(&timer) {
                self.timers.defer(timer, until);
                continue;
            }
            let result = self.foca.handle_timer(timer, &mut self.outputs);
            self.note(result);
            self.announce_to_suspects();
            return true;
        }
        false
    }

    /// Records that `member` answered the probe with this number, if it is the last one.
    pub(super) fn handle_ack(&mut self, member: &Identity, number: ProbeNumber, now: Time) {
        if self.outputs.probe == Some(number) {
            self.outputs.is_unanswered = false;
            self.answered = Some(now);
            self.timers.handle_answer(member);
            self.timers.resume_probes(now);
        }
    }

    /// Starts the timers that foca asked for since the last call.
    pub(super) fn start_timers(&mut self, now: Time) {
        for (after, timer) in self.outputs.timers.drain(..) {
            self.timers.start(timer, now + after);
        }
    }

    /// Whether this member was declared down and took a new identity since the last call.
    pub(super) fn poll_rejoined(&mut self) -> bool {
        mem::take(&mut self.outputs.rejoined)
    }

    /// The connection, if it was notified since the last call.
    pub(super) fn poll_connection(&mut self) -> Option<Connection> {
        self.outputs.connection.take()
    }

    /// The messages to send since the last call.
    pub(super) fn poll_messages(&mut self) -> Vec<(Identity, Vec<u8>)> {
        mem::take(&mut self.outputs.messages)
    }

    /// The errors of foca since the last call.
    pub(super) fn poll_errors(&mut self) -> Vec<String> {
        mem::take(&mut self.errors)
    }

    /// Whether `timer` makes a member suspect, as its probe is not answered, or down.
    fn is_accusation(&self, timer: &Timer<Identity>) -> bool {
        match timer {
            Timer::ProbeRandomMember(_) => self.outputs.is_unanswered,
            Timer::ChangeSuspectToDown { .. } => true,
            Timer::SendIndirectProbe { .. }
            | Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => false,
        }
    }

    /// Whether `timer` would declare a member down that has refuted the suspicion, or that is down already. foca
    /// would change nothing, but notify the member that it is down.
    fn is_void(&self, timer: &Timer<Identity>) -> bool {
        let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = timer
        else {
            return false;
        };
        !self.known().any(|member| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == State::Suspect
        })
    }

    /// Sends a message to the members that just failed to answer a probe. The envelope says that they are suspected, and the
    /// message asks for an answer.
    fn announce_to_suspects(&mut self) {
        let suspects: Vec<Identity> = self.outputs.suspects().cloned().collect();
        for suspect in suspects {
            self.announce(suspect);
        }
    }

    fn note(&mut self, result: Result<(), foca::Error>) {
        if let Err(error) = result {
            self.errors.push(error.to_string());
        }
    }
}

/// What foca asked for during one call.
#[derive(Default)]
struct SwimOutputs {
    /// Messages to send.
    messages: Vec<(Identity, Vec<u8>)>,
    /// Timers to start.
    timers: Vec<(Duration, Timer<Identity>)>,
    /// The connection after the last notification of it.
    connection: Option<Connection>,
    /// Whether this member was declared down and took a new identity.
    rejoined: bool,
    /// The number of the last probe.
    probe: Option<ProbeNumber>,
    /// Whether the last probe has no answer.
    is_unanswered: bool,
}

impl SwimOutputs {
    /// The members that became suspect during this call, or failed to answer once more.
    fn suspects(&self) -> impl Iterator<Item = &Identity> {
        self.timers.iter().filter_map(|(_, timer)| match timer {
            Timer::ChangeSuspectToDown { member_id, .. } => Some(member_id),
            Timer::ProbeRandomMember(_)
            | Timer::SendIndirectProbe { .. }
            | Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => None,
        })
    }
}

impl Runtime<Identity> for SwimOutputs {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::Active => self.connection = Some(Connection::Connected),
            Notification::Idle | Notification::Defunct => {
                self.connection = Some(Connection::Isolated);
            }
            Notification::Rejoin(_) => {
                self.connection = Some(Connection::Isolated);
                self.rejoined = true;
            }
            // The roster reads the membership state instead, which has the suspicions, too.
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        let header: Result<Header<Identity>, _> = PostcardCodec.decode_header(data);
        if let Ok(Header {
            message: Message::Ping(number),
            ..
        }) = header
        {
            self.probe = Some(number);
            self.is_unanswered = true;
        }
        self.messages.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((after, event));
    }
}
