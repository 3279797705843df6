//! MAC addresses (EUI-48, IEEE 802).

use core::fmt;
use core::net::Ipv6Addr;

/// A MAC address: the hardware address of an Ethernet interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of all stations on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// All zeroes: an unknown address, the target of an ARP probe (RFC 5227 section 2.1.1).
    pub const ZERO: Self = Self([0; 6]);

    /// Returns the address of an IPv6 multicast group (RFC 2464 section 7): 33:33 and the last four bytes of the group.
    pub const fn multicast(group: Ipv6Addr) -> Self {
        let octets = group.octets();
        Self([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }

    /// Returns whether the group bit is set, which it also is in the broadcast address.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Returns whether a station can have the address: it is neither the address of a group nor all zeroes.
    pub const fn is_station(self) -> bool {
        !self.is_multicast() && !matches!(self, Self::ZERO)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn an_ethernet_address_reads_as_six_pairs() {
        let mac = MacAddr([0x02, 0, 0x5e, 0x10, 0xab, 0xff]);
        assert_eq!(mac.to_string(), "02:00:5e:10:ab:ff");
    }

    #[test]
    fn a_group_maps_to_its_last_four_bytes() {
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        assert_eq!(MacAddr::multicast(all_nodes), MacAddr([0x33, 0x33, 0, 0, 0, 1]));
        assert!(MacAddr::multicast(all_nodes).is_multicast());
        assert!(!MacAddr([2, 0, 0, 0, 0, 1]).is_multicast());
    }

    #[test]
    fn groups_and_zeroes_are_no_station() {
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_station());
        for other in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
            assert!(!other.is_station());
        }
    }
}
