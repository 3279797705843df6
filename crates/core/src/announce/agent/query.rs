//! Questions between speakers whether they announce an address.

use core::net::IpAddr;

use super::{Agent, AgentReport};
use crate::{NodeName, Time};

impl Agent {
    /// Handles the question of a peer whether this node announces an address.
    pub fn handle_query(&mut self, peer: NodeName, address: IpAddr) {
        let announces = self.takeover.announces(address);
        self.report(AgentReport::ReplyToPeer {
            peer,
            address,
            announces,
        });
    }

    /// Handles the answer of a peer to [`AgentReport::QueryPeer`]. Unlike a frame, it can be from nobody else.
    pub fn handle_reply(&mut self, peer: &NodeName, address: IpAddr, announces: bool, now: Time) {
        self.takeover.handle_reply(peer, address, announces, now);
    }
}
