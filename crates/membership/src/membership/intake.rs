//! Taking in what a datagram holds, and what of it to believe.

use std::borrow::Cow;
use std::net::SocketAddr;

use foca::{Codec as _, Header, Message, PostcardCodec, State};
use herald_core::{NodeName, Time};
use rand::RngExt as _;

use super::effects::Connection;
use super::{Membership, MembershipEvent};
use crate::codec::Rejection;
use crate::codec::envelope::{self, Envelope};
use crate::codec::report::Report;
use crate::identity::{Epoch, Identity};

/// Members known of, the dead of the last minutes included; with that many only those that Kubernetes knows of are
/// still let in. Far above the number of nodes that a layer-2 segment carries.
pub(crate) const MAX_MEMBERS: usize = 4096;

impl Membership {
    /// Takes in the content of a datagram that came from `from`.
    ///
    /// # Errors
    /// If it makes no sense, names another sender than `from`, comes from somebody who uses our name, or from a
    /// stranger when there are too many members. The members stay as they were.
    pub fn handle_datagram(&mut self, content: &[u8], from: SocketAddr, now: Time) -> Result<(), Rejection> {
        if self.leaving.is_some() {
            // Whoever answers a good-bye would bring us back to life.
            return Ok(());
        }
        let Envelope {
            suspicion,
            reports,
            swim,
        } = envelope::parse(content)?;
        let mut updates = swim;
        let header: Header<Identity> = PostcardCodec
            .decode_header(&mut updates)
            .map_err(|_| Rejection::Malformed)?;
        if !is_same_endpoint(header.src.address, from) {
            // Answers go to the address in the content: whoever may choose it could aim them at anybody.
            return Err(Rejection::Address);
        }
        let (head, updates) = swim.split_at(swim.len() - updates.len());
        let swim = self.admit(&header, swim, head, updates)?;
        let is_to_us = header.dst == *self.foca.identity();
        if self.is_behind(&header.dst) {
            if !self.chase.poll_overtake(now) {
                // An answer would be answered by the same again, at the speed of the wire.
                return Err(Rejection::SameName);
            }
            self.overtake(header.dst.epoch, now);
        }
        let result = match self.later_identity_of(&header.src) {
            Some(later) => self.foca.announce(later, &mut self.effects),
            None => {
                // First, so that the answer to the SWIM message already refutes it.
                self.refute(suspicion, &header);
                self.foca.handle_data(&swim, &mut self.effects)
            }
        };
        if result.is_ok() && is_to_us {
            self.hear(reports, now);
        }
        if let Message::Ack(number) = header.message
            && self.effects.probe == Some(number)
            && result.is_ok()
        {
            self.timers.handle_answer(&header.src);
        }
        if header.message == Message::Feed && result.is_ok() {
            self.announcer.handle_answer(now);
        }
        self.settle(now);
        result.map_err(|error| {
            if error == foca::Error::DataFromOurselves {
                Rejection::SameName
            } else {
                Rejection::Malformed
            }
        })
    }

    /// Whether somebody expected or known has the address `from`.
    pub fn is_peer(&self, from: SocketAddr) -> bool {
        let known = self
            .foca
            .iter_membership_state()
            .map(|member| &member.id().address);
        let mut addresses = self.roster.peers().values().chain(known);
        addresses.any(|address| is_same_endpoint(*address, from))
    }

    /// Takes in what members say of themselves: only from a datagram to us in our present life, as one that was
    /// recorded before our start may hold what a dead member said when it lived; and only of those expected or
    /// known, so that nobody can fill our memory with names.
    fn hear(&mut self, reports: Vec<Report>, now: Time) {
        for report in reports {
            let returns = self.rumours.hear_of_past(&report);
            if returns > 0 {
                self.restlessness.add(returns, now);
                self.tell_returns(now);
            }
            if self.knows(&report.node) && self.rumours.hear(report) {
                self.stale = true;
                self.spread_news(now);
            }
        }
    }

    fn knows(&self, node: &NodeName) -> bool {
        let mut known = self.foca.iter_membership_state();
        self.roster.peers().contains_key(node) || known.any(|member| *member.id().node == *node)
    }

    /// The SWIM message `swim`, which is `head` and `updates`; when there are [`MAX_MEMBERS`], without the updates
    /// on those that nobody expects.
    fn admit<'a>(
        &self,
        header: &Header<Identity>,
        swim: &'a [u8],
        head: &[u8],
        updates: &[u8],
    ) -> Result<Cow<'a, [u8]>, Rejection> {
        if self.foca.iter_membership_state().len() < MAX_MEMBERS {
            return Ok(Cow::Borrowed(swim));
        }
        if !self.roster.peers().contains_key(&*header.src.node) {
            return Err(Rejection::Full);
        }
        let Some((count, mut rest)) = updates.split_first_chunk::<2>() else {
            return Ok(Cow::Borrowed(swim));
        };
        let mut kept = 0_u16;
        let mut bytes = head.to_vec();
        bytes.extend([0; 2]);
        for _ in 0..u16::from_be_bytes(*count) {
            let before = rest;
            let member: foca::Member<Identity> = PostcardCodec
                .decode_member(&mut rest)
                .map_err(|_| Rejection::Malformed)?;
            let node = &*member.id().node;
            if self.roster.peers().contains_key(node) || *node == self.rumours.own().node {
                kept += 1;
                bytes.extend(&before[..before.len() - rest.len()]);
            }
        }
        bytes[head.len()..][..2].copy_from_slice(&kept.to_be_bytes());
        Ok(Cow::Owned(bytes))
    }

    /// Refutes the sender's suspicion of us.
    fn refute(&mut self, suspicion: Option<u16>, header: &Header<Identity>) {
        let own = self.foca.identity();
        if let Some(incarnation) = suspicion
            && header.dst == *own
        {
            let suspected = foca::Member::new(own.clone(), incarnation, State::Suspect);
            let result = self
                .foca
                .apply_many(std::iter::once(suspected), true, &mut self.effects);
            self.note(result);
        }
    }

    /// If the sender's epoch lies behind the one that we know of its node: that one, at the sender's address.
    /// An announcement to it tells the sender which epoch it must exceed.
    ///
    /// What the node said of itself counts as well: it is remembered for as long as the node is expected, while
    /// foca forgets the dead after some minutes.
    fn later_identity_of(&self, src: &Identity) -> Option<Identity> {
        let known = self
            .foca
            .iter_membership_state()
            .map(foca::Member::id)
            .find(|known| known.node == src.node)
            .map(|known| known.epoch);
        let said = self.rumours.latest(&src.node);
        let said = said.map(|report| Epoch::first_of(report.started));
        let epoch = known.max(said).filter(|epoch| *epoch > src.epoch)?;
        Some(Identity { epoch, ..src.clone() })
    }

    /// Whether `dst`, to whom a datagram is addressed, is a later life of this node than ours.
    fn is_behind(&self, dst: &Identity) -> bool {
        let own = self.foca.identity();
        dst.node == own.node && dst.epoch > own.epoch
    }

    /// Takes an epoch later than `known`.
    fn overtake(&mut self, known: Epoch, now: Time) {
        let own = self.foca.identity();
        let epoch = known.overtaken(self.rng.random());
        let identity = Identity { epoch, ..own.clone() };
        let changed = self.foca.change_identity(identity, &mut self.effects);
        self.note(changed);
        self.rumours.overtake(epoch.started);
        self.announcer.handle_connection(Connection::Alone, now);
        self.events.push_back(MembershipEvent::Overtaken);
    }
}

/// Whether both are the same address and port; scope and flow label of IPv6 do not travel in datagrams.
fn is_same_endpoint(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}
