//! What a frame shows of who has an address.

use core::net::IpAddr;

use crate::MacAddr;
use crate::link::Links;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::{Frame, Protocol};
use crate::wire::ndp::Ndp;

/// A machine, by its Ethernet address, and what it has to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// It has the address.
    Has(IpAddr, MacAddr),
    /// It finds out whether it may take the address.
    Wants(IpAddr, MacAddr),
}

impl Sighting {
    /// What a frame shows of others than `links`. Whom it is sent to makes no difference to that.
    pub(crate) fn of(frame: &[u8], links: &Links) -> Option<Self> {
        let frame = Frame::parse(frame).ok()?;
        let sighting = match frame.protocol {
            Protocol::Arp => Self::of_arp(&Arp::parse(frame.payload).ok()?)?,
            Protocol::Ipv6 => Self::of_ndp(&Ndp::parse(frame.payload).ok()?, frame.source)?,
            Protocol::Other(_) => return None,
        };
        let (Self::Has(_, mac) | Self::Wants(_, mac)) = sighting;
        let is_other = |mac: MacAddr| mac.is_station() && !links.is_own(mac);
        (is_other(frame.source) && is_other(mac)).then_some(sighting)
    }

    /// RFC 5227 §2.1.1: whoever puts an address into the sender's place of any packet has it, be it a request, and
    /// whoever asks without one probes for the target.
    fn of_arp(arp: &Arp) -> Option<Self> {
        if !arp.sender_ip.is_unspecified() {
            return Some(Self::Has(arp.sender_ip.into(), arp.sender_mac));
        }
        let is_probe = arp.operation == Operation::Request;
        is_probe.then(|| Self::Wants(arp.target_ip.into(), arp.sender_mac))
    }

    /// RFC 4862 §5.4.3 and §5.4.4. Without an option the frame's source says who advertises.
    fn of_ndp(ndp: &Ndp, source: MacAddr) -> Option<Self> {
        match ndp {
            Ndp::Advertisement(advertisement) => {
                let mac = advertisement.link_address.unwrap_or(source);
                Some(Self::Has(advertisement.target.into(), mac))
            }
            Ndp::Solicitation(solicitation) if solicitation.source.is_unspecified() => {
                Some(Self::Wants(solicitation.target.into(), source))
            }
            Ndp::Solicitation(_) => None,
        }
    }
}
