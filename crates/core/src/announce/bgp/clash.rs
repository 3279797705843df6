//! Prefixes that Services share and whose advertisements contradict each other. Such a route has the highest LOCAL_PREF.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{BgpRoutes, DEFAULT_LOCAL_PREF};
use crate::announce::facts::Facts;
use crate::config::bgp::{BgpAdvertisement, BgpPeer};
use crate::{Prefix, ServiceKey};

/// The most Services of each advertisement that are named: an aggregate may have thousands.
const MOST_SERVICES: usize = 4;

/// Two advertisements with different LOCAL_PREFs for one prefix at one peer, each for other Services that share the prefix. Two
/// advertisements that contradict each other for one Service are a [`RouteExclusion`](super::RouteExclusion).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPrefClash {
    /// The prefix.
    pub prefix: Prefix,
    /// The name of the advertisement whose LOCAL_PREF the route has, and that LOCAL_PREF.
    pub used: (String, u32),
    /// The name of another one, and its LOCAL_PREF.
    pub unused: (String, u32),
    /// Services that have the prefix by one of the two, four of each at most.
    pub services: Vec<ServiceKey>,
}

impl fmt::Display for LocalPrefClash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prefix { address, length } = self.prefix;
        let ((used, most), (unused, less)) = (&self.used, &self.unused);
        write!(
            f,
            "{address}/{length}: the BGPAdvertisements {used:?} and {unused:?} of Services that share this prefix have different \
             localPref, {most} and {less}; the route has {most}. Give both the same localPref, or the Services different addresses"
        )
    }
}

/// The places of two advertisements that clash; the first has the higher LOCAL_PREF.
type Pair = (usize, usize);

/// The prefixes whose advertisements clash.
#[derive(Debug, Default)]
pub(super) struct Clashes {
    /// Those that were returned last, with the names of the advertisements and their LOCAL_PREF.
    reported: BTreeMap<Prefix, [(String, u32); 2]>,
    /// The prefixes that may clash in another way.
    stale: BTreeSet<Prefix>,
}

impl Clashes {
    /// Takes that a prefix has these many advertisements from now on.
    pub(super) fn mark(&mut self, prefix: Prefix, advertisements: usize) {
        if advertisements > 1 || self.reported.contains_key(&prefix) {
            self.stale.insert(prefix);
        }
    }

    /// Takes that advertisements or peers are others.
    pub(super) fn mark_all(&mut self) {
        self.stale.extend(self.reported.keys().copied());
    }
}

impl BgpRoutes {
    /// Returns the next prefix whose advertisements clash, and did not when it was returned before.
    pub fn poll_clash(&mut self, facts: &Facts) -> Option<LocalPrefClash> {
        loop {
            let prefix = self.clashes.stale.pop_first()?;
            let Some((used, unused)) = self.clash(prefix) else {
                self.clashes.reported.remove(&prefix);
                continue;
            };
            let [high, low] = [used, unused].map(|place| &self.advertisements[place]);
            let pair = [high, low].map(|one| (one.name.clone(), preference(one)));
            if self.clashes.reported.get(&prefix) == Some(&pair) {
                continue;
            }
            self.clashes.reported.insert(prefix, pair.clone());
            let [high, low] = pair;
            return Some(LocalPrefClash {
                prefix,
                used: high,
                unused: low,
                services: self.services_behind(facts, prefix, [used, unused]),
            });
        }
    }

    /// Returns the advertisements with the highest and the lowest LOCAL_PREF of the first peer at which a prefix has different ones.
    fn clash(&self, prefix: Prefix) -> Option<Pair> {
        let places = self.prefixes.get(&prefix).filter(|places| places.len() > 1)?;
        let at = |peer: &BgpPeer| {
            let sent = places.iter().map(|(place, _)| *place);
            let sent = sent.filter(|place| self.is_wanted(peer, prefix, *place));
            let of = |place: &usize| &self.advertisements[*place];
            // Of those with the same LOCAL_PREF always the same one, by name.
            let rank = |place: &usize| (preference(of(place)), of(place).name.as_str());
            let high = sent.clone().max_by_key(rank)?;
            let low = sent.min_by_key(rank)?;
            (preference(of(&high)) != preference(of(&low))).then_some((high, low))
        };
        self.peers.running().values().find_map(at)
    }

    fn services_behind(&self, facts: &Facts, prefix: Prefix, places: [usize; 2]) -> Vec<ServiceKey> {
        let mut found = [BTreeSet::new(), BTreeSet::new()];
        let addresses = facts.addresses_from(prefix.address);
        for address in addresses.take_while(|address| prefix.contains(*address)) {
            for service in facts.sharers(address) {
                let routes = self.services.get(service).map_or(&[][..], Vec::as_slice);
                for (place, services) in places.iter().zip(&mut found) {
                    let has_it =
                        services.len() < MOST_SERVICES && routes.binary_search(&(prefix, *place)).is_ok();
                    if has_it {
                        services.insert(service.clone());
                    }
                }
            }
            if found.iter().all(|services| services.len() == MOST_SERVICES) {
                break;
            }
        }
        let [mut services, others] = found;
        services.extend(others);
        services.into_iter().collect()
    }
}

fn preference(advertisement: &BgpAdvertisement) -> u32 {
    advertisement.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)
}
