//! Addresses that are held here and announced elsewhere (RFC 5227 §2.4).

use core::net::IpAddr;
use core::time::Duration;

use herald_core::Time;

use crate::MacAddr;

/// From one defence of an address to the next. Two that defend an address would otherwise answer each other for ever:
/// a defence that answers ours comes within milliseconds, and stays unanswered. RFC 5227 takes ten seconds and gives the
/// address up if there is another conflict by then; here others decide that, who are told of each claim.
const INTERVAL: Duration = Duration::from_millis(400);

/// Another machine announces an address that is answered for on the link where that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The machine's Ethernet address, which is none of our links'.
    pub mac: MacAddr,
}

/// When an address is defended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Defence {
    /// It never was.
    #[default]
    Never,
    /// It has to be announced.
    Due,
    /// It was announced at that time.
    Done(Time),
}

impl Defence {
    /// Makes it due, unless it is or was done just now. Whether it has become so.
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

    /// It is done at `now`, if it was due.
    pub(super) fn end(&mut self, now: Time) -> bool {
        let ends = *self == Self::Due;
        if ends {
            *self = Self::Done(now);
        }
        ends
    }
}
