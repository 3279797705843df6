//! The reasons why a session, or an attempt at one, ended.

use alloc::string::String;
use alloc::vec::Vec;

use herald_core::Family;

use crate::wire::notification::{CeaseSubcode, ErrorCode, FsmSubcode, Notification, OpenSubcode};
use crate::wire::{AfiSafi, Asn, BgpIdentifier, Capability, MessageError, MessageType};

use super::{Negotiated, SessionState};

/// Why a session, or an attempt at one, ended. [`SessionEnd::reason`] is the word for events and metric labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// No connection could be made within the time limit, or it was refused.
    #[error("no connection to the peer could be made")]
    NotConnected,
    /// The peer or the network closed the connection without a NOTIFICATION.
    #[error("the connection was closed in state {0}")]
    ConnectionClosed(SessionState),
    /// The peer sent a NOTIFICATION.
    #[error("the peer sent the NOTIFICATION {0}")]
    Received(Notification),
    /// The peer sent a malformed message.
    #[error(transparent)]
    BadMessage(MessageError),
    /// The peer sent a message in a state that does not expect it.
    #[error("the peer sent a message that state {0} does not expect, {1:?}")]
    UnexpectedMessage(SessionState, MessageType),
    /// The peer has another AS number than configured.
    #[error("the peer has AS number {0}, which is not the expected one")]
    PeerAs(Asn),
    /// A peer of the own AS has this side's BGP identifier (RFC 6286 section 2.2).
    #[error("the peer has this speaker's BGP identifier, {0}")]
    SameIdentifier(BgpIdentifier),
    /// The peer has none of these families, which are all that are configured (RFC 5492 section 5).
    #[error("the peer carries none of the families that are configured")]
    NoCommonFamily(Vec<Family>),
    /// Nothing was heard for the hold time (RFC 4271 section 6.5).
    #[error("the peer was silent for the hold time")]
    HoldTimerExpired,
    /// The peer took nothing for the send hold time (RFC 9687).
    #[error("the peer took no data for the send hold time")]
    SendHoldTimerExpired,
    /// BFD lost the peer (RFC 9384).
    #[error("BFD lost the peer")]
    BfdDown,
    /// Another connection to the same peer survives (RFC 4271 section 6.8).
    #[error("another connection to the peer survives")]
    Collision,
    /// This side does not want the session any more.
    #[error("the session was stopped: {0}")]
    Stopped(CeaseSubcode, String),
    /// The configuration changed in a way that only a new session can follow.
    #[error("the configuration of the session changed")]
    Reconfigured,
    /// This process ends. With graceful restart the peer keeps the routes and hears nothing (RFC 4724 section 4).
    #[error("the speaker restarts")]
    Restart,
}

impl SessionEnd {
    /// Returns the value of the metric label and of the event's reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::ConnectionClosed(_) => "connection_closed",
            Self::Received(_) => "notification_received",
            Self::BadMessage(_) => "bad_message",
            Self::UnexpectedMessage(..) => "unexpected_message",
            Self::PeerAs(_) => "peer_as",
            Self::SameIdentifier(_) => "same_identifier",
            Self::NoCommonFamily(_) => "no_common_family",
            Self::HoldTimerExpired => "hold_timer_expired",
            Self::SendHoldTimerExpired => "send_hold_timer_expired",
            Self::BfdDown => "bfd_down",
            Self::Collision => "collision",
            Self::Stopped(..) => "stopped",
            Self::Reconfigured => "reconfigured",
            Self::Restart => "restart",
        }
    }

    /// Returns what the peer is told, after this was negotiated; nothing if the peer ended the session, or is not to notice.
    pub fn notification(&self, negotiated: Option<&Negotiated>) -> Option<Notification> {
        let plain = |error| Some(Notification::new(error, Vec::new()));
        let cease = |subcode| Some(Notification::cease(subcode, ""));
        match self {
            Self::NotConnected | Self::ConnectionClosed(_) | Self::Received(_) => None,
            Self::BadMessage(error) => error.notification(),
            // RFC 6608 section 4: with the type of the message.
            Self::UnexpectedMessage(state, kind) => {
                let error = ErrorCode::FiniteStateMachine(subcode(*state));
                Some(Notification::new(error, Vec::from([kind.code()])))
            }
            Self::PeerAs(_) => plain(ErrorCode::Open(OpenSubcode::BadPeerAs)),
            Self::SameIdentifier(_) => plain(ErrorCode::Open(OpenSubcode::BadBgpIdentifier)),
            Self::NoCommonFamily(families) => {
                let error = ErrorCode::Open(OpenSubcode::UnsupportedCapability);
                Some(Notification::new(error, capabilities(families)))
            }
            Self::HoldTimerExpired => plain(ErrorCode::HoldTimerExpired),
            Self::SendHoldTimerExpired => plain(ErrorCode::SendHoldTimerExpired),
            Self::BfdDown => cease(CeaseSubcode::BfdDown),
            Self::Collision => cease(CeaseSubcode::ConnectionCollision),
            // The session is wanted again at once, so a peer that does RFC 8538 may keep the routes until then.
            Self::Reconfigured => cease(CeaseSubcode::OtherConfigurationChange),
            Self::Restart if negotiated.is_some_and(|both| both.graceful_restart) => None,
            Self::Restart => cease(CeaseSubcode::AdministrativeReset),
            Self::Stopped(subcode, text) => {
                let cease = Notification::cease(*subcode, text);
                // RFC 8538 section 4: without a Hard Reset the peer would keep the routes of a session that is not wanted.
                let keeps_routes = negotiated.is_some_and(|both| both.notification_restart);
                Some(if keeps_routes {
                    cease.into_hard_reset()
                } else {
                    cease
                })
            }
        }
    }
}

const fn subcode(state: SessionState) -> FsmSubcode {
    match state {
        SessionState::OpenSent => FsmSubcode::OpenSent,
        SessionState::OpenConfirm => FsmSubcode::OpenConfirm,
        SessionState::Established => FsmSubcode::Established,
        SessionState::Idle | SessionState::Connect | SessionState::Active => FsmSubcode::Unspecific,
    }
}

/// Returns the capabilities that the peer lacks, as an OPEN has them (RFC 5492 section 5).
fn capabilities(families: &[Family]) -> Vec<u8> {
    let mut data = Vec::new();
    for family in families {
        let capability = Capability::Multiprotocol(AfiSafi::unicast(*family));
        capability.emit(&mut data).expect("four bytes fit");
    }
    data
}
