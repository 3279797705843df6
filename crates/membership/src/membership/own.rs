//! What this speaker says of itself: its state, where it stands, how it has fared.

use herald_core::{MacAddr, NodeState, Prefix, Time};

use super::Membership;
use crate::codec::profile;
use crate::codec::report::{MAX_MACS, Report};

/// What being found silent adds to a node's returns: enough to be passed over among nodes that are at rest.
const SILENCE: u8 = 2;

/// A link of this node as peers learn of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalLink<'a> {
    /// The name of the interface.
    pub name: &'a str,
    /// The MAC address that it answers from.
    pub mac: MacAddr,
    /// The subnets of its addresses.
    pub prefixes: &'a [Prefix],
}

impl Membership {
    /// What we say of our state.
    pub fn set_state(&mut self, state: NodeState, now: Time) {
        self.say(|report| report.state = state, now);
    }

    /// What can announce here. Told are the lowest 16 hardware addresses, the subnets that we have a leg in and the names of
    /// the interfaces; of either, if they are too many, that we have all.
    pub fn set_links(&mut self, links: &[LocalLink<'_>], now: Time) {
        let mut macs: Vec<MacAddr> = links.iter().map(|link| link.mac).collect();
        macs.sort_unstable();
        macs.dedup();
        macs.truncate(MAX_MACS);
        // Every node has a leg in the link-local ones, and no client is there.
        let prefixes = links.iter().flat_map(|link| link.prefixes).copied();
        let legs = profile::legs(prefixes.filter(|prefix| !prefix.is_link_local()));
        let interfaces = profile::interfaces(links.iter().map(|link| link.name));
        let change = |report: &mut Report| {
            report.macs = macs.into();
            let profile = report.profile_mut();
            (profile.subnets, profile.interfaces) = (legs, interfaces);
        };
        self.say(change, now);
    }

    /// Which nodes ([`NodeName::tag`](herald_core::NodeName::tag)) do not answer on the wire although they live; the first four are told.
    pub fn set_unresponsive(&mut self, mut silent: Vec<u32>, now: Time) {
        silent.sort_unstable();
        silent.truncate(profile::MAX_SILENT);
        self.say(|report| report.profile_mut().unresponsive = silent, now);
    }

    /// This node was out of the world for a while: unplugged, for example.
    pub fn handle_flap(&mut self, now: Time) {
        self.restlessness.handle_return(now);
        self.tell_returns(now);
        self.handle_timeout(now);
    }

    /// A peer found that this node does not answer on the wire. That weighs as much as coming back again and again, so that
    /// others are preferred for a while.
    pub fn handle_reported_unresponsive(&mut self, now: Time) {
        self.restlessness.add(SILENCE, now);
        self.tell_returns(now);
        self.handle_timeout(now);
    }

    pub(super) fn tell_returns(&mut self, now: Time) {
        let returns = self.restlessness.returns();
        if self.rumours.say_of_profile(|profile| profile.flaps = returns) {
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
