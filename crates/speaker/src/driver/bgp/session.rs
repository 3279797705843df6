//! What is published of the session with a peer.

use std::net::SocketAddr;
use std::sync::Arc;

use herald_api::reason::EventReason;
use herald_bgp::session::{SessionEnd, SessionState};
use herald_core::config::bgp::{BgpPeer, PeerLocation};
use herald_netio::DialError;
use herald_runtime::event::Severity;

use crate::bgp::PeerEvent;
use crate::driver::notice::{self, Notice};
use crate::status::{ESTABLISHED, SessionStatus};

/// The state of a session before the first attempt has ended.
const CONNECT: &str = "Connect";

/// The session with a peer, as far as it is published.
#[derive(Debug)]
pub(super) struct PeerSession {
    /// Where the peer is, with the port.
    place: String,
    has_password: bool,
    status: SessionStatus,
    /// Why the attempts fail that have followed each other: more of the same have no notice.
    failing: Option<&'static str>,
}

impl PeerSession {
    /// Starts with the first attempt.
    pub(super) fn new(peer: &BgpPeer) -> Self {
        let mut session = Self {
            place: String::new(),
            has_password: false,
            status: SessionStatus {
                peer_address: String::new(),
                vrf: None,
                state: CONNECT,
                prefixes: 0,
                last_error: None,
            },
            failing: None,
        };
        session.set_peer(peer);
        session
    }

    /// Replaces what is known of the peer.
    pub(super) fn set_peer(&mut self, peer: &BgpPeer) {
        let (address, place) = match &peer.location {
            PeerLocation::Address(address) => {
                let place = SocketAddr::new(*address, peer.port).to_string();
                (address.to_string(), place)
            }
            PeerLocation::Interface(name) => (name.clone(), name.clone()),
        };
        self.status.peer_address = address;
        self.status.vrf.clone_from(&peer.vrf);
        self.place = place;
        self.has_password = peer.password.is_some();
        self.failing = None;
    }

    pub(super) fn status(&self) -> SessionStatus {
        let is_established = self.status.state == ESTABLISHED;
        SessionStatus {
            prefixes: if is_established { self.status.prefixes } else { 0 },
            ..self.status.clone()
        }
    }

    /// Takes how many prefixes the peer is to have. Returns whether that has changed.
    pub(super) fn set_prefixes(&mut self, prefixes: usize) -> bool {
        std::mem::replace(&mut self.status.prefixes, prefixes) != prefixes
    }

    /// Takes what happened to the session. Returns the notice about it, unless it happens again and again.
    pub(super) fn handle_event(&mut self, name: &Arc<str>, event: PeerEvent) -> Option<Notice> {
        let (peer, place) = (name, &self.place);
        match event {
            PeerEvent::Up(negotiated) => {
                self.status.state = ESTABLISHED;
                self.failing = None;
                let asn = negotiated.peer_asn.0;
                let text = format!("BGP session with peer \"{peer}\" ({place}, AS {asn}) is established");
                Some(notice::about_node(
                    Severity::Normal,
                    EventReason::BgpSessionUp,
                    text,
                ))
            }
            PeerEvent::Ended { state, end, cause } => {
                // The next attempt follows.
                self.status.state = "Active";
                let text = self.describe(&end, cause.as_ref());
                self.status.last_error = Some(text.clone());
                let is_lost = state == SessionState::Established;
                let is_known = self.failing.replace(end.reason()) == Some(end.reason());
                let what = if is_lost { "ended" } else { "cannot be established" };
                (is_lost || !is_known).then(|| {
                    let text = format!("BGP session with peer \"{peer}\" ({place}) {what}: {text}");
                    notice::about_node(Severity::Warning, EventReason::BgpSessionDown, text)
                })
            }
        }
    }

    /// Returns in plain words why a session or an attempt ended.
    fn describe(&self, end: &SessionEnd, cause: Option<&DialError>) -> String {
        let mut text = end.to_string();
        if let Some(cause) = cause {
            text = format!("{text}: {cause}");
        }
        // What is signed with another key, or not at all, is dropped in silence (RFC 2385 section 2).
        let is_silent = match cause {
            None => true,
            Some(DialError::Io(error)) => error.kind() == std::io::ErrorKind::TimedOut,
            Some(_) => false,
        };
        if matches!(end, SessionEnd::NotConnected) && is_silent {
            text += if self.has_password {
                "; the peer does not answer: it cannot be reached, or it has no password for this node, or another one"
            } else {
                "; the peer does not answer: it cannot be reached, or it expects a password"
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use herald_bgp::wire::Asn;
    use herald_core::config::bgp::{BgpCatalog, BgpChange, Password, RawBgpPeer};

    use super::*;

    fn session(password: Option<&str>) -> PeerSession {
        let raw = RawBgpPeer {
            name: "router".to_owned(),
            my_asn: 65_001,
            peer_asn: Some(65_000),
            address: Some("192.0.2.1".to_owned()),
            password: password.map(|key| Password(key.into())),
            ..RawBgpPeer::default()
        };
        let mut catalog = BgpCatalog::default();
        catalog.apply([BgpChange::ApplyPeer(raw)]);
        let session = catalog.peers().map(PeerSession::new).next();
        session.expect("a valid peer")
    }

    fn ended(state: SessionState, end: SessionEnd) -> PeerEvent {
        PeerEvent::Ended {
            state,
            end,
            cause: None,
        }
    }

    fn text(session: &mut PeerSession, event: PeerEvent) -> Option<String> {
        session
            .handle_event(&"router".into(), event)
            .map(|notice| notice.message)
    }

    #[test]
    fn attempts_that_fail_for_the_same_reason_have_one_notice() {
        let mut session = session(None);
        let wrong = || ended(SessionState::OpenSent, SessionEnd::PeerAs(Asn(7)));
        let expected = "BGP session with peer \"router\" (192.0.2.1:179) cannot be established: \
                        the peer has AS number 7, which is not the expected one";
        assert_eq!(text(&mut session, wrong()).as_deref(), Some(expected));
        assert_eq!(text(&mut session, wrong()), None);
        assert_eq!(session.status().state, "Active");
        let expired = || ended(SessionState::OpenSent, SessionEnd::HoldTimerExpired);
        assert!(text(&mut session, expired()).is_some());
        assert!(text(&mut session, wrong()).is_some());
        assert_eq!(
            session.status().last_error.as_deref(),
            Some("the peer has AS number 7, which is not the expected one")
        );
        // The loss of a session always has one.
        for _ in 0..2 {
            let lost = ended(SessionState::Established, SessionEnd::HoldTimerExpired);
            let expected = "BGP session with peer \"router\" (192.0.2.1:179) ended: the peer was silent for the hold time";
            assert_eq!(text(&mut session, lost).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_peer_that_does_not_answer_may_have_another_password() {
        for (password, hint) in [
            (Some("key"), "it has no password for this node, or another one"),
            (None, "or it expects a password"),
        ] {
            let mut session = session(password);
            let silent = ended(SessionState::Connect, SessionEnd::NotConnected);
            let text = text(&mut session, silent).expect("a notice");
            assert!(text.ends_with(hint), "{text}");
            let refused = PeerEvent::Ended {
                state: SessionState::Connect,
                end: SessionEnd::NotConnected,
                cause: Some(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()),
            };
            session.handle_event(&"router".into(), refused);
            let error = session.status().last_error.expect("an error");
            assert_eq!(
                error,
                "no connection to the peer could be made: connection refused"
            );
        }
    }
}
