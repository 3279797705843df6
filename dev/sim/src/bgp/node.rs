//! A node: the routes of all its routers, and a peering with each.

use std::sync::Arc;

use herald_bgp::peering::{Peering, PeeringAction};
use herald_bgp::rib_out::NextHops;
use herald_bgp::ribs_out::RibsOut;
use herald_bgp::session::SessionConfig;
use herald_bgp::wire::{BgpIdentifier, HoldTime, NextHop};
use herald_core::announce::bgp::{RouteAttributes, RouteChange};
use herald_core::bgp::{Asn, ExpectedAs};
use herald_core::{Family, Prefix, Time};

use super::Routes;
use super::link::{Link, Segment};
use super::router;

/// The AS number of all nodes.
pub(super) const ASN: Asn = Asn(65_001);

pub(super) struct BgpNode {
    index: usize,
    ribs: RibsOut,
    peerings: Vec<Peering>,
    wanted: Vec<Routes>,
}

impl BgpNode {
    pub(super) fn start(index: usize, routers: usize, seed: u64, now: Time) -> Self {
        let mut node = Self {
            index,
            ribs: RibsOut::default(),
            peerings: Vec::new(),
            wanted: vec![Routes::new(); routers],
        };
        node.restart(seed, now);
        node
    }

    /// Starts again, without sessions.
    pub(super) fn restart(&mut self, seed: u64, now: Time) {
        self.ribs = RibsOut::default();
        let peerings = (0..self.wanted.len()).map(|router| {
            let mut peering =
                Peering::new(name(router), config(self.index), seed.wrapping_add(router as u64));
            peering.start(now);
            peering
        });
        self.peerings = peerings.collect();
        for router in 0..self.wanted.len() {
            self.ribs.add_peer(&name(router));
        }
        for (router, routes) in self.wanted.clone().into_iter().enumerate() {
            for (prefix, med) in routes {
                self.ribs.set_route(change(router, prefix, Some(med)), now);
            }
        }
    }

    pub(super) fn set_route(&mut self, router: usize, prefix: Prefix, med: Option<u32>, now: Time) {
        match med {
            Some(med) => self.wanted[router].insert(prefix, med),
            None => self.wanted[router].remove(&prefix),
        };
        self.ribs.set_route(change(router, prefix, med), now);
    }

    pub(super) fn wanted(&self, router: usize) -> &Routes {
        &self.wanted[router]
    }

    pub(super) fn handle(&mut self, router: usize, segment: Segment, now: Time) {
        let peering = &mut self.peerings[router];
        match segment {
            Segment::Connected => {
                let last = u8::try_from(self.index + 1).expect("there are a few nodes");
                let next_hops = NextHops {
                    v4: Some(NextHop::V4([192, 0, 2, last].into())),
                    v6: None,
                };
                peering.handle_connected(next_hops, now);
            }
            Segment::Bytes(bytes) => peering.handle_bytes(&bytes, now),
            Segment::Closed => peering.handle_closed(now),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.ribs.handle_timeout(now);
        for peering in &mut self.peerings {
            peering.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let peerings = self.peerings.iter().filter_map(Peering::poll_timeout);
        peerings.chain(self.ribs.poll_timeout()).min()
    }

    /// Carries out what the peering with a router wants.
    pub(super) fn drive(&mut self, router: usize, link: &mut Link, now: Time) {
        let peering = &mut self.peerings[router];
        while let Some(action) = peering.poll_action(&mut self.ribs) {
            match action {
                PeeringAction::Dial => link.connect(now),
                PeeringAction::Close(last) => {
                    if !last.is_empty() {
                        link.send_to_router(Segment::Bytes(last), now);
                    }
                    link.send_to_router(Segment::Closed, now);
                }
                PeeringAction::Up(_) | PeeringAction::Ended { .. } => {}
            }
        }
        let mut room = link.room();
        while room > 0
            && let Some(bytes) = peering.poll_transmit(&mut self.ribs)
        {
            let took = bytes.len().min(room);
            link.send_to_router(Segment::Bytes(bytes[..took].to_vec()), now);
            peering.handle_sent(took, now);
            room -= took;
        }
    }
}

fn name(router: usize) -> Arc<str> {
    format!("router-{router}").into()
}

fn change(router: usize, prefix: Prefix, med: Option<u32>) -> RouteChange {
    RouteChange {
        peer: name(router),
        prefix,
        attributes: med.map(|med| RouteAttributes {
            med: Some(med),
            ..RouteAttributes::default()
        }),
    }
}

fn config(index: usize) -> SessionConfig {
    let last = u8::try_from(index + 1).expect("there are a few nodes");
    session(ASN, router::ASN, [10, 0, 0, last])
}

/// Returns how both sides have a session, with a short hold time.
pub(super) fn session(local_asn: Asn, peer_asn: Asn, identifier: [u8; 4]) -> SessionConfig {
    SessionConfig {
        local_asn,
        peer_asn: ExpectedAs::Exactly(peer_asn),
        identifier: BgpIdentifier::new(identifier.into()).expect("not zero"),
        hold_time: HoldTime::new(9).expect("long enough"),
        keepalive: None,
        connect_retry: None,
        families: vec![Family::V4],
        extended_next_hop: false,
        restart_time: None,
        forwarding: true,
    }
}
