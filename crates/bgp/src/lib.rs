//! BGP-4 (RFC 4271) of a speaker that announces routes and accepts none, without sockets, clocks and locks.
//!
//! [`wire`] reads and writes messages, [`session`] is the state machine of a session with a peer, [`rib_out`] has the routes
//! that peers are sent, and [`peering`] is both for one peer. The caller has the connection, the clock and the source of random bytes.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod peering;
pub mod rib_out;
pub mod session;
pub mod wire;
