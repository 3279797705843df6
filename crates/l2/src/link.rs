//! Links, and the links that answer for an address.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use herald_core::Prefix;

use crate::MacAddr;

/// Index of a link: the kernel's index of the network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

impl fmt::Display for LinkIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A network interface that can carry announcements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index of the interface in the kernel.
    pub index: LinkIndex,
    /// Name of the interface.
    pub name: String,
    /// MAC address of the interface, which is announced.
    pub mac: MacAddr,
    /// Subnets of its addresses, and of the routes on it that have no gateway.
    pub prefixes: Vec<Prefix>,
    /// Whether IPv4 addresses can be announced on the link.
    pub arp: bool,
    /// Whether IPv6 addresses can be announced on the link.
    pub ndp: bool,
}

impl Link {
    /// Whether addresses of the family of `address` can be announced on the link.
    pub const fn resolves(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.arp,
            IpAddr::V6(_) => self.ndp,
        }
    }

    /// Returns the length of the longest prefix that contains `address`.
    fn match_length(&self, address: IpAddr) -> Option<u8> {
        let covering = self.prefixes.iter().filter(|p| p.contains(address));
        covering.map(|p| p.length).max()
    }
}

/// Returns the indices of the links that answer for `address`, ascending.
///
/// With `interfaces`, these are the named links. Without, it is the link whose subnet contains the address: the longest
/// prefix wins as in routing, then the lowest index, so that two interfaces on one segment never show two MAC addresses.
/// When no subnet contains the address every link answers, because it is unknown where the clients are.
pub fn select<'a>(
    address: IpAddr,
    interfaces: Option<&BTreeSet<String>>,
    links: impl Iterator<Item = &'a Link>,
) -> Vec<LinkIndex> {
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
    let mut indices: Vec<LinkIndex> = selected.iter().map(|link| link.index).collect();
    indices.sort_unstable();
    indices
}

/// The links that can be used now.
#[derive(Debug)]
pub(crate) struct LinkTable {
    by_index: BTreeMap<LinkIndex, Link>,
    macs: BTreeSet<MacAddr>,
}

impl LinkTable {
    pub(crate) const fn new() -> Self {
        Self {
            by_index: BTreeMap::new(),
            macs: BTreeSet::new(),
        }
    }

    /// Replaces the links, and returns the indices of those that are new or have another MAC address.
    pub(crate) fn replace(&mut self, links: Vec<Link>) -> BTreeSet<LinkIndex> {
        let known = |link: &&Link| self.get(link.index).map(|before| before.mac) == Some(link.mac);
        let renewed = links.iter().filter(|link| !known(link)).map(|link| link.index);
        let renewed = renewed.collect();
        self.macs = links.iter().map(|link| link.mac).collect();
        self.by_index = links.into_iter().map(|link| (link.index, link)).collect();
        renewed
    }

    pub(crate) fn get(&self, index: LinkIndex) -> Option<&Link> {
        self.by_index.get(&index)
    }

    /// Calls [`select`] with these links.
    pub(crate) fn select(&self, address: IpAddr, interfaces: Option<&BTreeSet<String>>) -> Vec<LinkIndex> {
        select(address, interfaces, self.by_index.values())
    }

    /// Whether a link has this MAC address. A frame from it is our own, also when it arrives on another link.
    pub(crate) fn is_own(&self, mac: MacAddr) -> bool {
        self.macs.contains(&mac)
    }
}
