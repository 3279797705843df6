//! What this speaker says of itself: its state, where it stands, how it has fared.

use herald_core::{NodeState, Prefix, Time};

use super::super::codec::profile;
use super::super::codec::report::{MAX_MACS, Report};
use super::Membership;

/// What being found silent adds to a node's returns: enough to be passed over among nodes that are at rest.
const SILENCE: u8 = 2;

impl Membership {
    /// What we say of our state.
    pub fn set_state(&mut self, state: NodeState, now: Time) {
        self.say(|report| report.state = state, now);
    }

    /// From which hardware addresses we answer; the lowest 16 are told.
    pub fn set_macs(&mut self, mut macs: Vec<[u8; 6]>, now: Time) {
        macs.sort_unstable();
        macs.dedup();
        macs.truncate(MAX_MACS);
        self.say(|report| report.macs = macs, now);
    }

    /// In which subnets we have a leg; if they are too many, it is told that we have one everywhere.
    pub fn set_legs(&mut self, prefixes: Vec<Prefix>, now: Time) {
        let legs = profile::legs(prefixes);
        self.say(|report| report.profile.get_or_insert_default().legs = legs, now);
    }

    /// Which interfaces of ours can announce; if they are too many, it is told that all can.
    pub fn set_interfaces<'a>(&mut self, names: impl IntoIterator<Item = &'a str>, now: Time) {
        let tags = profile::interfaces(names);
        self.say(
            |report| report.profile.get_or_insert_default().interfaces = tags,
            now,
        );
    }

    /// Which nodes ([`NodeName::tag`](herald_core::NodeName::tag)) do not answer on the wire although they live; the first four are told.
    pub fn set_silent(&mut self, mut silent: Vec<u32>, now: Time) {
        silent.sort_unstable();
        silent.truncate(profile::MAX_SILENT);
        self.say(
            |report| report.profile.get_or_insert_default().silent = silent,
            now,
        );
    }

    /// This node was out of the world for a while: unplugged, for example.
    pub fn handle_return(&mut self, now: Time) {
        self.restlessness.handle_return(now);
        self.tell_returns(now);
        self.handle_timeout(now);
    }

    /// A peer found that this node does not answer on the wire. That weighs as much as coming back again and again, so that
    /// others are preferred for a while.
    pub fn handle_silence(&mut self, now: Time) {
        self.restlessness.add(SILENCE, now);
        self.tell_returns(now);
        self.handle_timeout(now);
    }

    pub(super) fn tell_returns(&mut self, now: Time) {
        let returns = self.restlessness.returns();
        if self.rumours.say_of_profile(|profile| profile.returns = returns) {
            self.stale = true;
            self.spread_news(now);
        }
    }

    fn say(&mut self, change: impl FnOnce(&mut Report), now: Time) {
        if self.rumours.say(change) {
            self.stale = true;
            self.spread_news(now);
            self.handle_timeout(now);
        }
    }
}
