//! A speaker that has lost peers by membership announces one of its addresses periodically.
//!
//! A partitioned network may heal on the wire while gossip stays blocked, and then no datagram reports it. Each side answers
//! for every address, so a machine on the other side has the announced address, too, and receives the beacon. It then
//! announces all of its active addresses, which others receive, and so on: two announcements later all speakers know, and
//! one of each two owners is preempted.

use core::net::IpAddr;
use core::time::Duration;

use crate::Time;

/// Interval between the beacons of one side of a partition. The speakers of a side take turns, so the other side is
/// noticed well within a second, and a dead node costs the network five broadcasts a second, however many speakers miss it.
const INTERVAL: Duration = Duration::from_millis(200);

/// When the next beacon is due and which address the last one announced.
#[derive(Debug)]
pub(super) struct HealBeacon {
    last: Option<IpAddr>,
    next: Option<Time>,
}

impl HealBeacon {
    /// Starts without a beacon.
    pub(super) const fn new() -> Self {
        Self {
            last: None,
            next: None,
        }
    }

    /// Starts or stops the beacon; `alive` is the number of speakers on this side, this one included.
    pub(super) fn set(&mut self, has_lost_peers: bool, alive: u32, now: Time) {
        if has_lost_peers {
            self.next.get_or_insert(now + INTERVAL * alive);
        } else {
            self.next = None;
        }
    }

    /// Returns when the next beacon is due.
    pub(super) const fn poll_timeout(&self) -> Option<Time> {
        self.next
    }

    /// Whether a beacon is due at `now`.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Returns the address to announce, the next one of `active` (ascending) after the last, and schedules the next beacon.
    pub(super) fn poll(
        &mut self,
        active: impl Iterator<Item = IpAddr> + Clone,
        has_lost_peers: bool,
        alive: u32,
        now: Time,
    ) -> Option<IpAddr> {
        self.next = has_lost_peers.then(|| now + INTERVAL * alive);
        let mut later = active
            .clone()
            .filter(|address| self.last.is_none_or(|last| *address > last));
        self.last = later.next().or_else(|| active.clone().next());
        self.last
    }
}
