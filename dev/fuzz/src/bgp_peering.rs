//! Any peers, connections and decisions of two peerings that share their routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use herald_bgp::peering::{Peering, PeeringAction};
use herald_bgp::rib_out::NextHops;
use herald_bgp::ribs_out::{DIFFERENCE_LASTS, RibsOut};
use herald_bgp::session::{ExpectedAs, Negotiated, SessionConfig, SessionEnd, SessionState};
use herald_bgp::wire::notification::CeaseSubcode;
use herald_bgp::wire::{
    AfiSafi, Asn, BgpIdentifier, BgpMessage, Capability, HoldTime, MAX_LENGTH, NextHop, Open, RefreshSubtype,
    RouteRefresh, UpdateFormat, emit_keepalive, frame,
};
use herald_core::announce::bgp::{RouteAttributes, RouteChange};
use herald_core::{Family, Prefix, Time};

const OWN: Asn = Asn(65_001);
const PEER: Asn = Asn(65_000);

/// Each byte is something that happens to one of the two peerings, with the bytes that it needs behind it. Checks that
/// * a session that is reported up is reported ended before the next;
/// * what a peer is sent are whole messages that it can read;
/// * a peer that took all bytes of a session has exactly the routes that it is to have, with the newest attributes.
///
/// # Panics
/// If a check fails.
pub fn bgp_peering(bytes: &[u8]) {
    let mut world = World {
        links: ["one", "other"].map(|name| Link::new(name.into())),
        routes: RibsOut::default(),
        now: Time::ZERO,
    };
    for link in &world.links {
        world.routes.add_peer(&link.name);
    }
    let mut steps = bytes;
    while let [step, rest @ ..] = steps {
        steps = rest;
        world.step(usize::from(step % 2), step / 2 % 14, &mut steps);
    }
    world.drain();
}

struct World {
    links: [Link; 2],
    routes: RibsOut,
    now: Time,
}

impl World {
    fn step(&mut self, index: usize, what: u8, steps: &mut &[u8]) {
        let (link, now) = (&mut self.links[index], self.now);
        match what {
            0 => link.peering.start(now),
            1 => {
                let end = SessionEnd::Stopped(CeaseSubcode::PeerDeconfigured, String::new());
                link.peering.stop(end, now);
            }
            2 => link.connect(byte(steps), now),
            3 => link.peering.handle_closed(now),
            4 => self.wait(byte(steps)),
            5 => {
                let length = usize::from(byte(steps)).min(steps.len());
                let (arrived, rest) = steps.split_at(length);
                *steps = rest;
                link.peering.handle_bytes(arrived, now);
            }
            6 => link.peering.handle_bytes(&greeting(byte(steps)), now),
            7 | 8 => {
                let which = byte(steps);
                let med = (what == 7).then(|| u32::from(which >> 4));
                for number in [index, 1 - index]
                    .into_iter()
                    .take(if which & 8 == 0 { 2 } else { 1 })
                {
                    self.set_route(number, prefix(which & 7), med);
                }
            }
            9 => link.set_next_hops(next_hops(byte(steps)), &mut self.routes),
            10 => link.transmit(usize::from(byte(steps)) * 4, &mut self.routes, now),
            11 => {
                let family = AfiSafi::unicast(if byte(steps).is_multiple_of(2) {
                    Family::V4
                } else {
                    Family::V6
                });
                let mut request = Vec::new();
                let subtype = RefreshSubtype::Request;
                RouteRefresh { family, subtype }.emit(&mut request);
                link.peering.handle_bytes(&request, now);
            }
            12 => match byte(steps) {
                0 => link.peering.reset(now),
                hold_time => link.peering.set_config(config(hold_time), now),
            },
            _ => self.drain(),
        }
        for link in &mut self.links {
            link.act(&mut self.routes);
        }
    }

    fn set_route(&mut self, number: usize, prefix: Prefix, med: Option<u32>) {
        let link = &mut self.links[number];
        match med {
            Some(med) => link.wanted.insert(prefix, med),
            None => link.wanted.remove(&prefix),
        };
        let attributes = med.map(|med| RouteAttributes {
            med: Some(med),
            ..RouteAttributes::default()
        });
        let change = RouteChange {
            peer: Arc::clone(&link.name),
            prefix,
            attributes,
        };
        self.routes.set_route(change, self.now);
    }

    /// Lets time pass, timer by timer.
    fn wait(&mut self, seconds: u8) {
        let end = self.now + Duration::from_secs(seconds.into());
        let mut handled = 0_u32;
        while let Some(next) = self.next_timeout().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.routes.handle_timeout(self.now);
            for link in &mut self.links {
                link.peering.handle_timeout(self.now);
                link.act(&mut self.routes);
            }
            handled += 1;
            assert!(
                handled <= 4 * u32::from(seconds) + 20,
                "a timer that is due stays"
            );
        }
        self.now = end;
    }

    fn next_timeout(&self) -> Option<Time> {
        let peerings = self.links.iter().filter_map(|link| link.peering.poll_timeout());
        peerings.chain(self.routes.poll_timeout()).min()
    }

    /// Lets the connections take everything.
    fn drain(&mut self) {
        self.now = self.now + DIFFERENCE_LASTS;
        self.routes.handle_timeout(self.now);
        for link in &mut self.links {
            link.act(&mut self.routes);
            link.transmit(usize::MAX, &mut self.routes, self.now);
            link.check();
        }
    }
}

/// A peering, and what its peer knows.
struct Link {
    name: Arc<str>,
    peering: Peering,
    next_hops: NextHops,
    negotiated: Option<Negotiated>,
    /// What the peer took, up to the last whole message.
    taken: Vec<u8>,
    /// MULTI_EXIT_DISC of the routes that the peer has.
    has: BTreeMap<Prefix, Option<u32>>,
    wanted: BTreeMap<Prefix, u32>,
}

impl Link {
    fn new(name: Arc<str>) -> Self {
        Self {
            peering: Peering::new(Arc::clone(&name), config(90), 1),
            name,
            next_hops: NextHops::default(),
            negotiated: None,
            taken: Vec::new(),
            has: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    fn connect(&mut self, which: u8, now: Time) {
        if self.peering.state() == SessionState::Connect {
            self.next_hops = next_hops(which);
            self.peering.handle_connected(self.next_hops, now);
        }
    }

    fn set_next_hops(&mut self, next_hops: NextHops, routes: &mut RibsOut) {
        self.next_hops = next_hops;
        self.peering.set_next_hops(next_hops, routes);
    }

    fn act(&mut self, routes: &mut RibsOut) {
        while let Some(action) = self.peering.poll_action(routes) {
            match action {
                PeeringAction::Dial => {}
                PeeringAction::Close(_) => {
                    self.taken.clear();
                    self.has.clear();
                }
                PeeringAction::Up(negotiated) => {
                    assert!(self.negotiated.replace(negotiated).is_none(), "up twice");
                }
                PeeringAction::Ended { state, .. } => {
                    let was_up = self.negotiated.take().is_some();
                    assert_eq!(state == SessionState::Established, was_up);
                }
            }
        }
        if self.peering.state() == SessionState::Idle {
            // It was stopped: nothing is reported.
            self.negotiated = None;
        }
    }

    /// Lets the connection take so many bytes.
    fn transmit(&mut self, mut room: usize, routes: &mut RibsOut, now: Time) {
        let is_connected = matches!(
            self.peering.state(),
            SessionState::OpenSent | SessionState::OpenConfirm | SessionState::Established
        );
        while is_connected
            && room > 0
            && let Some(bytes) = self.peering.poll_transmit(routes)
        {
            let took = bytes.len().min(room);
            self.taken.extend_from_slice(&bytes[..took]);
            room -= took;
            self.peering.handle_sent(took, now);
            self.read();
        }
    }

    fn read(&mut self) {
        let format = self.negotiated.as_ref().map(|both| both.format);
        let format = format.unwrap_or(UpdateFormat {
            four_octet_as: true,
            max_length: MAX_LENGTH,
            internal: false,
        });
        while let Some(raw) = frame(&self.taken, format.max_length).expect("a header") {
            let length = raw.length();
            let message = BgpMessage::parse(raw, &format).expect("a message that can be read");
            self.taken.drain(..length);
            if let BgpMessage::Update(update) = message {
                assert_eq!(update.faults, []);
                for nlri in update.withdrawn {
                    self.has.remove(&nlri.prefix());
                }
                let med = update.attributes.and_then(|attributes| attributes.med);
                let reachable = update.reachable.iter().flat_map(|reachable| &reachable.nlri);
                self.has.extend(reachable.map(|nlri| (nlri.prefix(), med)));
            }
        }
    }

    fn check(&self) {
        let Some(negotiated) = &self.negotiated else {
            return;
        };
        assert!(self.taken.is_empty(), "half a message");
        let can_have = |prefix: &&Prefix| {
            let family = Family::of(prefix.address);
            let next_hop = match family {
                Family::V4 => self.next_hops.v4,
                Family::V6 => self.next_hops.v6,
            };
            negotiated.families.contains(&family) && next_hop.is_some()
        };
        let expected = self.wanted.iter().filter(|(prefix, _)| can_have(prefix));
        let expected: BTreeMap<Prefix, Option<u32>> =
            expected.map(|(prefix, med)| (*prefix, Some(*med))).collect();
        assert_eq!(self.has, expected);
    }
}

fn byte(steps: &mut &[u8]) -> u8 {
    let Some((first, rest)) = steps.split_first() else {
        return 0;
    };
    *steps = rest;
    *first
}

fn config(hold_time: u8) -> SessionConfig {
    SessionConfig {
        local_asn: OWN,
        peer_asn: ExpectedAs::External(OWN),
        identifier: BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero"),
        hold_time: HoldTime::new(hold_time.into()).unwrap_or(HoldTime::NONE),
        keepalive: None,
        connect_retry: None,
        families: vec![Family::V4, Family::V6],
        extended_next_hop: false,
        restart_time: None,
        forwarding: true,
    }
}

/// OPEN and KEEPALIVE of a peer with one or both families, with messages of different lengths and with two or four octets of AS.
fn greeting(which: u8) -> Vec<u8> {
    let is = |bit: u8| which & bit != 0;
    let mut capabilities = Vec::new();
    for (bit, family) in [(1, Family::V4), (2, Family::V6)] {
        if is(bit) {
            capabilities.push(Capability::Multiprotocol(AfiSafi::unicast(family)));
        }
    }
    if is(4) {
        capabilities.push(Capability::ExtendedMessage);
    }
    if is(8) {
        capabilities.push(Capability::EnhancedRouteRefresh);
    }
    let identifier = BgpIdentifier::new([192, 0, 2, 2].into()).expect("not zero");
    let mut open = Open::new(
        PEER,
        HoldTime::new(90).expect("long enough"),
        identifier,
        capabilities,
    );
    if is(16) {
        open.capabilities
            .retain(|capability| !matches!(capability, Capability::FourOctetAs(_)));
    }
    let mut bytes = Vec::new();
    open.emit(&mut bytes).expect("short");
    emit_keepalive(&mut bytes);
    bytes
}

fn next_hops(which: u8) -> NextHops {
    NextHops {
        v4: (which & 1 != 0).then(|| NextHop::V4([192, 0, 2, which].into())),
        v6: (which & 2 != 0).then(|| NextHop::V6 {
            global: [0x2001, 0xdb8, 0, 0, 0, 0, 0, which.into()].into(),
            link_local: None,
        }),
    }
}

/// One of four prefixes of each family.
fn prefix(which: u8) -> Prefix {
    if which & 1 == 0 {
        Prefix {
            address: [198, 51, 100, which].into(),
            length: 32,
        }
    } else {
        Prefix {
            address: [0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(which)].into(),
            length: 128,
        }
    }
}
