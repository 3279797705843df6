//! What is published of the session with a peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald_api::reason::EventReason;
use herald_bgp::session::{Negotiated, SessionEnd, SessionState};
use herald_core::Time;
use herald_core::announce::bgp::{PeerExclusion, PrefixCounts};
use herald_core::config::bgp::{BgpPeer, PeerLocation};
use herald_netio::DialError;
use herald_runtime::event::Severity;
use jiff::Timestamp;

use crate::bgp::PeerEvent;
use crate::driver::notice::{self, Notice};
use crate::status::{ESTABLISHED, SessionStatus};

/// The state of a session before the first attempt has ended.
const CONNECT: &str = "Connect";
/// That of a later one, or of the pause before it.
const ACTIVE: &str = "Active";

/// Numbers of prefixes are published when they have been the same for so long. Thousands of Services that arrive are one write for each
/// session then, and not one for each moment.
const SETTLES_AFTER: Duration = Duration::from_secs(3);
/// Numbers that never settle are published after so long.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The session with a peer, as far as it is published.
#[derive(Debug)]
pub(super) struct PeerSession {
    /// Where the peer is, with the port.
    place: String,
    has_password: bool,
    status: SessionStatus,
    /// How many prefixes the peer is to have. What is published may be older.
    prefixes: PrefixCounts,
    /// When they began to differ from what is published, and when they changed last.
    unpublished: Option<(Time, Time)>,
    /// Why prefixes are not sent, as the last notice has it.
    noticed: Option<PeerExclusion>,
    /// Since when the session has been in its state.
    since: Timestamp,
    /// What both sides agreed on, while the session is established.
    negotiated: Option<Negotiated>,
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
                prefixes: PrefixCounts::default(),
                last_error: None,
            },
            prefixes: PrefixCounts::default(),
            unpublished: None,
            noticed: None,
            since: Timestamp::now(),
            negotiated: None,
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

    /// Returns where the peer is, with the port.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) const fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) const fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    pub(super) fn status(&self) -> SessionStatus {
        self.status.clone()
    }

    /// Takes how many prefixes the peer is to have.
    pub(super) fn set_prefixes(&mut self, prefixes: PrefixCounts, now: Time) {
        if self.prefixes == prefixes {
            return;
        }
        self.prefixes = prefixes;
        let differs = self.is_established() && self.status.prefixes != prefixes;
        let began = self.unpublished.map_or(now, |(began, _)| began);
        self.unpublished = differs.then_some((began, now));
    }

    /// Publishes how many prefixes the peer is to have, if that has settled, or has not for long. Returns whether something else is
    /// published now.
    pub(super) fn publish_prefixes(&mut self, now: Time) -> bool {
        let is_due = |(began, changed)| now - changed >= SETTLES_AFTER || now - began >= LONGEST_WAIT;
        if !self.unpublished.is_some_and(is_due) {
            return false;
        }
        self.unpublished = None;
        self.status.prefixes = self.prefixes;
        true
    }

    /// Returns the notice that prefixes are not sent, if the reason is another one than before.
    pub(super) fn poll_prefix_notice(&mut self, name: &Arc<str>) -> Option<Notice> {
        let PrefixCounts {
            unsendable, reason, ..
        } = self.status.prefixes;
        if !self.is_established() {
            return None;
        }
        if std::mem::replace(&mut self.noticed, reason) == reason {
            return None;
        }
        let (peer, place) = (name, &self.place);
        let text = format!(
            "BGP peer \"{peer}\" ({place}) is not sent {unsendable} prefixes: {}",
            reason?
        );
        Some(notice::about_node(
            Severity::Warning,
            EventReason::BgpRoutesNotSent,
            text,
        ))
    }

    fn is_established(&self) -> bool {
        self.status.state == ESTABLISHED
    }

    /// Publishes a state, with the prefixes that the peer is to have in it.
    fn set_state(&mut self, state: &'static str, prefixes: PrefixCounts) {
        self.status.state = state;
        self.prefixes = prefixes;
        self.unpublished = None;
        self.status.prefixes = if self.is_established() {
            prefixes
        } else {
            PrefixCounts::default()
        };
    }

    /// Takes what happened to the session, and how many prefixes the peer is to have. Returns the notice about it, unless it happens
    /// again and again.
    pub(super) fn handle_event(
        &mut self,
        name: &Arc<str>,
        event: PeerEvent,
        prefixes: PrefixCounts,
    ) -> Option<Notice> {
        let (peer, place) = (name, self.place.clone());
        match event {
            PeerEvent::Up(negotiated) => {
                self.set_state(ESTABLISHED, prefixes);
                self.failing = None;
                let asn = negotiated.peer_asn.0;
                self.since = Timestamp::now();
                self.negotiated = Some(negotiated);
                let text = format!("BGP session with peer \"{peer}\" ({place}, AS {asn}) is established");
                Some(notice::about_node(
                    Severity::Normal,
                    EventReason::BgpSessionUp,
                    text,
                ))
            }
            PeerEvent::Limited(_) => None,
            PeerEvent::Ended { state, end, cause } => {
                // Attempts that follow each other are one state.
                if self.status.state != ACTIVE {
                    self.since = Timestamp::now();
                }
                self.negotiated = None;
                // The next attempt follows.
                self.set_state(ACTIVE, prefixes);
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
    use herald_bgp::session::Negotiated;
    use herald_bgp::wire::{Asn, BgpIdentifier, HoldTime, UpdateFormat};
    use herald_core::Family;
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
            .handle_event(&"router".into(), event, PrefixCounts::default())
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

    fn established(prefixes: PrefixCounts) -> PeerSession {
        let mut session = session(None);
        let negotiated = Negotiated {
            local_asn: Asn(65_001),
            peer_asn: Asn(65_000),
            peer_identifier: BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero"),
            hold_time: HoldTime::NONE,
            keepalive: None,
            families: vec![Family::V4],
            format: UpdateFormat {
                four_octet_as: true,
                max_length: 4096,
                internal: false,
            },
            extended_next_hop: false,
            enhanced_refresh: false,
            graceful_restart: false,
            notification_restart: false,
        };
        session.handle_event(&"router".into(), PeerEvent::Up(negotiated), prefixes);
        session
    }

    fn sendable(sendable: usize) -> PrefixCounts {
        PrefixCounts {
            sendable,
            ..PrefixCounts::default()
        }
    }

    /// The numbers of a session in the course of so many seconds, each once, with the second of the first time.
    fn published(session: &mut PeerSession, seconds: u64, count: impl Fn(u64) -> usize) -> Vec<(u64, usize)> {
        let mut published = Vec::new();
        for second in 0..seconds {
            let now = Time::since_zero(Duration::from_secs(second));
            session.set_prefixes(sendable(count(second)), now);
            if session.publish_prefixes(now) {
                published.push((second, session.status().prefixes.sendable));
            }
        }
        published
    }

    #[test]
    fn numbers_of_prefixes_are_published_when_they_have_settled_or_have_not_for_long() {
        let count = |second: u64| usize::try_from(second).expect("small");
        let mut session = established(sendable(0));
        assert_eq!(
            published(&mut session, 10, |second| count(second.min(4))),
            [(7, 4)]
        );
        let mut session = established(sendable(0));
        assert_eq!(published(&mut session, 40, count), [(16, 16), (32, 32)]);
        // What is as it was published is no news.
        let mut session = established(sendable(5));
        assert_eq!(published(&mut session, 9, |second| 5 + count(second % 2)), []);
    }

    #[test]
    fn a_state_is_published_with_the_numbers_of_its_moment() {
        let mut session = established(sendable(5));
        assert_eq!(session.status().prefixes, sendable(5));
        session.set_prefixes(sendable(6), Time::ZERO);
        let lost = ended(SessionState::Established, SessionEnd::HoldTimerExpired);
        session.handle_event(&"router".into(), lost, sendable(7));
        assert_eq!(session.status().prefixes, sendable(0));
        session.set_prefixes(sendable(8), Time::ZERO);
        assert!(!session.publish_prefixes(Time::ZERO + LONGEST_WAIT));
    }

    #[test]
    fn prefixes_that_are_not_sent_have_one_notice_for_each_reason() {
        let name: Arc<str> = "router".into();
        let unsendable = |unsendable, reason| PrefixCounts {
            unsendable,
            reason,
            ..sendable(1)
        };
        let not_negotiated = Some(PeerExclusion::FamilyNotNegotiated(Family::V6));
        let mut session = established(unsendable(3, not_negotiated));
        let notice = session.poll_prefix_notice(&name).expect("a notice");
        assert_eq!(
            notice.message,
            "BGP peer \"router\" (192.0.2.1:179) is not sent 3 prefixes: the peer did not negotiate IPv6 routes; activate the family \
             for this neighbour on the router"
        );
        let later = |seconds| Time::since_zero(Duration::from_secs(seconds));
        let mut publish = |counts, at| {
            session.set_prefixes(counts, later(at));
            assert!(session.publish_prefixes(later(at) + SETTLES_AFTER));
            session.poll_prefix_notice(&name).map(|notice| notice.reason)
        };
        assert_eq!(publish(unsendable(4, not_negotiated), 1), None);
        let other = Some(PeerExclusion::NoNextHop(Family::V6));
        assert_eq!(publish(unsendable(4, other), 10), Some("BGPRoutesNotSent"));
        assert_eq!(publish(unsendable(0, None), 20), None);
        assert_eq!(publish(unsendable(4, other), 30), Some("BGPRoutesNotSent"));
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
            session.handle_event(&"router".into(), refused, PrefixCounts::default());
            let error = session.status().last_error.expect("an error");
            assert_eq!(
                error,
                "no connection to the peer could be made: connection refused"
            );
        }
    }

    #[test]
    fn a_kernel_without_tcp_md5_is_named_with_its_option_at_once() {
        let mut session = session(Some("key"));
        let unsupported = PeerEvent::Ended {
            state: SessionState::Connect,
            end: SessionEnd::NotConnected,
            cause: Some(DialError::Md5Unsupported),
        };
        let notice = text(&mut session, unsupported).expect("a notice");
        let error = session.status().last_error.expect("an error");
        for text in [notice, error] {
            let option = "this kernel does not support TCP MD5 (CONFIG_TCP_MD5SIG), which the password needs";
            assert!(text.ends_with(option), "{text}");
        }
    }
}
