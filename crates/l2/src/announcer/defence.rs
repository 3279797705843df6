//! Claims of other machines to active addresses, and the defence against them (RFC 5227 section 2.4).

use alloc::collections::BTreeMap;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use herald_core::Time;

use crate::MacAddr;

/// Shortest time between two defences of an address. Two machines that defend an address would otherwise answer each
/// other for ever: a defence that answers ours arrives within milliseconds, and stays unanswered. RFC 5227 takes ten
/// seconds and gives the address up if there is another conflict by then; here the agent decides, with every claim
/// reported to it.
const INTERVAL: Duration = Duration::from_millis(400);

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
pub(super) enum Defence {
    /// The address was never defended.
    #[default]
    Never,
    /// An announcement is due.
    Due,
    /// The announcement was sent at that time.
    Done(Time),
}

impl Defence {
    /// Makes a defence due, unless it is due already or was sent less than [`INTERVAL`] ago. Returns whether it became
    /// due.
    pub(super) fn begin(&mut self, now: Time) -> bool {
        let begins = match *self {
            Self::Never => true,
            Self::Due => false,
            Self::Done(at) => now - at >= INTERVAL,
        };
        if begins {
            *self = Self::Due;
        }
        begins
    }

    /// Notes that the defence is sent at `now`. Returns whether it was due.
    pub(super) fn end(&mut self, now: Time) -> bool {
        let ends = *self == Self::Due;
        if ends {
            *self = Self::Done(now);
        }
        ends
    }
}
