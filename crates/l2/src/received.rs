//! A received frame, parsed once for all machines of a station.

use core::net::IpAddr;

use crate::link::LinkTable;
use crate::wire::Malformed;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::{EtherType, Frame};
use crate::wire::ndp::Ndp;
use crate::{Ignored, MacAddr};

/// A frame that carries address resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedFrame {
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    pub(crate) message: Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Arp(Arp),
    Ndp(Ndp),
}

/// What a frame shows of another machine and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// The machine has the address.
    Claims(IpAddr, MacAddr),
    /// The machine probes for the address.
    Probes(IpAddr, MacAddr),
}

impl ReceivedFrame {
    /// Parses a frame.
    ///
    /// # Errors
    /// [`Ignored::NotARequest`] when the frame carries another protocol, [`Ignored::Malformed`] when an RFC says to
    /// discard it.
    pub fn parse(frame: &[u8]) -> Result<Self, Ignored> {
        let frame = Frame::parse(frame)?;
        if !frame.source.is_station() {
            return Err(Malformed::Source.into());
        }
        let message = match frame.ether_type {
            EtherType::Arp => Message::Arp(Arp::parse(frame.payload)?),
            EtherType::Ipv6 => Message::Ndp(Ndp::parse(frame.payload)?),
            EtherType::Other(_) => return Err(Ignored::NotARequest),
        };
        Ok(Self {
            source: frame.source,
            destination: frame.destination,
            message,
        })
    }

    /// Returns what the frame shows. The frame's destination makes no difference to that.
    pub(crate) fn sighting(&self) -> Option<Sighting> {
        match &self.message {
            Message::Arp(arp) => sighting_in_arp(arp),
            Message::Ndp(ndp) => sighting_in_ndp(ndp, self.source),
        }
    }

    /// Returns the address and the machine that the frame names as an answer: an ARP reply or a neighbour advertisement.
    pub(crate) fn reply(&self) -> Option<(IpAddr, MacAddr)> {
        let is_reply = match &self.message {
            Message::Arp(arp) => arp.operation == Operation::Reply,
            Message::Ndp(ndp) => matches!(ndp, Ndp::Advertisement(_)),
        };
        match self.sighting().filter(|_| is_reply)? {
            Sighting::Claims(address, mac) => Some((address, mac)),
            Sighting::Probes(..) => None,
        }
    }

    /// Whether the frame shows another machine at `mac`, and not one of our own links.
    pub(crate) fn is_of_another(&self, mac: MacAddr, links: &LinkTable) -> bool {
        mac.is_station() && !links.is_own(mac) && !links.is_own(self.source)
    }
}

/// RFC 5227 section 2.1.1: the sender of any packet, also of a request, has the address in its sender field. A request
/// without a sender address is a probe for the target.
fn sighting_in_arp(arp: &Arp) -> Option<Sighting> {
    if !arp.sender_ip.is_unspecified() {
        return Some(Sighting::Claims(arp.sender_ip.into(), arp.sender_mac));
    }
    let is_probe = arp.operation == Operation::Request;
    is_probe.then(|| Sighting::Probes(arp.target_ip.into(), arp.sender_mac))
}

/// RFC 4862 sections 5.4.3 and 5.4.4. Without an option the frame's source is the advertising machine.
fn sighting_in_ndp(ndp: &Ndp, source: MacAddr) -> Option<Sighting> {
    match ndp {
        Ndp::Advertisement(advertisement) => {
            let mac = advertisement.link_address.unwrap_or(source);
            Some(Sighting::Claims(advertisement.target.into(), mac))
        }
        Ndp::Solicitation(solicitation) if solicitation.source.is_unspecified() => {
            Some(Sighting::Probes(solicitation.target.into(), source))
        }
        Ndp::Solicitation(_) => None,
    }
}
