//! Membership: which speakers live, and what each says of itself.
//!
//! [`Membership`] takes the contents of datagrams and the time, and returns the contents of datagrams and events.
//! [`codec`] and [`identity`] are the data that travels. Sockets, clocks and randomness are the caller's.

pub mod codec;
pub mod identity;
mod membership;
#[cfg(test)]
mod sim;
mod timings;

pub use membership::{LocalLink, Membership, MembershipEvent};
pub use timings::Timings;
