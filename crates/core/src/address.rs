//! Ranges of addresses, the address sets of pools, and sets of free positions.
//!
//! Addresses are never enumerated: an IPv6 /64 needs as much memory as a single address, and every look-up is logarithmic in
//! the number of ranges.

mod free;
mod parse;
mod set;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use free::FreeSet;
pub use parse::AddressError;
pub use set::{AddressSet, Capacity, Overlap};

use smallvec::SmallVec;

use crate::Family;

/// The addresses of one Service: one, or one of each family. Up to two need no allocation.
pub type Addresses = SmallVec<[IpAddr; 2]>;

/// Consecutive addresses of one family, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    family: Family,
    first: u128,
    last: u128,
}

impl AddressRange {
    /// Creates the range from `first` to `last`; `None` if the families differ or `first` is after `last`.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let family = Family::of(first);
        let (first, last_bits) = (bits(first), bits(last));
        (Family::of(last) == family && first <= last_bits).then_some(Self {
            family,
            first,
            last: last_bits,
        })
    }

    /// Creates the range of one address.
    pub fn single(address: IpAddr) -> Self {
        Self {
            family: Family::of(address),
            first: bits(address),
            last: bits(address),
        }
    }

    /// Returns the lowest address.
    pub fn first(&self) -> IpAddr {
        address(self.family, self.first)
    }

    /// Returns the highest address.
    pub fn last(&self) -> IpAddr {
        address(self.family, self.last)
    }

    /// Returns the family of the addresses.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Returns the number of addresses; for all of IPv6 (`::/0`) it is one too low.
    pub const fn size(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// Returns whether the range contains a prefix with 62 host bits or more.
    pub(crate) const fn is_huge(&self) -> bool {
        const PREFIX: u128 = 1 << 62;
        match self.first.checked_next_multiple_of(PREFIX) {
            Some(first) => first <= self.last && self.last - first >= PREFIX - 1,
            None => false,
        }
    }

    /// Returns whether `address` is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&bits(address))
    }

    /// Returns whether the range has an address in common with `other`.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.family as u8 == other.family as u8 && self.first <= other.last && other.first <= self.last
    }

    /// Returns the number of addresses for which [`is_buggy`] is true.
    pub const fn buggy(&self) -> u128 {
        match self.family {
            Family::V4 => {
                let zeros = (self.last >> 8) + 1 - ((self.first + 0xff) >> 8);
                let ones = ((self.last + 1) >> 8) - (self.first >> 8);
                zeros + ones
            }
            Family::V6 => 0,
        }
    }
}

impl fmt::Display for AddressRange {
    /// Writes `address/prefix` if the range is a prefix, otherwise `first-last`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_bits = self.first ^ self.last;
        let aligned = host_bits & host_bits.wrapping_add(1) == 0 && self.first & host_bits == 0;
        if aligned {
            let prefix = width(self.family) - host_bits.count_ones();
            write!(f, "{}/{prefix}", self.first())
        } else {
            write!(f, "{}-{}", self.first(), self.last())
        }
    }
}

/// Returns whether some clients are known to mistake `address` for a network or broadcast address: an IPv4 address whose
/// last octet is 0 or 255. With `avoidBuggyIPs` Services do not get them.
pub fn is_buggy(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[3], 0 | 255),
        IpAddr::V6(_) => false,
    }
}

/// Returns the number of bits of an address of `family`.
const fn width(family: Family) -> u32 {
    match family {
        Family::V4 => Ipv4Addr::BITS,
        Family::V6 => Ipv6Addr::BITS,
    }
}

/// Returns the highest value of an address of `family`.
const fn highest(family: Family) -> u128 {
    u128::MAX >> (u128::BITS - width(family))
}

pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

pub(crate) fn address(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let bits = u32::try_from(bits).expect("an IPv4 address has 32 bits");
            Ipv4Addr::from_bits(bits).into()
        }
        Family::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect("a range")
    }

    #[test]
    fn a_range_is_displayed_as_a_cidr_or_as_its_ends() {
        for (written, read) in [
            ("192.168.10.100/24", "192.168.10.0/24"),
            ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
            ("10.0.0.1-10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.2"),
            ("10.0.0.128-10.0.1.127", "10.0.0.128-10.0.1.127"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fc00::7/64", "fc00::/64"),
        ] {
            assert_eq!(range(written).to_string(), read);
        }
    }

    #[test]
    fn sizes_saturate_instead_of_overflowing() {
        assert_eq!(range("::/0").size(), u128::MAX);
        assert_eq!(range("::/1").size(), 1 << 127);
        assert_eq!(range("0.0.0.0/0").size(), 1 << 32);
        assert_eq!(range("10.0.0.1/32").size(), 1);
    }

    #[test]
    fn buggy_addresses_are_counted_without_being_enumerated() {
        for text in [
            "1.2.3.0/24",
            "1.2.3.0/31",
            "1.2.3.254-1.2.5.1",
            "1.2.3.1-1.2.3.254",
            "1.2.3.255/32",
            "0.0.0.0/14",
        ] {
            let range = range(text);
            let counted = (range.first..=range.last)
                .filter(|bits| is_buggy(address(Family::V4, *bits)))
                .count();
            assert_eq!(range.buggy(), counted as u128, "{text}");
        }
        assert_eq!(range("0.0.0.0/0").buggy(), 2 << 24);
        assert_eq!(range("fc00::/120").buggy(), 0);
    }

    #[test]
    fn ranges_of_two_families_never_overlap() {
        assert!(range("10.0.0.0/24").overlaps(&range("10.0.0.255-10.0.1.0")));
        assert!(!range("10.0.0.0/24").overlaps(&range("10.0.1.0/24")));
        assert!(!range("0.0.0.0/0").overlaps(&range("::/0")));
        assert!(!range("::/0").contains("10.0.0.1".parse().expect("an address")));
    }
}
