//! What this member reports of itself: its state, its links, its flaps, the nodes that do not answer it.

use alloc::vec::Vec;

use herald_core::{Features, MacAddr, NodeState, Prefix, Time};

use super::Membership;
use crate::codec::profile;
use crate::codec::report::{MAX_MACS, SelfReport};

/// The flaps that a report of this node as unresponsive counts for: enough to rank after nodes that do not flap.
const UNRESPONSIVE_FLAPS: u8 = 2;

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
    /// Reports the state of this speaker.
    pub fn set_state(&mut self, state: NodeState, now: Time) {
        self.report(|report| report.state = state, now);
    }

    /// Reports the links of this node: the lowest 16 MAC addresses, the subnets, the names of the interfaces, and which of these
    /// have a link-local IPv6 address. If there are too many subnets or interfaces, it reports that this node has all of them.
    pub fn set_links(&mut self, links: &[LocalLink<'_>], now: Time) {
        let mut macs: Vec<MacAddr> = links.iter().map(|link| link.mac).collect();
        macs.sort_unstable();
        macs.dedup();
        macs.truncate(MAX_MACS);
        // Each node is in the link-local subnets, and no client is.
        let prefixes = links.iter().flat_map(|link| link.prefixes).copied();
        let subnets = profile::subnets(prefixes.filter(|prefix| !prefix.is_link_local()));
        let interfaces = profile::interfaces(links.iter().map(|link| link.name));
        let is_v6_link_local = |prefix: &Prefix| prefix.address.is_ipv6() && prefix.is_link_local();
        let with_ipv6 = links
            .iter()
            .filter(|link| link.prefixes.iter().any(is_v6_link_local));
        let ipv6_interfaces = profile::interfaces(with_ipv6.map(|link| link.name));
        let change = |report: &mut SelfReport| {
            report.macs = macs.into();
            let profile = report.profile_mut();
            (profile.subnets, profile.interfaces) = (subnets, interfaces);
            profile.ipv6_interfaces = ipv6_interfaces;
        };
        self.report(change, now);
    }

    /// Reports the nodes ([`NodeName::tag`](herald_core::NodeName::tag)) that do not answer on the wire although they are
    /// alive; the four lowest tags are reported.
    pub fn set_unresponsive(&mut self, mut nodes: Vec<u32>, now: Time) {
        nodes.sort_unstable();
        nodes.truncate(profile::MAX_UNRESPONSIVE);
        self.report(|report| report.profile_mut().unresponsive = nodes, now);
    }

    /// Reports the features of this speaker; those of another version make it behave like that version.
    pub fn set_features(&mut self, features: Features, now: Time) {
        self.report(|report| report.profile_mut().features = features, now);
    }

    /// Counts a flap: this node was cut off for a while, for example unplugged, and is back.
    pub fn handle_flap(&mut self, now: Time) {
        self.damping.handle_flap(now);
        self.report_flaps(now);
        self.handle_timeout(now);
    }

    /// Counts flaps because a peer reports that this node does not answer on the wire, so that other nodes are preferred for
    /// a while.
    pub fn handle_reported_unresponsive(&mut self, now: Time) {
        self.damping.add(UNRESPONSIVE_FLAPS, now);
        self.report_flaps(now);
        self.handle_timeout(now);
    }

    /// Reports the number of flaps if it changed.
    pub(super) fn report_flaps(&mut self, now: Time) {
        let flaps = self.damping.flaps();
        let change = |report: &mut SelfReport| report.profile_mut().flaps = flaps;
        if self.dissemination.update_own(change) {
            self.roster.set_stale();
            self.dissemination.send_soon(now);
        }
    }

    fn report(&mut self, change: impl FnOnce(&mut SelfReport), now: Time) {
        if self.dissemination.update_own(change) {
            self.roster.set_stale();
            self.dissemination.send_soon(now);
            self.handle_timeout(now);
        }
    }
}
