//! A router: the session with each node, and the routes that it has of the node.

use std::collections::VecDeque;

use herald_bgp::session::{BgpSession, SessionAction};
use herald_core::bgp::Asn;
use herald_core::{Prefix, Time};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::nlri::Ipv4UnicastAddress;
use netgauze_bgp_pkt::path_attribute::{PathAttribute, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

use super::Routes;
use super::link::Segment;
use super::node;

/// The AS number of all routers.
pub(super) const ASN: Asn = Asn(65_000);

/// Where the length of a message stands, and the shortest message (RFC 4271 section 4.1).
const LENGTH_AT: usize = 16;
const HEADER: usize = 19;

pub(super) struct Router {
    neighbours: Vec<Neighbour>,
}

/// What a router has of a node. Without a connection it has nothing.
#[derive(Default)]
struct Neighbour {
    session: Option<BgpSession>,
    /// Bytes of a message that is not whole yet.
    received: Vec<u8>,
    routes: Routes,
    unsent: VecDeque<Segment>,
}

impl Router {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            neighbours: (0..nodes).map(|_| Neighbour::default()).collect(),
        }
    }

    pub(super) fn routes(&self, node: usize) -> Routes {
        self.neighbours[node].routes.clone()
    }

    pub(super) fn handle(&mut self, node: usize, segment: Segment, now: Time) {
        let neighbour = &mut self.neighbours[node];
        match segment {
            Segment::Connected => neighbour.accept(now),
            Segment::Bytes(bytes) => {
                if let Some(session) = &mut neighbour.session {
                    session.handle_bytes(&bytes, now);
                    neighbour.read(&bytes);
                }
            }
            Segment::Closed => *neighbour = Neighbour::default(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        let sessions = self.neighbours.iter_mut();
        for session in sessions.filter_map(|neighbour| neighbour.session.as_mut()) {
            session.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let sessions = self.neighbours.iter();
        let sessions = sessions.filter_map(|neighbour| neighbour.session.as_ref());
        sessions.filter_map(BgpSession::poll_timeout).min()
    }

    /// Returns what the router sends to a node next.
    pub(super) fn poll(&mut self, node: usize) -> Option<Segment> {
        self.neighbours[node].poll()
    }
}

impl Neighbour {
    /// Takes a connection, which replaces the one before.
    fn accept(&mut self, now: Time) {
        *self = Self::default();
        let mut session = BgpSession::new(node::session(ASN, node::ASN, [10, 0, 1, 1]), 1);
        session.start(now);
        // It is to dial, and has the connection already.
        while session.poll_action().is_some() {}
        session.handle_connected(now);
        self.session = Some(session);
    }

    fn poll(&mut self) -> Option<Segment> {
        while let Some(action) = self.session.as_mut().and_then(BgpSession::poll_action) {
            match action {
                SessionAction::Send(bytes) => self.unsent.push_back(Segment::Bytes(bytes)),
                SessionAction::Close => {
                    self.session = None;
                    self.routes.clear();
                    self.unsent.push_back(Segment::Closed);
                }
                SessionAction::Dial
                | SessionAction::Up(_)
                | SessionAction::Refresh(_)
                | SessionAction::Ended { .. } => {}
            }
        }
        self.unsent.pop_front()
    }

    /// Keeps the routes of what is received.
    fn read(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        let mut context = BgpParsingContext::asn2_default();
        context.set_asn4(true);
        while self.received.len() >= HEADER {
            let length = [self.received[LENGTH_AT], self.received[LENGTH_AT + 1]];
            let length = usize::from(u16::from_be_bytes(length));
            if self.received.len() < length {
                return;
            }
            let message: Vec<u8> = self.received.drain(..length).collect();
            let message = BgpMessage::parse(&mut SliceReader::new(&message), &mut context);
            let message = message.unwrap_or_else(|error| panic!("the oracle refuses it: {error}"));
            if let BgpMessage::Update(update) = message {
                self.update(&update);
            }
        }
    }

    fn update(&mut self, update: &BgpUpdateMessage) {
        for prefix in update.withdraw_routes().iter().map(prefix) {
            self.routes.remove(&prefix);
        }
        let mut attributes = update.path_attributes().iter().map(PathAttribute::value);
        let med = attributes.find_map(|attribute| {
            if let PathAttributeValue::MultiExitDiscriminator(value) = attribute {
                Some(value.metric())
            } else {
                None
            }
        });
        for prefix in update.nlri().iter().map(prefix) {
            self.routes.insert(prefix, med.expect("routes have a MED"));
        }
    }
}

fn prefix(route: &Ipv4UnicastAddress) -> Prefix {
    let net = route.network().address();
    Prefix {
        address: net.addr().into(),
        length: net.prefix_len(),
    }
}
