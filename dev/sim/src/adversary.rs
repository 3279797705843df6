//! A foreign host that answers, probes and claims at random, with MAC addresses of its own or those of nodes.

use std::net::IpAddr;
use std::time::Duration;

use herald_l2::MacAddr;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};
use herald_l2::wire::ndp::{ALL_NODES, Advertisement, Ndp, Solicitation, solicited_node};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::catalog::mac;

/// What a foreign host sends.
#[derive(Debug, Clone)]
pub struct Adversary {
    /// Of a hundred requests for an address of a Service, how many it answers.
    pub answers: u8,
    /// The mean pause between two probes or claims for a random address.
    pub pause: Duration,
    /// The kinds of MAC addresses that it uses; one of them at random in each frame.
    pub macs: Vec<MacKind>,
}

/// A MAC address that a foreign host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacKind {
    /// Always the same one.
    Stable,
    /// Another one in each frame.
    Changing,
    /// That of a node, whether it is alive or not.
    Stolen,
}

impl Adversary {
    fn draw_mac(&self, nodes: usize, rng: &mut StdRng) -> MacAddr {
        match self.macs[rng.random_range(0..self.macs.len())] {
            MacKind::Stable => MacAddr([6, 0, 0, 0, 0, 1]),
            MacKind::Changing => MacAddr([6, 1, rng.random(), rng.random(), rng.random(), rng.random()]),
            MacKind::Stolen => mac(rng.random_range(0..nodes)),
        }
    }

    /// Returns a probe or a claim for an address, and when the next one is due.
    pub(crate) fn act(&self, address: IpAddr, nodes: usize, rng: &mut StdRng) -> (Vec<u8>, Duration) {
        let mac = self.draw_mac(nodes, rng);
        let frame = if rng.random() {
            claim(address, mac)
        } else {
            probe(address, mac)
        };
        let pause = self.pause.mul_f64(rng.random_range(0.0..2.0));
        (frame, pause)
    }

    /// Returns the answer to a request of another machine for the address of a Service.
    pub(crate) fn answer(&self, frame: &Frame<'_>, nodes: usize, rng: &mut StdRng) -> Option<Vec<u8>> {
        let address = requested(frame)?;
        if rng.random_range(0..100) >= self.answers {
            return None;
        }
        let mac = self.draw_mac(nodes, rng);
        Some(claim(address, mac))
    }
}

/// Returns the address that a machine asks for.
fn requested(frame: &Frame<'_>) -> Option<IpAddr> {
    match frame.ether_type {
        EtherType::Arp => {
            let arp = Arp::parse(frame.payload).ok()?;
            let is_request = arp.operation == Operation::Request && arp.sender_ip != arp.target_ip;
            is_request.then_some(arp.target_ip.into())
        }
        EtherType::Ipv6 => match Ndp::parse(frame.payload).ok()? {
            Ndp::Solicitation(solicitation) => Some(solicitation.target.into()),
            Ndp::Advertisement(_) => None,
        },
        EtherType::Other(_) => None,
    }
}

/// Returns the announcement of an address by the machine with this MAC address.
pub(crate) fn claim(address: IpAddr, mac: MacAddr) -> Vec<u8> {
    emitted(|frame| match address {
        IpAddr::V4(address) => Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: address,
            target_mac: MacAddr::BROADCAST,
            target_ip: address,
        }
        .emit(MacAddr::BROADCAST, mac, frame),
        IpAddr::V6(address) => Advertisement {
            source: address,
            destination: ALL_NODES,
            router: false,
            solicited: false,
            overriding: true,
            target: address,
            link_address: Some(mac),
        }
        .emit(MacAddr::multicast(ALL_NODES), mac, frame),
    })
}

fn probe(address: IpAddr, mac: MacAddr) -> Vec<u8> {
    emitted(|frame| match address {
        IpAddr::V4(address) => Arp {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: [0; 4].into(),
            target_mac: MacAddr::ZERO,
            target_ip: address,
        }
        .emit(MacAddr::BROADCAST, mac, frame),
        IpAddr::V6(address) => Solicitation {
            source: 0.into(),
            destination: solicited_node(address),
            target: address,
            link_address: None,
        }
        .emit(MacAddr::multicast(solicited_node(address)), mac, frame),
    })
}

fn emitted(emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut frame = [0; MAX_FRAME_LENGTH];
    let length = emit(&mut frame);
    frame[..length].to_vec()
}
