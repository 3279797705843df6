//! What the machine of an address works with besides its own state.

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use crate::announce::layer2::Command;
use crate::announce::layer2::takeover::Effect;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::history::AnnouncementHistory;
use crate::announce::layer2::takeover::identify::Identification;
use crate::announce::layer2::takeover::peers::{Peer, Peers};
use crate::{MacAddr, NodeName, Time};

/// The surroundings of one address, and where its effects go.
pub(in crate::announce::layer2::takeover) struct Context<'a> {
    pub(in crate::announce::layer2::takeover) address: IpAddr,
    /// Whether this node probes at all.
    pub(in crate::announce::layer2::takeover) verification: bool,
    pub(in crate::announce::layer2::takeover) peers: &'a mut Peers,
    pub(in crate::announce::layer2::takeover) identification: &'a mut Identification,
    pub(in crate::announce::layer2::takeover) history: &'a mut AnnouncementHistory,
    pub(in crate::announce::layer2::takeover) random: &'a mut Xorshift,
    pub(in crate::announce::layer2::takeover) effects: &'a mut VecDeque<Effect>,
    pub(in crate::announce::layer2::takeover) now: Time,
}

impl Context<'_> {
    pub(super) fn order(&mut self, command: Command) {
        self.effects.push_back(Effect::Command(command));
    }

    /// Orders to contradict a claim of another machine, which may be one of MetalLB.
    pub(super) fn defend(&mut self) {
        self.order(if self.peers.has_metallb() {
            Command::DefendAtOnce(self.address)
        } else {
            Command::Defend(self.address)
        });
    }

    pub(super) fn report(&mut self, event: AddressEvent) {
        self.effects.push_back(Effect::Event(self.address, event));
    }

    /// Asks a peer that gossip has lost whether it can be reached, unless it cannot reply or was asked a moment ago.
    pub(super) fn ask_lost(&mut self, peer: &Peer) {
        if peer.can_reply && self.peers.queries.poll_reach(&peer.node, self.now) {
            self.ask(&peer.node);
        }
    }

    /// Asks a living peer that claims the address whether it announces it. Returns whether the limit of such queries permits
    /// that.
    pub(super) fn ask_claimant(&mut self, peer: &NodeName) -> bool {
        let is_allowed = self.peers.queries.poll_claim(peer, self.now);
        if is_allowed {
            self.ask(peer);
        }
        is_allowed
    }

    /// Asks the other side of a dispute whether it still announces the address, if the limit of such queries permits that.
    pub(super) fn ask_rival(&mut self, peer: &NodeName) {
        if self.peers.queries.poll_dispute(peer, self.now) {
            self.ask(peer);
        }
    }

    fn ask(&mut self, peer: &NodeName) {
        self.effects
            .push_back(Effect::QueryPeer(peer.clone(), self.address));
    }

    pub(super) fn identify(&mut self, mac: MacAddr) -> Option<Time> {
        self.identification
            .identify(mac, self.peers, self.effects, self.now)
    }
}

/// Pseudo-random numbers (xorshift, Marsaglia 2003): enough to separate two contenders.
#[derive(Debug)]
pub(in crate::announce::layer2::takeover) struct Xorshift(u64);

impl Xorshift {
    pub(in crate::announce::layer2::takeover) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn duration_between(&mut self, [shortest, longest]: [Duration; 2]) -> Duration {
        let span = (longest - shortest).as_nanos();
        let drawn = (u128::from(self.next()) * span) >> 64;
        shortest + Duration::from_nanos(u64::try_from(drawn).unwrap_or(0))
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
