//! The sessions with peers, for `/state`.

use herald_api::state::{BgpPeerState, NegotiatedState};
use herald_bgp::session::Negotiated;
use herald_runtime::log::shorten;

use super::BgpSessions;
use crate::status::LONGEST_MESSAGE;

impl BgpSessions {
    /// Returns what is known of each session, by the name of the peer.
    pub(in crate::driver) fn state(&self) -> Vec<BgpPeerState> {
        let of = |(name, session): (&std::sync::Arc<str>, &super::PeerSession)| {
            let numbers = self.thread.numbers(name);
            let status = session.status();
            let last_error = status.last_error.as_ref();
            BgpPeerState {
                name: name.to_string(),
                place: session.place().to_owned(),
                vrf: status.vrf,
                state: status.state.into(),
                since: session.since().to_string(),
                negotiated: session.negotiated().map(negotiated),
                wanted: numbers.sendable + numbers.unsendable,
                unsendable: numbers.unsendable,
                sent: numbers.sent,
                established: numbers.established,
                last_error: last_error.map(|error| shorten(error, LONGEST_MESSAGE)),
            }
        };
        self.sessions.iter().map(of).collect()
    }
}

fn negotiated(both: &Negotiated) -> NegotiatedState {
    NegotiatedState {
        local_asn: both.local_asn.0,
        peer_asn: both.peer_asn.0,
        peer_router_id: both.peer_identifier.to_string(),
        hold_time: both.hold_time.duration().map_or(0, |time| time.as_secs()),
        keepalive: both.keepalive.map_or(0, |pause| pause.as_secs()),
        families: both.families.iter().map(ToString::to_string).collect(),
        extended_next_hop: both.extended_next_hop,
        graceful_restart: both.graceful_restart,
    }
}
