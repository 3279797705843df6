//! BGP-4 (RFC 4271) of a speaker that announces routes and accepts none, without sockets, clocks and locks.
//!
//! [`wire`] reads and writes messages, [`session`] is the state machine of a session with a peer, [`rib_out`] has the routes
//! of peers that are sent the same, [`ribs_out`] those of all peers, and [`peering`] connects a session with them. The caller has the connection, the clock and the source of random bytes.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod link_router;
pub mod peering;
pub mod rib_out;
pub mod ribs_out;
pub mod session;
pub mod wire;
