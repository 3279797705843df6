//! One round of announcements of one address, on each of its links in turn.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Purpose, Transmission};
use crate::link::LinkTable;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ndp::{ALL_NODES, Advertisement};
use crate::{LinkIndex, MacAddr};

/// Some hosts learn from gratuitous requests, others from gratuitous replies, so both are sent.
const ARP_FORMS: [Operation; 2] = [Operation::Request, Operation::Reply];

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) address: IpAddr,
    /// The highest link done so far. It stays valid when links come and go during a paced round.
    done: Option<LinkIndex>,
    /// How many of [`ARP_FORMS`] were sent on the next link.
    forms: usize,
}

impl Round {
    pub(super) const fn new(address: IpAddr) -> Self {
        Self {
            address,
            done: None,
            forms: 0,
        }
    }

    /// Writes the next frame of the round; `None` when it is over. `answering` are the links that answer for the
    /// address, ascending.
    pub(super) fn next(
        &mut self,
        answering: &[LinkIndex],
        links: &LinkTable,
        frame: &mut [u8],
    ) -> Option<Transmission> {
        let next = answering.iter().find(|index| Some(**index) > self.done)?;
        let link = links.get(*next)?;
        let length = match self.address {
            IpAddr::V4(address) => {
                let length = gratuitous(address, link.mac, ARP_FORMS[self.forms], frame);
                self.forms += 1;
                length
            }
            IpAddr::V6(address) => {
                self.forms = ARP_FORMS.len();
                unsolicited(address, link.mac, frame)
            }
        };
        if self.forms == ARP_FORMS.len() {
            self.forms = 0;
            self.done = Some(link.index);
        }
        Some(Transmission {
            link: link.index,
            address: self.address,
            length,
            purpose: Purpose::Announcement,
        })
    }
}

/// The target hardware address is all ones as MetalLB sends it; receivers ignore it in both forms (RFC 826, RFC 5227).
fn gratuitous(address: Ipv4Addr, mac: MacAddr, operation: Operation, frame: &mut [u8]) -> usize {
    let arp = Arp {
        operation,
        sender_mac: mac,
        sender_ip: address,
        target_mac: MacAddr::BROADCAST,
        target_ip: address,
    };
    arp.emit(MacAddr::BROADCAST, mac, frame)
}

/// RFC 4861 section 7.2.6: to all nodes, not solicited, with Override, so that caches change.
fn unsolicited(address: Ipv6Addr, mac: MacAddr, frame: &mut [u8]) -> usize {
    let advertisement = Advertisement {
        source: address,
        destination: ALL_NODES,
        router: false,
        solicited: false,
        overriding: true,
        target: address,
        link_address: Some(mac),
    };
    advertisement.emit(MacAddr::multicast(ALL_NODES), mac, frame)
}
