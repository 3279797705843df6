//! Which addresses this cluster announced lately, as far as this node knows.
//!
//! An address that a foreign host answers for is not announced at first, because two machines with one address serve no
//! client. But clients already use an address that this cluster announced a moment ago, and any machine on the segment can
//! answer for it. So such an address is announced nevertheless.
//!
//! This node knows it of the addresses that it answered for itself, whose owner has answered it as their backup, and that a
//! peer says to announce.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;
use core::time::Duration;

use crate::Time;

/// How long an address counts as announced after this node last knew so.
const VALIDITY: Duration = Duration::from_secs(600);

/// An address is recorded at most so often: ten thousand of them are checked every minute.
const RESOLUTION: Duration = Duration::from_secs(30);

/// Limit of the addresses that are remembered; the oldest ones are forgotten. Far more than one node has a part in.
const MAX_ADDRESSES: usize = 1 << 15;

/// When each address was last known to be announced.
#[derive(Debug, Default)]
pub(super) struct AnnouncementHistory {
    announced: BTreeMap<IpAddr, Time>,
    by_time: BTreeSet<(Time, IpAddr)>,
}

impl AnnouncementHistory {
    /// Starts without any address.
    pub(super) const fn new() -> Self {
        Self {
            announced: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Records that this cluster announces an address.
    pub(super) fn record(&mut self, address: IpAddr, now: Time) {
        let before = self.announced.get(&address).copied();
        if before.is_some_and(|before| now.saturating_since(before) < RESOLUTION) {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, address));
        }
        self.announced.insert(address, now);
        self.by_time.insert((now, address));
        while let Some((at, oldest)) = self.by_time.first().copied()
            && (now.saturating_since(at) > VALIDITY + RESOLUTION || self.by_time.len() > MAX_ADDRESSES)
        {
            self.by_time.pop_first();
            self.announced.remove(&oldest);
        }
    }

    /// Forgets an address.
    pub(super) fn forget(&mut self, address: IpAddr) {
        if let Some(at) = self.announced.remove(&address) {
            self.by_time.remove(&(at, address));
        }
    }

    /// Whether this cluster announced an address in the last ten minutes.
    pub(super) fn is_recent(&self, address: IpAddr, now: Time) -> bool {
        let announced = self.announced.get(&address);
        announced.is_some_and(|at| now.saturating_since(*at) <= VALIDITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::since_zero(Duration::from_secs(seconds))
    }

    fn ip(number: u32) -> IpAddr {
        core::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn an_address_is_forgotten_ten_minutes_after_it_was_last_known_to_be_announced() {
        let mut history = AnnouncementHistory::new();
        assert!(!history.is_recent(ip(1), at(0)));
        history.record(ip(1), at(0));
        history.record(ip(1), at(100));
        assert!(history.is_recent(ip(1), at(700)));
        assert!(!history.is_recent(ip(1), at(701)));
        assert!(!history.is_recent(ip(2), at(700)));
    }

    #[test]
    fn memory_is_bounded_by_time_and_by_number() {
        let mut history = AnnouncementHistory::new();
        let many = u32::try_from(MAX_ADDRESSES).expect("few");
        for number in 0..many + 10 {
            history.record(ip(number), at(u64::from(number / 1000)));
        }
        assert_eq!(history.announced.len(), MAX_ADDRESSES);
        assert_eq!(history.by_time.len(), MAX_ADDRESSES);
        assert!(!history.is_recent(ip(9), at(33)));
        assert!(history.is_recent(ip(many + 9), at(33)));
        history.record(ip(0), at(10_000));
        assert_eq!((history.announced.len(), history.by_time.len()), (1, 1));
    }
}
