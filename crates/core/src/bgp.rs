//! Values of BGP that the configuration and the messages have in common.

use core::fmt;

/// An AS number (RFC 6793).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS: what stands for a four-octet number where two octets fit (RFC 6793 section 9).
    pub const TRANS: u16 = 23_456;

    /// Returns the number if two octets are enough, and AS_TRANS if not.
    pub fn two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(Self::TRANS)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which AS number a peer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedAs {
    /// This one.
    Exactly(Asn),
    /// This one, which is that of the cluster, also where the peer is shown another (`spec.localASN`).
    Internal(Asn),
    /// Any other than this one, which is that of the cluster.
    External(Asn),
}

/// A community (RFC 1997): an AS number and a value that it defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u16, pub u16);

impl Community {
    /// Routers give the route the lowest preference, because its sender is about to withdraw it (RFC 8326 section 4.2).
    pub const GRACEFUL_SHUTDOWN: Self = Self(65_535, 0);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

/// A large community (RFC 8092): an AS number and two values that it defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub u32, pub u32, pub u32);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0, self.1, self.2)
    }
}
