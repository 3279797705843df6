//! What this side offers in its OPEN, and what follows from the peer's.

use alloc::vec::Vec;
use core::time::Duration;

use herald_core::Family;
pub use herald_core::bgp::ExpectedAs;

use super::{SessionEnd, SessionState};
use crate::wire::{
    AfiSafi, Asn, BgpIdentifier, Capability, EXTENDED_MAX_LENGTH, HoldTime, MAX_LENGTH, Open, RestartFamily,
    UpdateFormat,
};

/// RFC 4271 section 4.4: KEEPALIVE messages are at least this far apart. The least hold time is three times as long.
pub(super) const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

/// The configuration of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// The AS number that this side shows to the peer.
    pub local_asn: Asn,
    /// The AS number that the peer may have.
    pub peer_asn: ExpectedAs,
    /// This speaker's identifier.
    pub identifier: BgpIdentifier,
    /// The hold time to propose.
    pub hold_time: HoldTime,
    /// The pause between KEEPALIVE messages: at least 1 s; at most, and without a value or with zero, a third of the hold time.
    pub keepalive: Option<Duration>,
    /// The pause between attempts; without a value it grows from 1 to 30 s.
    pub connect_retry: Option<Duration>,
    /// The families to announce routes of.
    pub families: Vec<Family>,
    /// Whether IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// Seconds for which the peer keeps routes while this speaker restarts (RFC 4724); nothing without graceful restart. With 0 the peer
    /// keeps none of this speaker's, but those that it has kept of the speaker before until End-of-RIB.
    pub restart_time: Option<u16>,
    /// Whether packets were, and will be, forwarded while this speaker restarts: the F bit (RFC 4724 section 3).
    pub forwarding: bool,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The AS number that the peer was shown.
    pub local_asn: Asn,
    /// The peer's AS number.
    pub peer_asn: Asn,
    /// The peer's identifier.
    pub peer_identifier: BgpIdentifier,
    /// The shorter of both hold times (RFC 4271 section 4.2).
    pub hold_time: HoldTime,
    /// The pause between KEEPALIVE messages; nothing if none are sent.
    pub keepalive: Option<Duration>,
    /// The families that both sides carry.
    pub families: Vec<Family>,
    /// The form of UPDATE messages.
    pub format: UpdateFormat,
    /// The peer takes IPv6 next hops of IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer marks begin and end of an answer to ROUTE-REFRESH (RFC 7313).
    pub enhanced_refresh: bool,
    /// The peer keeps routes while this speaker restarts (RFC 4724).
    pub graceful_restart: bool,
    /// It keeps them after a NOTIFICATION too, unless that is a Hard Reset (RFC 8538).
    pub notification_restart: bool,
}

impl SessionConfig {
    /// Returns the OPEN. `restarted` is whether this is the first session since the process started (RFC 4724 section 3).
    pub(super) fn open(&self, restarted: bool) -> Open {
        let families = self.families.iter().copied().map(AfiSafi::unicast);
        let mut capabilities: Vec<_> = families.clone().map(Capability::Multiprotocol).collect();
        capabilities.push(Capability::RouteRefresh);
        capabilities.push(Capability::EnhancedRouteRefresh);
        capabilities.push(Capability::ExtendedMessage);
        if self.extended_next_hop {
            let ipv6 = AfiSafi::unicast(Family::V6).afi;
            capabilities.push(Capability::ExtendedNextHop(Vec::from([(
                AfiSafi::unicast(Family::V4),
                ipv6,
            )])));
        }
        if let Some(time) = self.restart_time {
            let forwarding = self.forwarding;
            capabilities.push(Capability::GracefulRestart {
                restarted,
                notification: time > 0,
                time,
                families: families
                    .map(|family| RestartFamily { family, forwarding })
                    .collect(),
            });
        }
        Open::new(self.local_asn, self.hold_time, self.identifier, capabilities)
    }

    /// Returns what follows from the peer's OPEN (RFC 4271 section 6.2).
    pub(super) fn negotiate(&self, open: &Open) -> Result<Negotiated, SessionEnd> {
        let peer_asn = open.asn();
        let internal = peer_asn == self.local_asn;
        if !self.expects(peer_asn) {
            return Err(SessionEnd::PeerAs(peer_asn));
        }
        // RFC 6286 section 2.2: identifiers have to differ only within an AS.
        if internal && open.identifier == self.identifier {
            return Err(SessionEnd::SameIdentifier(open.identifier));
        }
        let has = |wanted: &Capability| open.capabilities.contains(wanted);
        let names_families = open
            .capabilities
            .iter()
            .any(|capability| matches!(capability, Capability::Multiprotocol(_)));
        // RFC 4760 section 8: a peer without the capability carries IPv4.
        let carries = |family: &Family| {
            (*family == Family::V4 && !names_families)
                || has(&Capability::Multiprotocol(AfiSafi::unicast(*family)))
        };
        let families: Vec<_> = self.families.iter().copied().filter(carries).collect();
        if families.is_empty() {
            return Err(SessionEnd::NoCommonFamily(self.families.clone()));
        }
        let hold_time = self.hold_time.min(open.hold_time);
        Ok(Negotiated {
            local_asn: self.local_asn,
            peer_asn,
            peer_identifier: open.identifier,
            hold_time,
            keepalive: self.keepalive_within(hold_time),
            families,
            format: UpdateFormat {
                four_octet_as: open.four_octet_as().is_some(),
                max_length: if has(&Capability::ExtendedMessage) {
                    EXTENDED_MAX_LENGTH
                } else {
                    MAX_LENGTH
                },
                internal,
            },
            extended_next_hop: self.extended_next_hop && takes_ipv6_next_hops(open),
            enhanced_refresh: has(&Capability::EnhancedRouteRefresh),
            graceful_restart: self.can_restart() && helps_restart(open, false),
            notification_restart: self.can_restart() && helps_restart(open, true),
        })
    }

    /// Returns whether the peer is asked to keep routes while this speaker restarts.
    fn can_restart(&self) -> bool {
        self.restart_time.is_some_and(|time| time > 0)
    }

    /// Returns whether the peer may have this AS number.
    pub(super) fn expects(&self, peer_asn: Asn) -> bool {
        let is_expected = match self.peer_asn {
            ExpectedAs::Exactly(asn) => peer_asn == asn,
            ExpectedAs::Internal(own) => peer_asn == own,
            ExpectedAs::External(own) => peer_asn != own,
        };
        // RFC 7607: AS 0 is no AS.
        is_expected && peer_asn != Asn(0)
    }

    /// Returns the pause between KEEPALIVE messages of a session with this hold time.
    pub(super) fn keepalive_within(&self, hold_time: HoldTime) -> Option<Duration> {
        let third = hold_time.duration()? / 3;
        let wanted = self.keepalive.filter(|pause| !pause.is_zero());
        Some(wanted.unwrap_or(third).clamp(LEAST_KEEPALIVE, third))
    }
}

fn takes_ipv6_next_hops(open: &Open) -> bool {
    let encoding = (AfiSafi::unicast(Family::V4), AfiSafi::unicast(Family::V6).afi);
    open.capabilities.iter().any(|capability| {
        matches!(capability, Capability::ExtendedNextHop(encodings) if encodings.contains(&encoding))
    })
}

/// Returns whether the peer does graceful restart, and if asked for, after a NOTIFICATION too.
fn helps_restart(open: &Open, after_notification: bool) -> bool {
    open.capabilities.iter().any(|capability| {
        matches!(capability, Capability::GracefulRestart { notification, .. } if *notification || !after_notification)
    })
}

/// Which of two connections between the same speakers survives (RFC 4271 section 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivor {
    /// The connection that this side dialled.
    Dialled,
    /// The connection that the peer dialled.
    Accepted,
}

/// Returns the survivor of two connections whose sessions have these states: the one that is established already, or else the
/// one of the side with the higher identifier, and with equal ones that of the side with the higher AS number (RFC 6286
/// section 2.3).
pub fn survivor(
    dialled: SessionState,
    accepted: SessionState,
    local: (BgpIdentifier, Asn),
    peer: (BgpIdentifier, Asn),
) -> Survivor {
    let is_established = |state| state == SessionState::Established;
    if is_established(dialled) != is_established(accepted) {
        if is_established(dialled) {
            Survivor::Dialled
        } else {
            Survivor::Accepted
        }
    } else if local > peer {
        Survivor::Dialled
    } else {
        Survivor::Accepted
    }
}
