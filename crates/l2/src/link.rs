//! Links, and which of them answer for an address.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::MacAddr;

/// A network interface that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, the one that is announced.
    pub mac: MacAddr,
    /// The subnets that it is in.
    pub prefixes: Vec<Prefix>,
    /// Whether IPv4 addresses can be announced on it.
    pub arp: bool,
    /// Whether IPv6 addresses can be announced on it.
    pub ndp: bool,
}

impl Link {
    /// Whether addresses of this family can be announced here.
    pub const fn resolves(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.arp,
            IpAddr::V6(_) => self.ndp,
        }
    }

    /// The length of the longest prefix that has `address`.
    fn match_length(&self, address: IpAddr) -> Option<u8> {
        let covering = self.prefixes.iter().filter(|p| p.contains(address));
        covering.map(|p| p.length).max()
    }
}

/// A subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Any address in it.
    pub address: IpAddr,
    /// How many leading bits all its addresses share.
    pub length: u8,
}

impl Prefix {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The indices of the links that answer for `address`, ascending.
///
/// With `interfaces`, those named. Without, the one whose subnet has the address: the longest prefix wins as in
/// routing, then the lowest index, so that two interfaces on one segment never show two Ethernet addresses.
/// When no subnet has the address every link answers, since there is no telling where the clients are.
pub fn select<'a>(
    address: IpAddr,
    interfaces: Option<&BTreeSet<String>>,
    links: impl Iterator<Item = &'a Link>,
) -> Vec<u32> {
    let able = links.filter(|link| link.resolves(address));
    let mut selected: Vec<&Link> = match interfaces {
        Some(names) => able.filter(|link| names.contains(&link.name)).collect(),
        None => able.collect(),
    };
    if interfaces.is_none() {
        let best = selected
            .iter()
            .filter_map(|link| Some((link.match_length(address)?, core::cmp::Reverse(link.index))))
            .max();
        if let Some((_, index)) = best {
            selected.retain(|link| link.index == index.0);
        }
    }
    let mut indices: Vec<u32> = selected.iter().map(|link| link.index).collect();
    indices.sort_unstable();
    indices
}
