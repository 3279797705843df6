//! The router on a link: the peer of an unnumbered session, found by its router advertisements (RFC 4861).
//!
//! Each side learns the link-local address of the other one from an advertisement. FRR resets connections from a machine that has
//! not sent one. This node is no router for other hosts, so the lifetime in its advertisements is zero.

use core::net::Ipv6Addr;
use core::time::Duration;

use herald_core::Time;

/// RFC 4861 section 10: MAX_RTR_SOLICITATIONS and RTR_SOLICITATION_INTERVAL.
const SOLICITATIONS: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// The pause between advertisements: the one of FRR for unnumbered peers.
const ADVERTISEMENT_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 4861 section 10: MIN_DELAY_BETWEEN_RAS.
const LEAST_PAUSE: Duration = Duration::from_secs(3);
/// How long another router on the link is ignored after the known one was heard: three of its advertisements may be lost.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// A message of router discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterMessage {
    /// Asks routers to advertise themselves (RFC 4861 section 4.1), sent to [`ALL_ROUTERS`].
    Solicitation,
    /// Says that the sender is on the link (RFC 4861 section 4.2), sent to [`ALL_NODES`].
    Advertisement,
}

/// `ff02::1`, every node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// `ff02::2`, every router on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

impl RouterMessage {
    const SOLICITATION_BYTES: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
    /// Of hop limit, flags, times and lifetime, all are zero: "unspecified", and "not a default router".
    const ADVERTISEMENT_BYTES: [u8; 16] = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// Returns the group that the message is sent to, and the ICMPv6 message without a checksum.
    pub const fn encode(self) -> (Ipv6Addr, &'static [u8]) {
        match self {
            Self::Solicitation => (ALL_ROUTERS, &Self::SOLICITATION_BYTES),
            Self::Advertisement => (ALL_NODES, &Self::ADVERTISEMENT_BYTES),
        }
    }

    /// Reads an ICMPv6 message whose checksum is right; `None` for others than these, and for those that RFC 4861 section 6.1 tells
    /// receivers to discard. `hop_limit` is that of its packet.
    pub fn parse(bytes: &[u8], hop_limit: u8) -> Option<Self> {
        if hop_limit != u8::MAX {
            return None;
        }
        match *bytes {
            [133, 0, ..] if bytes.len() >= Self::SOLICITATION_BYTES.len() => Some(Self::Solicitation),
            [134, 0, ..] if bytes.len() >= Self::ADVERTISEMENT_BYTES.len() => Some(Self::Advertisement),
            _ => None,
        }
    }
}

/// Finds the router on a link, and makes this node known to it. Exactly one task owns it.
#[derive(Debug, Default)]
pub struct LinkRouter {
    router: Option<Ipv6Addr>,
    /// When the router was heard last.
    heard: Time,
    solicit_at: Option<Time>,
    solicitations: u8,
    advertise_at: Option<Time>,
    advertised: Option<Time>,
}

impl LinkRouter {
    /// Returns the link-local address of the router.
    pub const fn router(&self) -> Option<Ipv6Addr> {
        self.router
    }

    /// Begins to send: the link can be used, or can be used again.
    pub const fn start(&mut self, now: Time) {
        self.solicit_at = Some(now);
        self.solicitations = 0;
        self.advertise_at = Some(now);
        self.advertised = None;
    }

    /// Sends nothing more until the next start.
    pub const fn stop(&mut self) {
        self.solicit_at = None;
        self.advertise_at = None;
    }

    /// Handles a message from the link. Returns whether there is another router than before.
    ///
    /// A second router does not replace one that still advertises itself: with two of them on a link, the session would change between
    /// them for ever.
    pub fn handle(&mut self, message: RouterMessage, source: Ipv6Addr, now: Time) -> bool {
        if !source.is_unicast_link_local() {
            return false;
        }
        match message {
            RouterMessage::Solicitation => {
                let earliest = self.advertised.map_or(now, |sent| (sent + LEAST_PAUSE).max(now));
                self.advertise_at = self.advertise_at.map(|due| due.min(earliest));
                false
            }
            RouterMessage::Advertisement => {
                let is_known = self.router == Some(source);
                let is_fresh = now.saturating_since(self.heard) < KNOWN_FOR;
                if !is_known && self.router.is_some() && is_fresh {
                    return false;
                }
                self.router = Some(source);
                self.heard = now;
                self.solicit_at = None;
                !is_known
            }
        }
    }

    /// Returns when [`Self::poll_message`] has something to send.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.solicit_at, self.advertise_at].into_iter().flatten().min()
    }

    /// Returns the next message to send.
    pub fn poll_message(&mut self, now: Time) -> Option<RouterMessage> {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if is_due(self.advertise_at) {
            self.advertised = Some(now);
            self.advertise_at = Some(now + ADVERTISEMENT_INTERVAL);
            return Some(RouterMessage::Advertisement);
        }
        if is_due(self.solicit_at) {
            self.solicitations += 1;
            let is_last = self.solicitations >= SOLICITATIONS;
            self.solicit_at = (!is_last).then(|| now + SOLICITATION_INTERVAL);
            return Some(RouterMessage::Solicitation);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::RouterMessage::{Advertisement, Solicitation};
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn at(seconds: u64) -> Time {
        Time::since_zero(Duration::from_secs(seconds))
    }

    fn started() -> LinkRouter {
        let mut link = LinkRouter::default();
        link.start(at(0));
        link
    }

    /// Returns what is sent until then, with the seconds.
    fn sent(link: &mut LinkRouter, until: u64) -> Vec<(u64, RouterMessage)> {
        let mut sent = Vec::new();
        while let Some(due) = link.poll_timeout().filter(|due| *due <= at(until)) {
            while let Some(message) = link.poll_message(due) {
                sent.push((due.elapsed().as_secs(), message));
            }
        }
        sent
    }

    #[test]
    fn a_node_advertises_itself_and_solicits_three_times_until_a_router_is_heard() {
        let mut link = started();
        let first = [(0, Advertisement), (0, Solicitation)];
        assert_eq!(sent(&mut link, 3), first);
        let later = [(4, Solicitation), (8, Solicitation), (10, Advertisement)];
        assert_eq!(sent(&mut link, 10), later);
        let mut found = started();
        sent(&mut found, 0);
        assert!(found.handle(Advertisement, ROUTER, at(1)));
        assert_eq!(sent(&mut found, 20), [(10, Advertisement), (20, Advertisement)]);
        assert_eq!(found.router(), Some(ROUTER));
    }

    #[test]
    fn a_solicitation_is_answered_at_once_but_not_more_often_than_every_three_seconds() {
        let mut link = started();
        link.handle(Advertisement, ROUTER, at(0));
        assert_eq!(sent(&mut link, 0), [(0, Advertisement)]);
        for second in [1, 1, 2] {
            link.handle(Solicitation, ROUTER, at(second));
        }
        assert_eq!(sent(&mut link, 5), [(3, Advertisement)]);
        link.handle(Solicitation, ROUTER, at(9));
        assert_eq!(sent(&mut link, 9), [(9, Advertisement)]);
    }

    #[test]
    fn another_router_counts_only_when_the_known_one_is_silent_for_half_a_minute() {
        let mut link = started();
        assert!(link.handle(Advertisement, ROUTER, at(0)));
        assert!(!link.handle(Advertisement, ROUTER, at(20)));
        assert!(!link.handle(Advertisement, OTHER, at(49)));
        assert_eq!(link.router(), Some(ROUTER));
        assert!(link.handle(Advertisement, OTHER, at(50)));
        assert_eq!(link.router(), Some(OTHER));
    }

    #[test]
    fn a_link_that_is_gone_is_silent_and_one_that_is_back_begins_again() {
        let mut link = started();
        link.handle(Advertisement, ROUTER, at(0));
        sent(&mut link, 0);
        link.stop();
        link.handle(Solicitation, ROUTER, at(1));
        assert_eq!(sent(&mut link, 60), []);
        link.start(at(61));
        assert_eq!(sent(&mut link, 61), [(61, Advertisement), (61, Solicitation)]);
    }

    #[test]
    fn messages_from_beyond_the_link_and_of_others_than_neighbours_do_not_count() {
        for message in [Solicitation, Advertisement] {
            let (_, bytes) = message.encode();
            assert_eq!(RouterMessage::parse(bytes, 255), Some(message));
            assert_eq!(RouterMessage::parse(bytes, 254), None, "it crossed a router");
            assert_eq!(RouterMessage::parse(&bytes[..bytes.len() - 1], 255), None);
        }
        let global = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let mut link = started();
        assert!(!link.handle(Advertisement, global, at(0)));
        assert!(!link.handle(Advertisement, Ipv6Addr::UNSPECIFIED, at(0)));
        assert_eq!(link.router(), None);
    }

    proptest! {
        #[test]
        fn a_flood_of_messages_costs_an_advertisement_in_three_seconds_at_most(
            flood in prop::collection::vec((0_u64..60, any::<bool>(), any::<bool>()), 0..400),
        ) {
            let mut flood = flood;
            flood.sort_unstable();
            let mut link = started();
            let mut all = Vec::new();
            for (second, is_solicitation, is_other) in flood {
                all.extend(sent(&mut link, second));
                let source = if is_other { OTHER } else { ROUTER };
                let message = if is_solicitation { Solicitation } else { Advertisement };
                link.handle(message, source, at(second));
            }
            all.extend(sent(&mut link, 60));
            let advertised: Vec<u64> = all.iter().filter(|one| one.1 == Advertisement).map(|one| one.0).collect();
            prop_assert!(advertised.windows(2).all(|pair| pair[1] - pair[0] >= 3), "{advertised:?}");
            prop_assert!(all.len() - advertised.len() <= 3);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), hop_limit: u8) {
            let _message = RouterMessage::parse(&bytes, hop_limit);
        }
    }
}
