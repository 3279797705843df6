//! The router on a link: the peer of an unnumbered session, found by its router advertisements (RFC 4861).
//!
//! Each side learns the link-local address of the other one from an advertisement. FRR resets connections from a machine that has
//! not sent one. This node is no router for other hosts, so the lifetime in its advertisements is zero.
//!
//! Others on the link advertise themselves as well, at least if they run Herald. So all that are heard are tried in turn, until one of them
//! is the peer. None of them ends a session with another one.

use alloc::collections::VecDeque;
use core::net::Ipv6Addr;
use core::time::Duration;

use herald_core::{Backoff, Time};

/// The pauses between solicitations grow (RFC 7559), but stay shorter than there: the session waits for the answer.
const FIRST_SOLICITATION_PAUSE: Duration = Duration::from_secs(4);
const LAST_SOLICITATION_PAUSE: Duration = Duration::from_secs(64);
/// The pause between advertisements: the one of FRR for unnumbered peers.
const ADVERTISEMENT_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 4861 section 10: MIN_DELAY_BETWEEN_RAS.
const LEAST_PAUSE: Duration = Duration::from_secs(3);
/// The most machines that are remembered. Of more, the latest one replaces the one that is tried last.
const MOST_ROUTERS: usize = 8;

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
#[derive(Debug)]
pub struct LinkRouter {
    /// Those that were heard since the start, in the order in which they are tried.
    routers: VecDeque<Ipv6Addr>,
    solicit_at: Option<Time>,
    solicitation_pause: Backoff,
    advertise_at: Option<Time>,
    advertised: Option<Time>,
}

impl Default for LinkRouter {
    fn default() -> Self {
        Self {
            routers: VecDeque::new(),
            solicit_at: None,
            solicitation_pause: Backoff::new(FIRST_SOLICITATION_PAUSE, LAST_SOLICITATION_PAUSE),
            advertise_at: None,
            advertised: None,
        }
    }
}

impl LinkRouter {
    /// Returns the link-local address of the router to connect to.
    pub fn router(&self) -> Option<Ipv6Addr> {
        self.routers.front().copied()
    }

    /// Begins to send: the link can be used, or can be used again.
    pub const fn start(&mut self, now: Time) {
        self.solicit_at = Some(now);
        self.solicitation_pause.reset();
        self.advertise_at = Some(now);
        self.advertised = None;
    }

    /// Sends nothing more until the next start, and forgets the routers: it may be another link then.
    pub fn stop(&mut self) {
        self.routers.clear();
        self.solicit_at = None;
        self.advertise_at = None;
    }

    /// Notes that an attempt at a session with the router failed: it may be another one.
    pub fn handle_failure(&mut self) {
        if !self.routers.is_empty() {
            self.routers.rotate_left(1);
        }
    }

    /// Handles a message from the link that is not this node's own. Returns whether there is a router where none was known before.
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
                self.solicit_at = None;
                let is_first = self.routers.is_empty();
                if !self.routers.contains(&source) {
                    self.routers.truncate(MOST_ROUTERS - 1);
                    self.routers.push_back(source);
                }
                is_first
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
            self.solicit_at = Some(now + self.solicitation_pause.pause());
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
    fn a_node_advertises_itself_and_solicits_with_growing_pauses_until_a_router_is_heard() {
        let mut link = started();
        let solicited = |sent: Vec<(u64, RouterMessage)>| -> Vec<u64> {
            let solicitations = sent.into_iter().filter(|one| one.1 == Solicitation);
            solicitations.map(|one| one.0).collect()
        };
        assert_eq!(sent(&mut link, 3), [(0, Advertisement), (0, Solicitation)]);
        assert_eq!(solicited(sent(&mut link, 200)), [4, 12, 28, 60, 124, 188]);
        assert!(link.handle(Advertisement, ROUTER, at(200)));
        assert_eq!(sent(&mut link, 220), [(210, Advertisement), (220, Advertisement)]);
        assert_eq!(link.router(), Some(ROUTER));
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
    fn all_that_advertise_themselves_are_tried_in_turn_and_none_displaces_another() {
        let mut link = started();
        assert!(link.handle(Advertisement, OTHER, at(0)));
        for second in [1, 100, 100_000] {
            assert!(!link.handle(Advertisement, ROUTER, at(second)));
            assert_eq!(link.router(), Some(OTHER));
        }
        let mut tried = Vec::new();
        for _ in 0..4 {
            link.handle_failure();
            tried.extend(link.router());
        }
        assert_eq!(tried, [ROUTER, OTHER, ROUTER, OTHER]);
    }

    #[test]
    fn of_many_that_advertise_themselves_the_latest_is_remembered() {
        let mut link = started();
        let one = |n: u16| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n);
        for n in 0..1000 {
            link.handle(Advertisement, one(n), at(0));
        }
        link.handle(Advertisement, ROUTER, at(1));
        let mut tried = Vec::new();
        while tried.last() != Some(&ROUTER) {
            assert!(tried.len() < MOST_ROUTERS);
            tried.extend(link.router());
            link.handle_failure();
        }
        assert_eq!(tried[0], one(0));
    }

    #[test]
    fn a_link_that_is_gone_is_silent_and_forgets_its_routers() {
        let mut link = started();
        link.handle_failure();
        link.handle(Advertisement, ROUTER, at(0));
        sent(&mut link, 0);
        link.stop();
        assert_eq!(link.router(), None);
        link.handle(Solicitation, ROUTER, at(1));
        assert_eq!(sent(&mut link, 60), []);
        link.start(at(61));
        assert_eq!(sent(&mut link, 61), [(61, Advertisement), (61, Solicitation)]);
        assert!(link.handle(Advertisement, ROUTER, at(62)));
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
            prop_assert!(all.len() - advertised.len() <= 5);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), hop_limit: u8) {
            let _message = RouterMessage::parse(&bytes, hop_limit);
        }
    }
}
