//! Whether a peer announces an address: the questions that this member has asked and those that it was asked.
//!
//! A frame on the wire can be forged by every host of the segment; a sealed answer cannot. It is valid only for a question
//! that this member has asked within the last second, so that a replay answers nothing.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use herald_core::{Allowance, Features, Member, NodeName, Time};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::receive::is_same_endpoint;
use super::{Membership, MembershipEvent};
use crate::codec::Rejection;
use crate::codec::query::{OwnershipMessage, OwnershipQuery, OwnershipReply};
use crate::identity::Identity;

/// How long an answer is waited for: far above a round trip, and a peer that answers later is asked again.
const LIFETIME: Duration = Duration::from_secs(1);

/// Questions that wait for an answer, in each direction.
const MAX_WAITING: usize = 1024;

/// Questions of a member to all others at once, and to a member of each other one; then one more each 10 ms. A dispute over
/// thousands of addresses is settled within minutes, and costs no more than gossip itself.
const BURST: u32 = 64;
const COST: Duration = Duration::from_millis(10);

/// The questions of the last second.
pub(super) struct Queries {
    asked: Waiting<u64>,
    received: Waiting<(Identity, u64)>,
    may_ask: Allowance,
    /// By peer, so that none uses up what the others need.
    may_receive: BTreeMap<NodeName, Allowance>,
    rng: StdRng,
}

/// Peer and address of a question, with when it was asked last.
type Waiting<T> = BTreeMap<(NodeName, IpAddr), (T, Time)>;

impl Queries {
    /// `seed` determines the numbers of the questions.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            asked: Waiting::new(),
            received: Waiting::new(),
            may_ask: Allowance::new(BURST, COST),
            may_receive: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Returns the number of a question that is asked now; the same as before while an answer is waited for.
    fn ask(&mut self, key: (NodeName, IpAddr), now: Time) -> Option<u64> {
        retain_fresh(&mut self.asked, now);
        let is_known = self.asked.contains_key(&key);
        if !is_known && self.asked.len() >= MAX_WAITING || !self.may_ask.poll_use(now) {
            return None;
        }
        let rng = &mut self.rng;
        let (number, asked) = self.asked.entry(key).or_insert_with(|| (rng.random(), now));
        *asked = now;
        Some(*number)
    }

    /// Records a question of a peer; false if there are too many.
    fn receive(&mut self, query: OwnershipQuery, now: Time) -> bool {
        retain_fresh(&mut self.received, now);
        let OwnershipQuery {
            src, number, address, ..
        } = query;
        let key = ((*src.node).clone(), address);
        let has_room = self.received.contains_key(&key) || self.received.len() < MAX_WAITING;
        self.may_receive.retain(|_, allowance| !allowance.is_full(now));
        let allowance = self.may_receive.entry(key.0.clone());
        let allowance = allowance.or_insert_with(|| Allowance::new(BURST, COST));
        let accepted = has_room && allowance.poll_use(now);
        if accepted {
            self.received.insert(key, ((src, number), now));
        }
        accepted
    }

    /// Whether an answer is one to a question that this member has asked, which it then ends.
    fn take_asked(&mut self, key: &(NodeName, IpAddr), number: u64, now: Time) -> bool {
        retain_fresh(&mut self.asked, now);
        let is_answer = self.asked.get(key).is_some_and(|(asked, _)| *asked == number);
        if is_answer {
            self.asked.remove(key);
        }
        is_answer
    }
}

fn retain_fresh<T>(waiting: &mut Waiting<T>, now: Time) {
    waiting.retain(|_, (_, at)| now < *at + LIFETIME);
}

impl Membership {
    /// Asks `peer` whether it announces `address`; the answer is a [`MembershipEvent::Answered`]. Asks no member whose version
    /// cannot answer, and not more often than the limits permit: the caller asks again.
    pub fn query(&mut self, peer: NodeName, address: IpAddr, now: Time) {
        let can_answer = |member: &Member| {
            let profile = member.profile.as_ref();
            profile.is_some_and(|profile| profile.features.contains(Features::OWNERSHIP_QUERY))
        };
        let Some(endpoint) = self.endpoint_of(&peer) else {
            return;
        };
        if !self.roster.get(&peer).is_some_and(can_answer) {
            return;
        }
        let Some(number) = self.queries.ask((peer.clone(), address), now) else {
            return;
        };
        let query = OwnershipQuery {
            src: self.swim.identity().clone(),
            dst: peer.into(),
            number,
            address,
        };
        let content = OwnershipMessage::Query(query).emit();
        self.transmits.push_back((endpoint, content));
    }

    /// Answers [`MembershipEvent::Queried`]: whether this node announces `address`.
    pub fn answer(&mut self, peer: NodeName, address: IpAddr, announces: bool, now: Time) {
        retain_fresh(&mut self.queries.received, now);
        let Some(((to, number), _)) = self.queries.received.remove(&(peer, address)) else {
            return;
        };
        let reply = OwnershipReply {
            src: self.swim.identity().clone(),
            number,
            address,
            announces,
        };
        let content = OwnershipMessage::Reply(reply).emit();
        self.transmits.push_back((to.address, content));
    }

    /// Handles a question, or an answer to one.
    pub(super) fn handle_ownership(
        &mut self,
        message: OwnershipMessage,
        from: SocketAddr,
        now: Time,
    ) -> Result<(), Rejection> {
        let (OwnershipMessage::Query(OwnershipQuery { src, .. })
        | OwnershipMessage::Reply(OwnershipReply { src, .. })) = &message;
        if !is_same_endpoint(src.address, from) {
            return Err(Rejection::Address);
        }
        let peer = (*src.node).clone();
        match message {
            OwnershipMessage::Query(query) => {
                let own = self.dissemination.own();
                let answers = own
                    .profile
                    .as_ref()
                    .is_some_and(|profile| profile.features.contains(Features::OWNERSHIP_QUERY));
                if *query.dst != own.node || !answers || !self.knows(&peer) {
                    return Ok(());
                }
                let address = query.address;
                if !self.queries.receive(query, now) {
                    return Err(Rejection::Flood);
                }
                self.events.push_back(MembershipEvent::Queried { peer, address });
            }
            OwnershipMessage::Reply(reply) => {
                let OwnershipReply {
                    number,
                    address,
                    announces,
                    ..
                } = reply;
                if self.queries.take_asked(&(peer.clone(), address), number, now) {
                    let answered = MembershipEvent::Answered {
                        peer,
                        address,
                        announces,
                    };
                    self.events.push_back(answered);
                }
            }
        }
        Ok(())
    }

    /// Returns the address at which a peer receives gossip: the one that it sent from, or else the expected one.
    fn endpoint_of(&self, node: &NodeName) -> Option<SocketAddr> {
        let present = self.swim.present().map(foca::Member::id);
        let present = present
            .filter(|known| *known.node == *node)
            .map(|known| known.address)
            .next();
        let expected = || self.roster.peers().get(node).copied();
        let known = || self.swim.last_identity(node).map(|known| known.address);
        present.or_else(expected).or_else(known)
    }
}
