//! A session with a peer, and how the peer comes by its routes: all that a shell drives, one for each peer.
//!
//! ```text
//!                                 set_config, handle_connected, handle_bytes, handle_closed, handle_sent, handle_timeout
//!                                                               |
//!                                                               v
//!        RibsOut ---- messages ----> unsent bytes <---- BgpSession ----> poll_action: Dial, Close, Up, Ended
//!                                         |
//!                                         v
//!                                    poll_transmit
//! ```
//!
//! The routes of all peers are in one [`RibsOut`], by the names of the peers. After each input the shell carries out what [`Peering::poll_action`] returns, and then sends what
//! [`Peering::poll_transmit`] returns while the connection takes it.

mod unsent;

#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;

use herald_core::Time;

use crate::rib_out::NextHops;
use crate::ribs_out::RibsOut;
use crate::session::{BgpSession, Negotiated, SessionAction, SessionConfig, SessionEnd, SessionState};
use crate::wire::MessageCounts;
use unsent::Unsent;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeeringAction {
    /// Connect to the peer.
    Dial,
    /// Send these last bytes as far as the peer takes them now, and close the connection, if there is one.
    Close(Vec<u8>),
    /// Report that the session is established.
    Up(Negotiated),
    /// Report that the session, or the attempt at one, is over.
    Ended {
        /// The state in which it ended: only Established was a session.
        state: SessionState,
        /// Why.
        end: SessionEnd,
    },
}

/// A session with a peer. Exactly one task owns it.
#[derive(Debug)]
pub struct Peering {
    name: Arc<str>,
    session: BgpSession,
    next_hops: NextHops,
    unsent: Unsent,
}

impl Peering {
    /// Returns a stopped session with a peer. `seed` spreads the timers of many sessions.
    pub fn new(name: Arc<str>, config: SessionConfig, seed: u64) -> Self {
        Self {
            name,
            session: BgpSession::new(config, seed),
            next_hops: NextHops::default(),
            unsent: Unsent::default(),
        }
    }

    /// Returns the state of the session.
    pub const fn state(&self) -> SessionState {
        self.session.state()
    }

    /// Returns how many messages the peer was sent, in all sessions.
    pub const fn sent_messages(&self) -> MessageCounts {
        self.unsent.counts()
    }

    /// Returns how many messages the peer has sent, in all sessions.
    pub const fn received_messages(&self) -> MessageCounts {
        self.session.received_messages()
    }

    /// Returns the name of the peer.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Starts to connect.
    pub fn start(&mut self, now: Time) {
        self.session.start(now);
    }

    /// Ends the session for good; `end` says why, and what the peer is told.
    pub fn stop(&mut self, end: SessionEnd, now: Time) {
        self.session.stop(end, now);
    }

    /// Replaces the configuration as [`BgpSession::set_config`] does.
    pub fn set_config(&mut self, config: SessionConfig, now: Time) {
        self.session.set_config(config, now);
    }

    /// Connects again, because the connection has to be another one.
    pub fn reset(&mut self, now: Time) {
        self.session.reset(now);
    }

    /// Replaces the next hops of the routes. The peer is sent its routes again where they differ.
    pub fn set_next_hops(&mut self, next_hops: NextHops, routes: &mut RibsOut) {
        if self.next_hops != next_hops {
            self.next_hops = next_hops;
            if let Some(negotiated) = self.session.negotiated() {
                let next_hops = agreed(next_hops, negotiated);
                routes.set_next_hops(&self.name, negotiated, next_hops);
            }
        }
    }

    /// Notes that the connection that was dialled is there. The routes to the peer have these next hops.
    pub fn handle_connected(&mut self, next_hops: NextHops, now: Time) {
        self.next_hops = next_hops;
        self.session.handle_connected(now);
    }

    /// Notes that the connection could not be made, or was closed.
    pub fn handle_closed(&mut self, now: Time) {
        self.session.handle_closed(now);
    }

    /// Takes bytes of the connection.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Time) {
        self.session.handle_bytes(bytes, now);
    }

    /// Notes how many of the bytes of [`Peering::poll_transmit`] the connection took.
    pub fn handle_sent(&mut self, took: usize, now: Time) {
        self.unsent.remove(took);
        self.session.handle_sent(took, !self.unsent.is_empty(), now);
    }

    /// Acts on timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.session.handle_timeout(now);
    }

    /// Returns when [`Peering::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.session.poll_timeout()
    }

    /// Returns what to do next.
    pub fn poll_action(&mut self, routes: &mut RibsOut) -> Option<PeeringAction> {
        loop {
            match self.session.poll_action()? {
                SessionAction::Dial => return Some(PeeringAction::Dial),
                SessionAction::Send(bytes) => self.unsent.push(bytes.into()),
                SessionAction::Refresh(family) => routes.handle_refresh(&self.name, family),
                SessionAction::Up(negotiated) => {
                    let next_hops = agreed(self.next_hops, &negotiated);
                    routes.start_session(&self.name, &negotiated, next_hops);
                    return Some(PeeringAction::Up(negotiated));
                }
                SessionAction::Close => {
                    routes.end_session(&self.name);
                    return Some(PeeringAction::Close(self.unsent.take()));
                }
                SessionAction::Ended { state, end } => return Some(PeeringAction::Ended { state, end }),
            }
        }
    }

    /// Returns bytes to send next; nothing if the peer has all.
    pub fn poll_transmit(&mut self, routes: &mut RibsOut) -> Option<&[u8]> {
        // Routes are encoded when the connection takes them: a peer that reads slowly gets the newest ones.
        if self.unsent.is_empty()
            && let Some(messages) = routes.poll_messages(&self.name)
        {
            self.unsent.push(messages);
        }
        self.unsent.first()
    }
}

/// An IPv4 route may have the IPv6 next hop where there is no other and the peer takes it (RFC 8950).
fn agreed(next_hops: NextHops, negotiated: &Negotiated) -> NextHops {
    NextHops {
        v4: next_hops
            .v4
            .or_else(|| next_hops.v6.filter(|_| negotiated.extended_next_hop)),
        ..next_hops
    }
}
