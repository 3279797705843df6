//! Receiving a datagram, and what of it to believe.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::SocketAddr;

use foca::{Codec as _, Header, Message, PostcardCodec};
use herald_core::{NodeName, Time};

use super::swim::{Connection, SwimMember};
use super::{Membership, MembershipEvent};
use crate::codec::Rejection;
use crate::codec::envelope::{self, Envelope};
use crate::codec::query::OwnershipMessage;
use crate::codec::report::SelfReport;
use crate::identity::{Epoch, Identity};

/// Known members, those that went down in the last minutes included. With that many, only peers that Kubernetes knows are
/// admitted. Far above the number of nodes that a layer-2 segment carries.
pub(crate) const MAX_MEMBERS: usize = 4096;

/// The content of a datagram after the checks of its sender.
struct Received<'a> {
    suspicion: Option<u16>,
    header: Header<Identity>,
    /// The SWIM message with its header.
    swim: Cow<'a, [u8]>,
}

impl Membership {
    /// Handles the content of a datagram that came from `from`.
    ///
    /// # Errors
    /// If it is malformed, names another sender than `from`, comes from a second speaker with the name of this node, or from
    /// a sender that is not expected when there are too many members. The members stay as they were.
    pub fn handle_datagram(&mut self, content: &[u8], from: SocketAddr, now: Time) -> Result<(), Rejection> {
        if self.leaving.is_some() {
            // An answer to the leave message would make this member alive again.
            return Ok(());
        }
        self.swim.handle_lateness(now);
        if let Some(message) = OwnershipMessage::parse(content) {
            return self.handle_ownership(message?, from, now);
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
            // Answers go to the address in the content: a sender that may choose it could direct them at any host.
            return Err(Rejection::Address);
        }
        let (head, updates) = swim.split_at(swim.len() - updates.len());
        let swim = self.admit(&header, swim, head, updates)?;
        let received = Received {
            suspicion,
            header,
            swim,
        };
        let is_to_present = received.header.dst == *self.swim.identity();
        self.resolve_conflict(&received.header.dst, now)?;
        let result = self.handle_swim(&received);
        if result.is_ok() {
            if is_to_present {
                self.handle_reports(reports, &received.header.src, now);
                self.supersede_known(now);
            }
            self.handle_answer(&received.header, now);
        }
        self.flush(now);
        result.map_err(|error| {
            if error == foca::Error::DataFromOurselves {
                Rejection::SameName
            } else {
                Rejection::Malformed
            }
        })
    }

    /// Whether an expected or known peer has the address `from`.
    pub fn is_peer(&self, from: SocketAddr) -> bool {
        self.roster.has_endpoint(from)
    }

    fn handle_swim(&mut self, received: &Received<'_>) -> Result<(), foca::Error> {
        let Received {
            suspicion,
            header,
            swim,
        } = received;
        if let Some(later) = self.later_identity_of(&header.src) {
            return self.swim.try_announce(later);
        }
        // First, so that the answer to the SWIM message already refutes it.
        if let Some(incarnation) = suspicion
            && header.dst == *self.swim.identity()
        {
            self.swim.refute(*incarnation);
        }
        self.swim.handle_data(swim)
    }

    fn handle_answer(&mut self, header: &Header<Identity>, now: Time) {
        match &header.message {
            Message::Ack(number) => self.swim.handle_ack(&header.src, *number, now),
            // The member that passes it on is not the one that was probed.
            Message::ForwardedAck { origin, probe_number } => {
                self.swim.handle_ack(origin, *probe_number, now)
            }
            Message::Feed
            | Message::Ping(_)
            | Message::PingReq { .. }
            | Message::IndirectPing { .. }
            | Message::IndirectAck { .. }
            | Message::Gossip
            | Message::Announce
            | Message::Broadcast
            | Message::TurnUndead => {}
        }
        if header.message == Message::Feed {
            self.rounds.handle_answer(now);
        }
    }

    /// Handles reports: only from a datagram to the present identity of this member, as a datagram that was recorded before
    /// this process started may hold what a failed member reported earlier; and only of expected or known members, so that a
    /// sender cannot fill the memory with names.
    fn handle_reports(&mut self, reports: Vec<SelfReport>, src: &Identity, now: Time) {
        for report in reports {
            if report.node == self.dissemination.own().node {
                self.handle_report_of_self(&report, now);
                continue;
            }
            let from_itself = report.node == *src.node && report.started == src.epoch.started;
            if self.knows(&report.node) && self.dissemination.handle_report(report, from_itself) {
                self.roster.set_stale();
                self.dissemination.send_soon(now);
            }
        }
    }

    /// Handles a report about this node: of an earlier process, or one that this process did not make.
    fn handle_report_of_self(&mut self, report: &SelfReport, now: Time) {
        let flaps = self.dissemination.handle_earlier(report);
        if flaps > 0 {
            self.damping.add(flaps, now);
            self.report_flaps(now);
        }
        if !report.contradicts(self.dissemination.own()) {
            return;
        }
        if let Some(started) = self.dissemination.outbid(report) {
            self.supersede(Epoch::first_of(started), now);
        }
        self.roster.set_stale();
        self.dissemination.send_soon(now);
    }

    /// Takes a later epoch if a peer knows a later one of this node.
    fn supersede_known(&mut self, now: Time) {
        let own = self.swim.identity();
        let later = self.swim.last_identity(&own.node).map(|known| known.epoch);
        if let Some(later) = later.filter(|later| *later > own.epoch) {
            self.supersede(later, now);
        }
    }

    pub(super) fn knows(&self, node: &NodeName) -> bool {
        self.roster.peers().contains_key(node) || self.swim.last_identity(node).is_some()
    }

    /// Returns the SWIM message `swim`, which is `head` and `updates`; when there are [`MAX_MEMBERS`], without the updates
    /// on members that are not expected.
    fn admit<'a>(
        &self,
        header: &Header<Identity>,
        swim: &'a [u8],
        head: &[u8],
        updates: &[u8],
    ) -> Result<Cow<'a, [u8]>, Rejection> {
        if self.swim.known().len() < MAX_MEMBERS {
            return Ok(Cow::Borrowed(swim));
        }
        if !self.roster.peers().contains_key(&*header.src.node) {
            return Err(Rejection::Full);
        }
        let Some((count, mut rest)) = updates.split_first_chunk::<2>() else {
            return Ok(Cow::Borrowed(swim));
        };
        let mut admitted = 0_u16;
        let mut bytes = head.to_vec();
        bytes.extend([0; 2]);
        for _ in 0..u16::from_be_bytes(*count) {
            let before = rest;
            let member: SwimMember = PostcardCodec
                .decode_member(&mut rest)
                .map_err(|_| Rejection::Malformed)?;
            let node = &*member.id().node;
            if self.roster.peers().contains_key(node) || *node == self.dissemination.own().node {
                admitted += 1;
                bytes.extend(&before[..before.len() - rest.len()]);
            }
        }
        bytes[head.len()..][..2].copy_from_slice(&admitted.to_be_bytes());
        Ok(Cow::Owned(bytes))
    }

    /// If the sender's epoch is earlier than the epoch that this member knows of its node: the known one, at the sender's
    /// address. An announcement to it lets the sender know which epoch it must supersede.
    ///
    /// The node's report counts as well: it is remembered for as long as the node is expected, while foca forgets members that
    /// are down after some minutes.
    fn later_identity_of(&self, src: &Identity) -> Option<Identity> {
        let mut known = self.swim.known().map(SwimMember::id);
        let known = known
            .find(|known| known.node == src.node)
            .map(|known| known.epoch);
        let reported = self.dissemination.latest(&src.node);
        let reported = reported.map(|report| Epoch::first_of(report.started));
        let epoch = known.max(reported).filter(|epoch| *epoch > src.epoch)?;
        Some(Identity { epoch, ..src.clone() })
    }

    /// Takes a later epoch if `dst`, which a datagram is addressed to, is a later identity of this node.
    fn resolve_conflict(&mut self, dst: &Identity, now: Time) -> Result<(), Rejection> {
        let own = self.swim.identity();
        if dst.node != own.node || dst.epoch <= own.epoch {
            return Ok(());
        }
        // Too early for another epoch, an answer would be answered by the same again, at the speed of the wire.
        if self.supersede(dst.epoch, now) {
            Ok(())
        } else {
            Err(Rejection::SameName)
        }
    }

    /// Takes an epoch later than `known`; false if it is too early for another one.
    fn supersede(&mut self, known: Epoch, now: Time) -> bool {
        let Some(epoch) = self.conflict.poll_supersede(known, now) else {
            return false;
        };
        let own = self.swim.identity();
        if epoch > own.epoch {
            let identity = Identity { epoch, ..own.clone() };
            self.swim.set_identity(identity);
            self.dissemination.supersede(epoch.started);
            self.rounds.handle_connection(Connection::Isolated, now);
            self.events.push_back(MembershipEvent::Superseded);
        }
        true
    }
}

/// Whether both are the same address and port; scope and flow label of IPv6 do not travel in datagrams.
pub(super) fn is_same_endpoint(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}
