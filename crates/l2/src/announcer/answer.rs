//! Whether a frame asks for an active address, and the answer.

use core::net::IpAddr;

use crate::received::{Message, ReceivedFrame};
use crate::wire::Malformed;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ndp::{ALL_NODES, Advertisement, Ndp, Solicitation};
use crate::{Link, MacAddr};

/// An answer that was written to a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The address that was asked for.
    pub address: IpAddr,
    /// Length of the answer in the buffer.
    pub length: usize,
}

/// Why a frame is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Ignored {
    /// The frame was received on a link that is not used (any more).
    #[error("received on an unused link")]
    UnknownLink,
    /// The frame is our own, looped back by the network.
    #[error("our own frame")]
    Own,
    /// The frame is sent to another station.
    #[error("sent to another station")]
    OtherStation,
    /// The frame is neither an ARP request nor a neighbour solicitation.
    #[error("not a request")]
    NotARequest,
    /// The address is not active.
    #[error("asks for an address that is not announced")]
    NotOurs,
    /// The address is active, but other links answer for it.
    #[error("asks for an address that is announced on other links")]
    OtherLink,
    /// The answer would go to all nodes, and too many such answers were sent lately.
    #[error("too many probes at a time")]
    TooMany,
    /// The frame cannot be parsed, or an RFC says to discard it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Ignored {
    /// All reasons in the order of [`Ignored::index`]; [`Malformed`] counts as one reason.
    pub const ALL: [Self; 8] = [
        Self::UnknownLink,
        Self::Own,
        Self::OtherStation,
        Self::NotARequest,
        Self::NotOurs,
        Self::OtherLink,
        Self::TooMany,
        Self::Malformed(Malformed::Truncated),
    ];

    /// Returns the position of the reason in [`Ignored::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::UnknownLink => 0,
            Self::Own => 1,
            Self::OtherStation => 2,
            Self::NotARequest => 3,
            Self::NotOurs => 4,
            Self::OtherLink => 5,
            Self::TooMany => 6,
            Self::Malformed(_) => 7,
        }
    }

    /// Returns the reason as a metric label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownLink => "unknown_link",
            Self::Own => "own",
            Self::OtherStation => "other_station",
            Self::NotARequest => "not_a_request",
            Self::NotOurs => "not_ours",
            Self::OtherLink => "other_link",
            Self::TooMany => "too_many",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Answers a frame that was received on `link` if it asks for an address that `answers` accepts. An answer to all nodes
/// is sent only if `allowed` accepts, too.
pub(super) fn answer(
    link: &Link,
    received: &ReceivedFrame,
    answers: impl FnOnce(IpAddr) -> Result<(), Ignored>,
    allowed: impl FnOnce() -> Result<(), Ignored>,
    reply: &mut [u8],
) -> Result<Answer, Ignored> {
    if received.source == link.mac {
        return Err(Ignored::Own);
    }
    match &received.message {
        Message::Arp(arp) if link.arp => answer_arp(link, received.destination, arp, answers, reply),
        Message::Ndp(ndp) if link.ndp => answer_ndp(link, received, ndp, answers, allowed, reply),
        Message::Arp(_) | Message::Ndp(_) => Err(Ignored::NotARequest),
    }
}

/// Only the target decides: probes from 0.0.0.0 (RFC 5227 section 2.1.1) and announcements of the address by other
/// hosts are answered, too, so that a host that is about to use the address learns that it is taken.
fn answer_arp(
    link: &Link,
    destination: MacAddr,
    request: &Arp,
    answers: impl FnOnce(IpAddr) -> Result<(), Ignored>,
    reply: &mut [u8],
) -> Result<Answer, Ignored> {
    if destination != MacAddr::BROADCAST && destination != link.mac {
        return Err(Ignored::OtherStation);
    }
    if request.operation != Operation::Request {
        return Err(Ignored::NotARequest);
    }
    if request.sender_mac == link.mac {
        return Err(Ignored::Own);
    }
    if !request.sender_mac.is_station() {
        // This node would send the answer to a group, and so to the whole segment.
        return Err(Malformed::Arp.into());
    }
    let address = IpAddr::V4(request.target_ip);
    answers(address)?;
    // RFC 826: swap sender and target, and fill in the address that was asked for.
    let arp = Arp {
        operation: Operation::Reply,
        sender_mac: link.mac,
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
    };
    let length = arp.emit(request.sender_mac, link.mac, reply);
    Ok(Answer { address, length })
}

fn answer_ndp(
    link: &Link,
    received: &ReceivedFrame,
    ndp: &Ndp,
    answers: impl FnOnce(IpAddr) -> Result<(), Ignored>,
    allowed: impl FnOnce() -> Result<(), Ignored>,
    reply: &mut [u8],
) -> Result<Answer, Ignored> {
    let multicast = received.destination.is_multicast();
    if !multicast && received.destination != link.mac {
        return Err(Ignored::OtherStation);
    }
    let Ndp::Solicitation(solicitation) = ndp else {
        return Err(Ignored::NotARequest);
    };
    let address = IpAddr::V6(solicitation.target);
    answers(address)?;
    let asker = asker(solicitation, received.source, multicast)?;
    if asker == link.mac {
        return Err(Ignored::Own);
    }
    if asker.is_multicast() {
        allowed()?;
    }
    let advertisement = advertisement(link.mac, solicitation);
    let length = advertisement.emit(asker, link.mac, reply);
    Ok(Answer { address, length })
}

/// Returns where the answer is sent. A unicast solicitation may leave its option out (RFC 4861 section 4.3); the source
/// of the frame is the sender then. A multicast solicitation may not. A probe must be sent to a group (RFC 4862 section
/// 5.4.2), and only then the answer goes to all nodes: with a unicast probe a host could make this node flood the
/// segment.
fn asker(solicitation: &Solicitation, sender: MacAddr, multicast: bool) -> Result<MacAddr, Malformed> {
    if solicitation.source.is_unspecified() {
        return if multicast {
            Ok(MacAddr::multicast(ALL_NODES))
        } else {
            Err(Malformed::Invalid)
        };
    }
    match solicitation.link_address {
        Some(mac) if mac.is_station() => Ok(mac),
        Some(_) => Err(Malformed::Invalid),
        None if multicast => Err(Malformed::Invalid),
        None => Ok(sender),
    }
}

/// RFC 4861 section 7.2.4. The answer to a probe (RFC 4862 section 5.4.3) goes to all nodes and is not solicited,
/// because the sender has no address yet.
///
/// Override is set. MetalLB clears it in answers, but the RFC clears it for proxies and anycast addresses only, and this
/// node is the only owner of the address. Without it a cache that has the previous owner would keep that entry.
///
/// The source is the address itself, as of a host that has it configured: some tools (ndisc6) and address guards of
/// switches accept no other source.
const fn advertisement(mac: MacAddr, solicitation: &Solicitation) -> Advertisement {
    let probe = solicitation.source.is_unspecified();
    Advertisement {
        source: solicitation.target,
        destination: if probe { ALL_NODES } else { solicitation.source },
        router: false,
        solicited: !probe,
        overriding: true,
        target: solicitation.target,
        link_address: Some(mac),
    }
}
