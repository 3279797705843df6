//! A client beside node 0 that never asks: its neighbour table follows announcements alone (RFC 826, RFC 4861 section 7.2.5).

use std::collections::BTreeMap;
use std::net::IpAddr;

use herald_l2::wire::arp::Arp;
use herald_l2::wire::ethernet::{EtherType, Frame};
use herald_l2::wire::ndp::Ndp;

/// The node that announced each address last, as far as the client received it.
#[derive(Debug, Default)]
pub(crate) struct Client {
    neighbours: BTreeMap<IpAddr, usize>,
}

impl Client {
    /// Handles a broadcast or multicast frame of node `from`.
    pub(crate) fn handle_frame(&mut self, from: usize, frame: &Frame<'_>) {
        let announced = match frame.ether_type {
            EtherType::Arp => match Arp::parse(frame.payload) {
                Ok(arp) if arp.sender_ip == arp.target_ip => Some(arp.sender_ip.into()),
                Ok(_) | Err(_) => None,
            },
            EtherType::Ipv6 => match Ndp::parse(frame.payload) {
                Ok(Ndp::Advertisement(advertisement)) => Some(advertisement.target.into()),
                Ok(Ndp::Solicitation(_)) | Err(_) => None,
            },
            EtherType::Other(_) => None,
        };
        if let Some(address) = announced {
            self.neighbours.insert(address, from);
        }
    }

    /// Returns the node that packets to each address go to.
    pub(crate) fn neighbours(&self) -> &BTreeMap<IpAddr, usize> {
        &self.neighbours
    }
}
