//! Prefixes: the subnets that are directly connected to interfaces.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A prefix of IP addresses (RFC 4291 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// Any address in the prefix.
    pub address: IpAddr,
    /// The number of leading bits that all its addresses have in common.
    pub length: u8,
}

impl Prefix {
    /// Returns the prefix of this length that has `address`, with its first address.
    pub fn of(address: IpAddr, length: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let host_bits = 32_u32.saturating_sub(length.into());
                Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                let host_bits = 128_u32.saturating_sub(length.into());
                Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into()
            }
        };
        Self { address, length }
    }

    /// Returns whether `address` is in the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Returns whether the prefix has one address only.
    pub const fn is_host(&self) -> bool {
        match self.address {
            IpAddr::V4(_) => self.length == 32,
            IpAddr::V6(_) => self.length == 128,
        }
    }

    /// Returns whether the prefix is link-local (RFC 3927, RFC 4291 section 2.5.6), so that every link has it.
    pub const fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
    }
}

impl fmt::Display for Prefix {
    /// Writes the address and the length, such as `192.0.2.0/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}
