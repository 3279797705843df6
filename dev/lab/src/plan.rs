//! Which addresses the parts of the lab have. Every lab has the same: they share no network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_netns::MacAddr;
use ipnet::IpNet;

/// Prefix length of the segment, IPv4.
pub const PREFIX_V4: u8 = 24;
/// Prefix length of the segment, IPv6.
pub const PREFIX_V6: u8 = 64;
/// The port of the API server inside the lab.
pub const API_PORT: u16 = 6443;
/// More nodes than this would reach into the addresses for Services.
pub const MAX_NODES: usize = 100;

/// The switch's own addresses, where the API server listens and the controller runs.
pub fn switch() -> [IpAddr; 2] {
    on_segment(1)
}

/// The addresses of a second controller's machine.
pub fn standby() -> [IpAddr; 2] {
    on_segment(2)
}

/// The client's addresses.
pub fn client() -> [IpAddr; 2] {
    on_segment(5)
}

/// The addresses that the sniffer asks from; no machine has them.
pub fn sniffer() -> [IpAddr; 2] {
    on_segment(3)
}

/// The addresses of two more clients, for measurements.
pub fn observers() -> [[IpAddr; 2]; 2] {
    [on_segment(6), on_segment(7)]
}

/// The addresses of three routers.
pub fn router(index: usize) -> [IpAddr; 2] {
    on_segment(8 + number(index.min(2)))
}

/// The addresses of node `index`, counted from 0.
pub fn node(index: usize) -> [IpAddr; 2] {
    on_segment(11 + number(index))
}

/// The addresses of pod `pod` on node `node`, both counted from 0.
pub fn pod(node: usize, pod: usize) -> [IpAddr; 2] {
    let (node, pod) = (number(node) + 1, number(pod) + 2);
    [
        Ipv4Addr::from([10, 244, low_byte(node), low_byte(pod)]).into(),
        Ipv6Addr::new(0xfd00, 0x244, node, 0, 0, 0, 0, pod).into(),
    ]
}

/// The IPv4 addresses that a real kubelet gives to pods of node `index`.
pub fn pods(index: usize) -> IpNet {
    let network = Ipv4Addr::from([10, 244, low_byte(number(index) + 1), 0]);
    IpNet::new_assert(network.into(), 24)
}

/// The Ethernet address of the machine with these addresses: locally administered, and easy to recognise.
pub fn mac(addresses: [IpAddr; 2]) -> MacAddr {
    let host = match addresses[0] {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    MacAddr([0x02, 0x00, 0x00, 0x00, 0x67, host])
}

/// The prefix length that goes with an address of the segment.
pub fn prefix_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { PREFIX_V4 } else { PREFIX_V6 }
}

fn on_segment(host: u16) -> [IpAddr; 2] {
    // Written alike in both families: the digits of the decimal number as hexadecimal ones.
    let digits = host / 100 * 0x100 + host / 10 % 10 * 0x10 + host % 10;
    [
        Ipv4Addr::from([192, 168, 67, low_byte(host)]).into(),
        Ipv6Addr::new(0xfd00, 0x67, 0, 0, 0, 0, 0, digits).into(),
    ]
}

fn number(index: usize) -> u16 {
    u16::try_from(index).expect("MAX_NODES keeps indices small")
}

fn low_byte(number: u16) -> u8 {
    u8::try_from(number).expect("MAX_NODES keeps host numbers below 256")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(addresses: [IpAddr; 2]) -> [String; 2] {
        addresses.map(|address| address.to_string())
    }

    #[test]
    fn both_families_read_alike() {
        assert_eq!(text(switch()), ["192.168.67.1", "fd00:67::1"]);
        assert_eq!(text(node(0)), ["192.168.67.11", "fd00:67::11"]);
        assert_eq!(text(node(99)), ["192.168.67.110", "fd00:67::110"]);
        assert_eq!(text(pod(0, 0)), ["10.244.1.2", "fd00:244:1::2"]);
        assert_eq!(mac(node(0)).to_string(), "02:00:00:00:67:0b");
    }

    #[test]
    fn no_node_has_an_address_of_the_quickstart_pool() {
        let last = node(MAX_NODES - 1)[0];
        assert!(last < IpAddr::from([192, 168, 67, 120]), "{last}");
    }
}
