//! The table of the state machine, and sessions of two sides with each other in virtual time.

mod ends;
mod hostile;
mod pair;
mod table;

use std::vec::Vec;

use super::*;
use crate::wire::{Asn, BgpIdentifier, HoldTime};

fn identifier(last: u8) -> BgpIdentifier {
    BgpIdentifier::new([192, 0, 2, last].into()).expect("not zero")
}

/// The configuration of a side of AS 65001 whose peer has AS 65000, or the reverse.
fn config(asn: u32, peer: u32) -> SessionConfig {
    SessionConfig {
        local_asn: Asn(asn),
        peer_asn: ExpectedAs::Exactly(Asn(peer)),
        identifier: identifier(u8::try_from(asn % 100).expect("below 100") + 1),
        hold_time: HoldTime::new(90).expect("long enough"),
        keepalive: None,
        connect_retry: None,
        families: std::vec![Family::V4, Family::V6],
        extended_next_hop: false,
        restart_time: None,
        forwarding: true,
    }
}

fn actions(session: &mut BgpSession) -> Vec<SessionAction> {
    core::iter::from_fn(|| session.poll_action()).collect()
}
