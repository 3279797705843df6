//! Frames that were received, and what they show of who has an address.

use core::net::IpAddr;

use crate::MacAddr;
use crate::link::LinkTable;
use crate::wire::Malformed;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::{EtherType, Frame};
use crate::wire::ndp::Ndp;

/// A frame that carries address resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    pub(crate) message: Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Arp(Arp),
    Ndp(Ndp),
}

/// A machine, by its Ethernet address, and what it has to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// It has the address.
    Has(IpAddr, MacAddr),
    /// It finds out whether it may take the address.
    Wants(IpAddr, MacAddr),
}

impl Received {
    /// Takes a frame apart; `None` if it carries something else.
    pub(crate) fn parse(frame: &[u8]) -> Result<Option<Self>, Malformed> {
        let frame = Frame::parse(frame)?;
        if !frame.source.is_station() {
            return Err(Malformed::Source);
        }
        let message = match frame.ether_type {
            EtherType::Arp => Message::Arp(Arp::parse(frame.payload)?),
            EtherType::Ipv6 => Message::Ndp(Ndp::parse(frame.payload)?),
            EtherType::Other(_) => return Ok(None),
        };
        Ok(Some(Self {
            source: frame.source,
            destination: frame.destination,
            message,
        }))
    }

    /// What it shows. Whom it is sent to makes no difference to that.
    pub(crate) fn sighting(&self) -> Option<Sighting> {
        match &self.message {
            Message::Arp(arp) => sighting_in_arp(arp),
            Message::Ndp(ndp) => sighting_in_ndp(ndp, self.source),
        }
    }

    /// Whether it shows another machine than one of ours at `mac`.
    pub(crate) fn is_of_another(&self, mac: MacAddr, links: &LinkTable) -> bool {
        mac.is_station() && !links.is_own(mac) && !links.is_own(self.source)
    }
}

/// RFC 5227 §2.1.1: whoever puts an address into the sender's place of any packet has it, be it a request, and whoever
/// asks without one probes for the target.
fn sighting_in_arp(arp: &Arp) -> Option<Sighting> {
    if !arp.sender_ip.is_unspecified() {
        return Some(Sighting::Has(arp.sender_ip.into(), arp.sender_mac));
    }
    let is_probe = arp.operation == Operation::Request;
    is_probe.then(|| Sighting::Wants(arp.target_ip.into(), arp.sender_mac))
}

/// RFC 4862 §5.4.3 and §5.4.4. Without an option the frame's source says who advertises.
fn sighting_in_ndp(ndp: &Ndp, source: MacAddr) -> Option<Sighting> {
    match ndp {
        Ndp::Advertisement(advertisement) => {
            let mac = advertisement.link_address.unwrap_or(source);
            Some(Sighting::Has(advertisement.target.into(), mac))
        }
        Ndp::Solicitation(solicitation) if solicitation.source.is_unspecified() => {
            Some(Sighting::Wants(solicitation.target.into(), source))
        }
        Ndp::Solicitation(_) => None,
    }
}
