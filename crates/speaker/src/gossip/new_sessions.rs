//! Limits the keys that are derived for datagrams of sessions that are not known. Everybody can invent sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use herald_core::{Allowance, Time};

/// Keys at once; then one more each 5 ms. Deriving a key takes microseconds; a speaker that no peer expects yet sends some ten
/// datagrams a second, and a known one needs one key each time it starts or comes back.
const BURST: u32 = 200;
const COST: Duration = Duration::from_millis(5);

/// Keys at once for all known senders together, then one more each 0.5 ms: source addresses can be forged. A cluster that
/// starts needs one for each speaker.
const KNOWN_BURST: u32 = 2000;
const KNOWN_COST: Duration = Duration::from_micros(500);

/// The keys of the last second.
pub(super) struct NewSessions {
    unknown: Allowance,
    known: Allowance,
    /// By known sender, so that none uses up what the others need.
    senders: BTreeMap<SocketAddr, Allowance>,
}

impl NewSessions {
    /// Returns complete allowances.
    pub(super) const fn new() -> Self {
        Self {
            unknown: Allowance::new(BURST, COST),
            known: Allowance::new(KNOWN_BURST, KNOWN_COST),
            senders: BTreeMap::new(),
        }
    }

    /// Whether a key may be derived for a datagram from `from` at `now`; it then counts as derived.
    pub(super) fn poll_use(&mut self, from: SocketAddr, is_known: bool, now: Time) -> bool {
        if !is_known {
            return self.unknown.poll_use(now);
        }
        if !self.senders.contains_key(&from) {
            self.senders.retain(|_, allowance| !allowance.is_full(now));
        }
        let allowance = self.senders.entry(from);
        let allowance = allowance.or_insert_with(|| Allowance::new(BURST, COST));
        allowance.poll_use(now) && self.known.poll_use(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::since_zero(Duration::from_millis(millis))
    }

    fn used(sessions: &mut NewSessions, host: u8, is_known: bool, millis: u64) -> usize {
        let from = SocketAddr::from(([192, 0, 2, host], 7946));
        (0..1000)
            .filter(|_| sessions.poll_use(from, is_known, at(millis)))
            .count()
    }

    #[test]
    fn a_forged_source_of_one_peer_uses_up_the_allowance_of_that_peer_alone() {
        let mut sessions = NewSessions::new();
        assert_eq!(used(&mut sessions, 1, true, 0), 200);
        assert_eq!(used(&mut sessions, 2, true, 0), 200);
        assert_eq!(used(&mut sessions, 3, false, 0), 200);
        assert_eq!(used(&mut sessions, 4, false, 0), 0);
        assert_eq!(used(&mut sessions, 1, true, 100), 20);
    }

    #[test]
    fn forged_sources_of_all_peers_together_are_limited_and_forgotten() {
        let mut sessions = NewSessions::new();
        let all: usize = (0..100).map(|host| used(&mut sessions, host, true, 0)).sum();
        assert_eq!(all, 2000);
        assert_eq!(used(&mut sessions, 200, true, 60_000), 200);
        assert_eq!(sessions.senders.len(), 1);
    }
}
