//! The routes of a namespace as the kernel changes them, by rtnetlink.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::sys::SocketAddr;

use crate::Netns;

/// A route that the kernel has added, replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEvent {
    /// Where it goes to.
    pub destination: IpAddr,
    /// The gateways that it has now; nothing if it was removed.
    pub next_hops: Option<BTreeSet<IpAddr>>,
}

/// The changes of routes since it was made.
pub struct RouteWatch {
    received: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Netns {
    /// Watches the routes of the namespace.
    ///
    /// # Errors
    /// When no netlink socket can be opened.
    pub async fn watch_routes(&self) -> anyhow::Result<RouteWatch> {
        let open =
            || rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route]);
        let (connection, _, received) = self
            .run(open)
            .await
            .with_context(|| format!("cannot open netlink in {}", self.name()))?;
        tokio::spawn(connection);
        Ok(RouteWatch { received })
    }
}

impl RouteWatch {
    /// Returns the next change; nothing after the namespace.
    ///
    /// # Panics
    /// If the kernel lost changes, because they were not taken fast enough.
    pub async fn next(&mut self) -> Option<RouteEvent> {
        loop {
            let (message, _) = self.received.next().await?;
            assert!(
                !matches!(message.payload, NetlinkPayload::Overrun(_)),
                "changes of routes were lost"
            );
            let NetlinkPayload::InnerMessage(message) = message.payload else {
                continue;
            };
            let is_there = matches!(message, RouteNetlinkMessage::NewRoute(_));
            let (RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) = message
            else {
                continue;
            };
            if let Some(destination) = destination(&route) {
                let next_hops = is_there.then(|| gateways(&route.attributes).collect());
                return Some(RouteEvent {
                    destination,
                    next_hops,
                });
            }
        }
    }
}

fn destination(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Destination(to) = attribute else {
            return None;
        };
        address(to)
    })
}

fn gateways(attributes: &[RouteAttribute]) -> impl Iterator<Item = IpAddr> {
    let of_next_hops = attributes.iter().flat_map(|attribute| {
        let RouteAttribute::MultiPath(next_hops) = attribute else {
            return [].iter();
        };
        next_hops.iter()
    });
    let of_next_hops = of_next_hops.flat_map(|hop| &hop.attributes);
    attributes.iter().chain(of_next_hops).filter_map(|attribute| {
        let RouteAttribute::Gateway(gateway) = attribute else {
            return None;
        };
        address(gateway)
    })
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some((*address).into())
    } else if let RouteAddress::Inet6(address) = address {
        Some((*address).into())
    } else {
        None
    }
}
