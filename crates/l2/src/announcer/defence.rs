//! Claims of other machines to active addresses, and the defence against them (RFC 5227 section 2.4).

use alloc::collections::BTreeMap;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use herald_core::Time;

use super::Announcer;
use crate::MacAddr;

/// Shortest time between a defence of an address and the next one that is sent at once. Two machines that defend an address
/// would otherwise answer each other without a pause. RFC 5227 takes ten seconds and gives the address up if there is another
/// conflict by then; here the agent decides, with every claim reported to it.
const INTERVAL: Duration = Duration::from_millis(400);

/// How long after the last defence a claim is answered that comes earlier than [`INTERVAL`], and how long after itself one that
/// belongs to a storm. It may be the last one of a machine that has stopped since, and caches would keep its MAC address.
const POSTPONEMENT: Duration = Duration::from_secs(1);

/// Forged claims that follow each other faster are a storm. Each of them would undo a defence, and clients would change
/// between two machines in the middle of their connections, so there is no defence until the storm pauses. With policy `Cluster` both
/// machines serve them.
const STORM: Duration = Duration::from_millis(100);

/// Shortest time between two defences that are sent at once against the claims of MetalLB: its request and its reply are one claim.
const GAP: Duration = Duration::from_millis(1);

/// How many defences are sent at once against the claims of MetalLB until these pause for [`BURST`]: a start of MetalLB takes two for
/// each node. Other machines that go on to claim the address are then answered as usual.
const MOST_AT_ONCE: u8 = 100;

/// For how long MetalLB announces an address after a change.
const BURST: Duration = Duration::from_secs(5);

/// How many defences in a row are postponed: longer than two peers need to settle who owns an address, and then two machines
/// that go on to defend it stop to answer each other.
const MOST_POSTPONED: u8 = 6;

/// An announcement of an active address by another machine, received on a link that answers for the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The MAC address of the machine; none of our links has it.
    pub mac: MacAddr,
}

/// The last claim to each active address that was not polled yet. One for each address, so that no sender can fill it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    waiting: BTreeMap<IpAddr, MacAddr>,
    /// The address whose claim was polled last.
    polled: Option<IpAddr>,
}

impl Claims {
    pub(super) fn insert(&mut self, address: IpAddr, mac: MacAddr) {
        self.waiting.insert(address, mac);
    }

    pub(super) fn remove(&mut self, address: IpAddr) {
        self.waiting.remove(&address);
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.waiting.keys().copied()
    }

    /// Returns the next claim in the order of addresses, and starts over after the last one.
    pub(super) fn poll(&mut self) -> Option<Claim> {
        let after = self.polled.map_or(Bound::Unbounded, Bound::Excluded);
        let following = self.waiting.range((after, Bound::Unbounded)).next();
        let (address, mac) = following.or_else(|| self.waiting.first_key_value())?;
        let claim = Claim {
            address: *address,
            mac: *mac,
        };
        self.waiting.remove(&claim.address);
        self.polled = Some(claim.address);
        Some(claim)
    }
}

/// State of the defence of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Defence {
    /// When the last claim was received that was forged or may be MetalLB's.
    claimed: Option<Time>,
    /// When the last defence was sent.
    sent: Option<Time>,
    /// When the next one is due.
    due: Option<Time>,
    /// How many of the last ones were postponed in a row, with the next one.
    postponed: u8,
    /// How many were sent at once against the claims of MetalLB since these paused, with the next one.
    at_once: u8,
}

impl Defence {
    /// Makes a defence due: at once, or after [`POSTPONEMENT`] if the last one was sent less than [`INTERVAL`] ago. Returns
    /// when, if that has changed.
    pub(super) fn begin(&mut self, now: Time) -> Option<Time> {
        let recent = self.sent.filter(|sent| now - *sent < INTERVAL);
        let due = recent.map_or(now, |sent| sent + POSTPONEMENT);
        if self.due.is_some_and(|known| known <= due) {
            return None;
        }
        self.postpone(due, now)
    }

    /// The same against a forged claim: if it belongs to a storm, the defence is due [`POSTPONEMENT`] after it.
    pub(super) fn begin_after_storm(&mut self, now: Time) -> Option<Time> {
        let before = self.claimed.replace(now);
        if before.is_none_or(|before| now - before >= STORM) {
            return self.begin(now);
        }
        if self.due.is_some_and(|known| known <= now) {
            return None;
        }
        self.postpone(now + POSTPONEMENT, now)
    }

    /// The same against a claim of MetalLB: at once, or [`GAP`] after the last one, up to [`MOST_AT_ONCE`] times.
    pub(super) fn begin_at_once(&mut self, now: Time) -> Option<Time> {
        let before = self.claimed.replace(now);
        if before.is_none_or(|before| now - before > BURST) {
            self.at_once = 0;
        }
        if self.at_once == MOST_AT_ONCE {
            return self.begin(now);
        }
        let due = self.sent.map_or(now, |sent| now.max(sent + GAP));
        if self.due.is_some_and(|known| known <= due) {
            return None;
        }
        (self.at_once, self.postponed, self.due) = (self.at_once + 1, 0, Some(due));
        self.due
    }

    fn postpone(&mut self, due: Time, now: Time) -> Option<Time> {
        if due == now {
            self.postponed = 0;
        } else if self.due.is_none() {
            if self.postponed == MOST_POSTPONED {
                return None;
            }
            self.postponed += 1;
        }
        self.due = Some(due);
        Some(due)
    }

    /// Notes that the defence is sent at `now`.
    pub(super) const fn end(&mut self, now: Time) {
        self.sent = Some(now);
        self.due = None;
    }

    /// Returns when a defence is due.
    pub(super) const fn due(&self) -> Option<Time> {
        self.due
    }
}

impl Announcer {
    /// Announces an active address once, because another machine announces it, too (RFC 5227 section 2.4): at once, or one
    /// second after the last defence if that was less than 400 ms ago. After six such postponements in a row, a claim so soon
    /// after a defence stays without an answer.
    pub fn defend(&mut self, address: IpAddr, now: Time) {
        self.begin_defence(address, now, Defence::begin);
    }

    /// The same against a forged claim of a peer, where clients are served with policy `Cluster`: claims that follow each
    /// other within 100 ms are contradicted one second after the last one.
    pub fn defend_against_forged(&mut self, address: IpAddr, now: Time) {
        self.begin_defence(address, now, Defence::begin_after_storm);
    }

    /// The same against claims of MetalLB: at once, up to a hundred until claims pause, and then as [`Self::defend`].
    pub fn defend_at_once(&mut self, address: IpAddr, now: Time) {
        self.begin_defence(address, now, Defence::begin_at_once);
    }

    fn begin_defence(
        &mut self,
        address: IpAddr,
        now: Time,
        begin: impl FnOnce(&mut Defence, Time) -> Option<Time>,
    ) {
        let Some(active) = self.active.get_mut(&address) else {
            return;
        };
        let before = active.defence.due();
        if let Some(due) = begin(&mut active.defence, now) {
            if let Some(before) = before {
                self.defences.remove(&(before, address));
            }
            self.defences.insert((due, address));
        }
    }
}
