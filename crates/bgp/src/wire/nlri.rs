//! Network layer reachability information: prefixes on the wire (RFC 4271 section 4.3, RFC 4760 section 5).

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_core::{Family, Prefix};

use super::reader::Reader;

/// A prefix whose bits behind its length are zero, so that equal prefixes are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    address: IpAddr,
    length: u8,
}

impl Nlri {
    /// Returns the prefix of this length that contains `address`; nothing if the family has no such length.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        if length > width(Family::of(address)) {
            return None;
        }
        let address = Prefix::of(address, length).address;
        Some(Self { address, length })
    }

    /// Returns the prefix that contains nothing but `address`.
    pub const fn host(address: IpAddr) -> Self {
        let length = width(Family::of(address));
        Self { address, length }
    }

    /// Returns the family.
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Returns the first address and the length.
    pub const fn prefix(&self) -> Prefix {
        Prefix {
            address: self.address,
            length: self.length,
        }
    }

    /// Returns the bytes that [`Nlri::emit`] appends.
    pub(crate) const fn wire_length(&self) -> usize {
        1 + (self.length as usize).div_ceil(8)
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.length);
        let bytes = self.wire_length() - 1;
        match self.address {
            IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()[..bytes]),
            IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()[..bytes]),
        }
    }

    /// Parses all of `bytes`. RFC 7606 section 5.3: nothing if a length exceeds the family's or the bytes.
    pub(super) fn parse_all(family: Family, bytes: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader::new(bytes);
        let mut all = Vec::new();
        while let Some(length) = reader.u8() {
            if length > width(family) {
                return None;
            }
            let bytes = reader.take(usize::from(length).div_ceil(8))?;
            let address = match family {
                Family::V4 => IpAddr::V4(Ipv4Addr::from(padded::<4>(bytes))),
                Family::V6 => IpAddr::V6(Ipv6Addr::from(padded::<16>(bytes))),
            };
            // RFC 4271 section 4.3: the value of trailing bits is irrelevant.
            all.push(Self::new(address, length)?);
        }
        Some(all)
    }
}

impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

const fn width(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}
