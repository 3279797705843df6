//! The BGP identifier of a node.

use std::net::Ipv4Addr;

use herald_bgp::wire::BgpIdentifier;
use herald_core::NodeName;

/// Returns the identifier of a node for peers without `routerID`: its first `InternalIP` of IPv4, as the API server has it. An
/// `ExternalIP` may be that of a gateway before several nodes, and an address of an interface may be that of a Service, which other
/// nodes have as well. Without one, CRC-32 (IEEE 802.3) of the name, with its bytes in reverse order, as MetalLB has it.
pub(super) fn of_node(node: &NodeName, internal: Option<Ipv4Addr>) -> BgpIdentifier {
    let of_name = || BgpIdentifier::new(Ipv4Addr::from(crc32(node.as_str().as_bytes()).to_le_bytes()));
    // One name in four billion has the checksum 0, which is no identifier.
    let any = || BgpIdentifier::new(Ipv4Addr::new(0, 0, 0, 1));
    let v4 = internal.and_then(BgpIdentifier::new);
    v4.or_else(of_name).or_else(any).expect("one is not zero")
}

/// The polynomial of IEEE 802.3, with its bits in reverse order.
const POLYNOMIAL: u32 = 0xedb8_8320;

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _bit| {
        if crc & 1 == 1 {
            (crc >> 1) ^ POLYNOMIAL
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internal_ipv4_address_of_the_node_is_its_identifier_and_otherwise_its_name_is() {
        let identifier = |name: &str, internal: Option<[u8; 4]>| {
            of_node(&name.into(), internal.map(Into::into)).to_string()
        };
        assert_eq!(identifier("a", Some([192, 0, 2, 7])), "192.0.2.7");
        // The checksum of these digits is 0xcbf43926.
        assert_eq!(identifier("123456789", None), "38.57.244.203");
        assert_eq!(identifier("123456789", Some([0; 4])), "38.57.244.203");
        assert_eq!(identifier("", None), "0.0.0.1");
    }
}
