//! Layer 2 without sockets or clocks: the [`Station`], which answers, announces and probes, and the codec for ARP and
//! NDP.
//!
//! Input and output are whole Ethernet frames of both families. NDP is handled below the IP stack like ARP: the kernel
//! would not deliver a unicast solicitation for an address that it does not have, and an advertisement can have the
//! announced address as its source, like that of any host.
#![no_std]

extern crate alloc;

pub mod announcer;
mod link;
mod pace;
pub mod prober;
mod received;
mod station;
mod survey;
pub mod wire;

pub use announcer::{Announcer, Answer, Claim, GroupChange, Ignored, Purpose, Transmission};
pub use herald_core::Prefix;
pub use herald_core::announce::layer2::ProbeResult;
pub use link::{Link, LinkIndex, select};
pub use prober::Prober;
pub use received::ReceivedFrame;
pub use station::Station;
pub use survey::{SurveyAnswers, SurveyLink, SurveyQuestion, vantage};
pub use wire::MacAddr;
