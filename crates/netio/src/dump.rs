//! Builds interfaces from the netlink dumps of links, addresses and routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::{Interface, Master};

/// A destination that an interface reaches without a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OnLink {
    /// The index of the interface.
    interface: u32,
    destination: IpNet,
    /// Whether a router may have advertised it ([`Interface::advertised`]).
    is_advertised: bool,
}

/// Returns the interfaces that the messages describe, in order of index.
pub(crate) fn interfaces(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    routes: impl IntoIterator<Item = OnLink>,
) -> Vec<Interface> {
    let kinds: BTreeMap<u32, &InfoKind> = links
        .iter()
        .filter_map(|l| Some((l.header.index, kind(l)?)))
        .collect();
    let mut found: BTreeMap<u32, Interface> = links
        .iter()
        .map(|l| (l.header.index, interface(l, &kinds)))
        .collect();
    for message in addresses {
        if let Some(interface) = found.get_mut(&message.header.index) {
            let address = address(message);
            interface.addresses.extend(address);
            interface
                .preferred
                .extend(address.filter(|_| is_preferred(message)));
        }
    }
    for route in routes {
        if let Some(interface) = found.get_mut(&route.interface) {
            let routes = if route.is_advertised {
                &mut interface.advertised
            } else {
                &mut interface.routes
            };
            routes.push(route.destination);
        }
    }
    for interface in found.values_mut() {
        interface.addresses.sort();
        for routes in [&mut interface.routes, &mut interface.advertised] {
            routes.sort();
            routes.dedup();
        }
    }
    found.into_values().collect()
}

fn interface(link: &LinkMessage, kinds: &BTreeMap<u32, &InfoKind>) -> Interface {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        noarp: flags.contains(LinkFlags::Noarp),
        broadcast: flags.contains(LinkFlags::Broadcast),
        loopback: flags.contains(LinkFlags::Loopback),
        master: None,
        addresses: Vec::new(),
        preferred: Vec::new(),
        routes: Vec::new(),
        advertised: Vec::new(),
    };
    let ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            interface.name.clone_from(name);
        } else if let LinkAttribute::Address(mac) = attribute
            && ethernet
        {
            interface.mac = <[u8; 6]>::try_from(mac.as_slice()).ok();
        } else if let LinkAttribute::Controller(index) = attribute
            && *index != 0
        {
            interface.master = Some(master(link, kinds.get(index).copied()));
        }
    }
    interface
}

/// Returns the kind of a port's master. The port itself has it; where it does not (old kernels, Open vSwitch), the kind of the
/// master counts.
fn master(port: &LinkMessage, master: Option<&InfoKind>) -> Master {
    let port_kind = information(port).find_map(|info| {
        if let LinkInfo::PortKind(kind) = info {
            Some(kind)
        } else {
            None
        }
    });
    let port = |kind: InfoPortKind| port_kind == Some(&kind);
    let kind = |kind: InfoKind| port_kind.is_none() && master == Some(&kind);
    if port(InfoPortKind::Bridge) || kind(InfoKind::Bridge) {
        Master::Bridge
    } else if port(InfoPortKind::Bond)
        || port(InfoPortKind::Team)
        || kind(InfoKind::Bond)
        || kind(InfoKind::Team)
    {
        Master::Bond
    } else if port(InfoPortKind::Vrf) || kind(InfoKind::Vrf) {
        Master::Vrf
    } else {
        Master::Other
    }
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    information(link).find_map(|info| {
        if let LinkInfo::Kind(kind) = info {
            Some(kind)
        } else {
            None
        }
    })
}

fn information(link: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    let lists = link.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::LinkInfo(list) = attribute {
            Some(list)
        } else {
            None
        }
    });
    lists.flatten()
}

/// Returns the interface's own address. That is `IFA_LOCAL`; `IFA_ADDRESS` is the other end's on point-to-point links, and
/// the only attribute for IPv6.
fn address(message: &AddressMessage) -> Option<IpNet> {
    let mut own: Option<IpAddr> = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(local) = attribute {
            own = Some(*local);
        } else if let AddressAttribute::Address(address) = attribute {
            own = own.or(Some(*address));
        }
    }
    IpNet::new(own?, message.header.prefix_len).ok()
}

/// Returns whether the kernel chooses an address as source address by itself. Of IPv6, a secondary address is a temporary one.
fn is_preferred(message: &AddressMessage) -> bool {
    let header = &message.header;
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    for attribute in &message.attributes {
        if let AddressAttribute::Flags(all) = attribute {
            flags |= *all;
        }
    }
    let avoided = AddressFlags::Secondary
        | AddressFlags::Tentative
        | AddressFlags::Dadfailed
        | AddressFlags::Deprecated;
    let is_global = header.scope == AddressScope::Universe || header.family == AddressFamily::Inet6;
    is_global && !flags.intersects(avoided)
}

/// Returns the on-link destinations of a route; a route over several interfaces may have several.
///
/// An on-link IPv4 route also has link scope; IPv6 routes have no scope. Only unicast routes count: the table `local` has the
/// host's own addresses and broadcasts, and other types drop packets.
pub(crate) fn on_link(route: &RouteMessage) -> Vec<OnLink> {
    let header = &route.header;
    let inet = header.address_family == AddressFamily::Inet;
    if header.kind != RouteType::Unicast || (inet && header.scope != RouteScope::Link) {
        return Vec::new();
    }
    let mut destination: IpAddr = if inet {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let mut indices = Vec::new();
    for attribute in &route.attributes {
        if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Oif(index) = attribute {
            indices.push(*index);
        } else if let RouteAttribute::MultiPath(hops) = attribute {
            let direct = hops.iter().filter(|hop| !has_gateway(&hop.attributes));
            indices.extend(direct.map(|hop| hop.interface_index));
        }
    }
    let Ok(destination) = IpNet::new(destination, header.destination_prefix_length) else {
        return Vec::new();
    };
    if has_gateway(&route.attributes) {
        return Vec::new();
    }
    // A kernel that handles advertisements itself shows these routes as its own, like those of its addresses.
    let is_advertised = !inet && matches!(header.protocol, RouteProtocol::Ra | RouteProtocol::Kernel);
    let on_link = |interface| OnLink {
        interface,
        destination,
        is_advertised,
    };
    indices.into_iter().map(on_link).collect()
}

fn has_gateway(attributes: &[RouteAttribute]) -> bool {
    let gateway =
        |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_));
    attributes.iter().any(gateway)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::Running | LinkFlags::Broadcast;
        message.attributes = attributes;
        message
    }

    fn inet(index: u32, length: u8, attributes: Vec<AddressAttribute>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = length;
        message.attributes = attributes;
        message
    }

    fn route_to(interface: u32, destination: IpNet) -> OnLink {
        let is_advertised = false;
        OnLink {
            interface,
            destination,
            is_advertised,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn links_addresses_and_routes_are_combined_in_order_of_index() {
        let links = [
            link(3, vec![LinkAttribute::IfName("eth1".into())]),
            link(
                2,
                vec![
                    LinkAttribute::IfName("eth0".into()),
                    LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
                ],
            ),
        ];
        let addresses = [
            inet(2, 64, vec![AddressAttribute::Address(ip("fe80::1"))]),
            inet(2, 24, vec![AddressAttribute::Local(ip("192.0.2.1"))]),
            inet(9, 24, vec![AddressAttribute::Local(ip("192.0.2.9"))]),
        ];
        let net = |text: &str| text.parse::<IpNet>().expect("prefix");
        let routes = [
            route_to(3, net("198.51.100.0/24")),
            route_to(3, net("192.0.2.0/24")),
            route_to(3, net("198.51.100.0/24")),
            route_to(9, net("192.0.2.0/24")),
            OnLink {
                is_advertised: true,
                ..route_to(3, net("2001:db8::/64"))
            },
        ];
        let found = interfaces(&links, &addresses, routes);
        assert_eq!(
            found.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(),
            ["eth0", "eth1"]
        );
        assert_eq!(found[0].mac, Some([2, 0, 0, 0, 0, 1]));
        assert!(found[0].up && found[0].running && found[0].broadcast);
        assert!(!found[0].noarp && !found[0].loopback);
        let expected = ["192.0.2.1/24", "fe80::1/64"].map(|net| net.parse().expect("prefix"));
        assert_eq!(found[0].addresses, expected);
        assert_eq!(found[0].routes, []);
        assert_eq!(found[1].addresses, []);
        assert_eq!(found[1].routes, [net("192.0.2.0/24"), net("198.51.100.0/24")]);
        assert_eq!(found[1].advertised, [net("2001:db8::/64")]);
    }

    #[test]
    fn the_kernel_chooses_neither_old_nor_unproven_nor_secondary_addresses() {
        let flagged = |address: &str, flags: AddressFlags| {
            let mut message = inet(2, 64, vec![AddressAttribute::Address(ip(address))]);
            message.header.family = AddressFamily::Inet6;
            message.attributes.push(AddressAttribute::Flags(flags));
            message
        };
        let mut link_scope = inet(2, 24, vec![AddressAttribute::Local(ip("192.0.2.2"))]);
        link_scope.header.scope = AddressScope::Link;
        let mut link_local = flagged("fe80::1", AddressFlags::Permanent);
        link_local.header.scope = AddressScope::Link;
        let addresses = [
            inet(2, 24, vec![AddressAttribute::Local(ip("192.0.2.9"))]),
            inet(2, 24, vec![AddressAttribute::Local(ip("192.0.2.1"))]),
            link_scope,
            flagged("2001:db8::1", AddressFlags::Deprecated),
            flagged("2001:db8::2", AddressFlags::Tentative),
            flagged("2001:db8::3", AddressFlags::Permanent | AddressFlags::Secondary),
            flagged("2001:db8::4", AddressFlags::Permanent),
            link_local,
        ];
        let found = interfaces(&[link(2, Vec::new())], &addresses, []);
        assert_eq!(found[0].addresses.len(), addresses.len());
        // In the order of the kernel.
        let preferred: Vec<_> = found[0].preferred.iter().map(IpNet::addr).collect();
        let expected = ["192.0.2.9", "192.0.2.1", "2001:db8::4", "fe80::1"].map(ip);
        assert_eq!(preferred, expected);
    }

    #[test]
    fn the_own_address_of_a_point_to_point_link_is_the_local_one() {
        let (local, peer) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for attributes in [
            vec![AddressAttribute::Local(local), AddressAttribute::Address(peer)],
            vec![AddressAttribute::Address(peer), AddressAttribute::Local(local)],
        ] {
            let own = address(&inet(2, 32, attributes)).expect("address");
            assert_eq!(own.addr(), local);
        }
    }

    #[test]
    fn the_kind_of_a_master_is_taken_from_the_port_or_from_the_master() {
        let port = |kind: Option<InfoPortKind>| {
            let info = kind.map(LinkInfo::PortKind).into_iter().collect();
            link(
                2,
                vec![LinkAttribute::Controller(7), LinkAttribute::LinkInfo(info)],
            )
        };
        let master = |kind| link(7, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])]);
        let table = [
            (Some(InfoPortKind::Bridge), None, Master::Bridge),
            (Some(InfoPortKind::Bond), None, Master::Bond),
            (Some(InfoPortKind::Team), None, Master::Bond),
            (Some(InfoPortKind::Vrf), None, Master::Vrf),
            (Some(InfoPortKind::Other("ovs".into())), None, Master::Other),
            (None, Some(InfoKind::Bridge), Master::Bridge),
            (None, Some(InfoKind::Bond), Master::Bond),
            (None, Some(InfoKind::Vrf), Master::Vrf),
            (None, Some(InfoKind::Other("openvswitch".into())), Master::Other),
            (None, None, Master::Other),
        ];
        for (port_kind, master_kind, expected) in table {
            let mut links = vec![port(port_kind)];
            links.extend(master_kind.map(master));
            assert_eq!(interfaces(&links, &[], [])[0].master, Some(expected));
        }
    }

    #[test]
    fn a_hardware_address_of_another_link_type_is_no_ethernet_address() {
        let mut tunnel = link(2, vec![LinkAttribute::Address(vec![192, 0, 2, 1])]);
        assert_eq!(interfaces(std::slice::from_ref(&tunnel), &[], [])[0].mac, None);
        tunnel.attributes = vec![LinkAttribute::Address(vec![0; 6])];
        tunnel.header.link_layer_type = LinkLayerType::Tunnel;
        assert_eq!(interfaces(&[tunnel], &[], [])[0].mac, None);
    }

    fn route(scope: RouteScope, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Unicast;
        message.header.scope = scope;
        message.header.destination_prefix_length = 24;
        let destination = RouteAddress::Inet(Ipv4Addr::new(192, 0, 2, 0));
        message.attributes = [vec![RouteAttribute::Destination(destination)], attributes].concat();
        message
    }

    #[test]
    fn a_route_is_on_link_where_it_has_no_gateway() {
        let gateway = || RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(198, 51, 100, 1)));
        let net: IpNet = "192.0.2.0/24".parse().expect("prefix");
        assert_eq!(
            on_link(&route(RouteScope::Link, vec![RouteAttribute::Oif(2)])),
            [route_to(2, net)]
        );
        let beyond = route(RouteScope::Universe, vec![gateway(), RouteAttribute::Oif(2)]);
        assert_eq!(on_link(&beyond), []);
        let own = route(RouteScope::Host, vec![RouteAttribute::Oif(1)]);
        assert_eq!(on_link(&own), []);
        let mut broadcast = route(RouteScope::Link, vec![RouteAttribute::Oif(2)]);
        broadcast.header.kind = RouteType::Broadcast;
        assert_eq!(on_link(&broadcast), []);
        let hop = |interface_index, attributes| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = interface_index;
            hop.attributes = attributes;
            hop
        };
        let hops = vec![hop(2, vec![]), hop(3, vec![gateway()]), hop(4, vec![])];
        let over_several = route(RouteScope::Link, vec![RouteAttribute::MultiPath(hops)]);
        assert_eq!(on_link(&over_several), [route_to(2, net), route_to(4, net)]);
    }

    #[test]
    fn an_ipv6_route_is_on_link_without_a_scope_and_a_default_route_has_no_destination() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(2)];
        let all = "::/0".parse().expect("prefix");
        assert_eq!(on_link(&message), [route_to(2, all)]);
        let gateway = RouteAddress::Inet6(Ipv6Addr::LOCALHOST);
        message.attributes.push(RouteAttribute::Gateway(gateway));
        assert_eq!(on_link(&message), []);
    }

    #[test]
    fn ipv6_routes_of_router_advertisements_and_of_the_kernel_may_be_advertised() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(2)];
        for (protocol, is_advertised) in [
            (RouteProtocol::Ra, true),
            (RouteProtocol::Kernel, true),
            (RouteProtocol::Static, false),
            (RouteProtocol::Boot, false),
        ] {
            message.header.protocol = protocol;
            assert_eq!(on_link(&message)[0].is_advertised, is_advertised, "{protocol:?}");
        }
        let mut subnet = route(RouteScope::Link, vec![RouteAttribute::Oif(2)]);
        subnet.header.protocol = RouteProtocol::Kernel;
        assert!(!on_link(&subnet)[0].is_advertised);
    }
}
