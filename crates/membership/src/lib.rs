//! Membership: which speakers live, and what each reports of itself.
//!
//! [`Membership`] takes the contents of datagrams, what the speaker reports, and the time. It returns the contents of
//! datagrams to send, the list of members, and events. [`codec`] and [`identity`] define what travels in a datagram.
//! The caller has the socket, the clock and the source of random bytes.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codec;
pub mod identity;
mod membership;
mod timings;

#[cfg(test)]
mod harness;

pub use membership::{LocalLink, Membership, MembershipEvent};
pub use timings::Timings;
