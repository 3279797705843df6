//! Whether a frame asks for an address that is held here, and what is answered.

use core::net::IpAddr;

use crate::received::{Message, Received};
use crate::wire::Malformed;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ndp::{ALL_NODES, Advertisement, Ndp, Solicitation};
use crate::{Link, MacAddr};

/// An answer was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The address that was asked for.
    pub address: IpAddr,
    /// The answer's length in the buffer.
    pub length: usize,
}

/// Why a frame is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Ignored {
    /// It came in on a link that is not used (any more).
    #[error("received on an unused link")]
    UnknownLink,
    /// It is our own, looped back by the network.
    #[error("our own frame")]
    Own,
    /// It is sent to another station.
    #[error("sent to another station")]
    OtherStation,
    /// It is neither an ARP request nor a neighbour solicitation.
    #[error("not a request")]
    NotARequest,
    /// The address is not held here.
    #[error("asks for an address that is not announced")]
    NotOurs,
    /// The address is held, but other links answer for it.
    #[error("asks for an address that is announced on other links")]
    OtherLink,
    /// It would be answered to everybody, and that has been done too often lately.
    #[error("too many probes at a time")]
    TooMany,
    /// It cannot be understood, or an RFC tells to discard it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Ignored {
    /// One of each, in the order of [`Ignored::index`]; [`Malformed`] counts as one reason.
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

    /// Where the reason stands in [`Ignored::ALL`].
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

    /// The reason as a metric label.
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

/// Answers what came in on `link` if it asks for an address that `answers` accepts. `allowed` is asked before
/// everybody is answered.
pub(super) fn answer(
    link: &Link,
    received: &Received,
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

/// Only the target decides: probes from 0.0.0.0 (RFC 5227 §2.1.1) and other hosts' own announcements of the
/// address are answered too, so that whoever is about to use it learns that it is taken.
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
        // An answer to a group would be spread by us over the whole segment.
        return Err(Malformed::Arp.into());
    }
    let address = IpAddr::V4(request.target_ip);
    answers(address)?;
    // RFC 826: swap the sides and fill in what was asked for.
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
    received: &Received,
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

/// Where the answer is sent. A unicast solicitation may leave its option out (RFC 4861 §4.3), the frame says then
/// who sent it; a multicast one may not. A probe is sent to a group (RFC 4862 §5.4.2), and only then everybody hears
/// the answer: one that comes in a frame to us alone wants us to spread what only we were told.
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

/// RFC 4861 §7.2.4. A probe (RFC 4862 §5.4.3) is answered to all nodes and not as solicited, since its sender has
/// no address yet.
///
/// Override is set, other than by MetalLB, which clears it in answers: the RFC clears it for proxies and anycast
/// addresses only, and this node is the address's one owner. Without it a cache that still has the previous owner
/// would keep him.
///
/// The source is the address itself, as a host that has it configured would use: some tools (ndisc6) and address
/// guards of switches accept nothing else.
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
