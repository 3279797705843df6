//! The addresses that a Service had when it was deleted or lost or left them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use core::net::IpAddr;

use hashbrown::HashMap;

use crate::{Addresses, Family, ServiceKey};

/// The most Services in the record; when there are more, the oldest entry is forgotten. This is enough to delete and apply
/// again all Services of a large cluster, and needs some ten megabytes.
const CAPACITY: usize = 65_536;

/// Addresses that Services had last. A Service gets them back if they are still free.
///
/// An address is recorded for the Service that had it last, or for all Services that shared it last. Of one Service the
/// record has one address of each family at most.
#[derive(Debug, Clone, Default)]
pub(super) struct PastAssignments {
    /// Addresses by Service, the last ones first, with the number of the entry.
    services: HashMap<ServiceKey, (u64, Addresses)>,
    addresses: BTreeMap<IpAddr, PastHolders>,
    /// Services by number of the entry: the oldest entry is the first.
    by_number: BTreeMap<u64, ServiceKey>,
    last_number: u64,
}

/// The Services that had an address last.
#[derive(Debug, Clone)]
struct PastHolders {
    sharing: String,
    services: BTreeSet<ServiceKey>,
}

impl PastAssignments {
    /// Records that `key` had `addresses`, shared under the key `sharing` if that is not empty. An address of another family
    /// that it had before stays in the record.
    pub(super) fn remember(&mut self, key: &ServiceKey, sharing: &str, addresses: &[IpAddr]) {
        for address in addresses {
            self.supersede(*address, sharing);
            if let Some(older) = self.last_of_family(key, Family::of(*address)) {
                self.forget_address(key, older);
            }
            let holders = self.addresses.entry(*address).or_insert_with(|| PastHolders {
                sharing: sharing.to_string(),
                services: BTreeSet::new(),
            });
            holders.services.insert(key.clone());
        }
        let mut left = Addresses::from(addresses);
        if let Some((number, older)) = self.services.remove(key) {
            self.by_number.remove(&number);
            left.extend(older);
        }
        self.last_number += 1;
        self.by_number.insert(self.last_number, key.clone());
        self.services.insert(key.clone(), (self.last_number, left));
        if self.services.len() > CAPACITY
            && let Some(oldest) = self.by_number.first_key_value().map(|(_, key)| key.clone())
            && let Some((_, addresses)) = self.services.get(&oldest).cloned()
        {
            self.reclaim(&oldest, &addresses);
        }
    }

    /// Lists the addresses that `key` had in the order in which it had them together, the others after them: they may have been
    /// recorded one by one.
    pub(super) fn arrange(&mut self, key: &ServiceKey, together: &[IpAddr]) {
        if let Some((_, addresses)) = self.services.get_mut(key) {
            let place = |address: &IpAddr| together.iter().position(|other| other == address);
            addresses.sort_by_key(|address| place(address).unwrap_or(together.len()));
        }
    }

    /// Returns the addresses that `key` had, the last ones first.
    pub(super) fn recall(&self, key: &ServiceKey) -> Option<&[IpAddr]> {
        self.services.get(key).map(|(_, addresses)| addresses.as_slice())
    }

    /// Returns the Services that had `address` last.
    pub(super) fn holders(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.addresses
            .get(&address)
            .into_iter()
            .flat_map(|holders| &holders.services)
    }

    /// Returns whether the record is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Forgets that `key` had `addresses`, because it has them again.
    pub(super) fn reclaim(&mut self, key: &ServiceKey, addresses: &[IpAddr]) {
        for address in addresses {
            self.forget_address(key, *address);
        }
    }

    /// Forgets the past holders of `address`, because another Service releases it now, unless they shared it with that
    /// Service under the key `sharing`.
    pub(super) fn supersede(&mut self, address: IpAddr, sharing: &str) {
        let holders = self.addresses.get(&address);
        let Some(holders) = holders.filter(|holders| sharing.is_empty() || holders.sharing != sharing) else {
            return;
        };
        for key in holders.services.clone() {
            self.forget_address(&key, address);
        }
    }

    fn last_of_family(&self, key: &ServiceKey, family: Family) -> Option<IpAddr> {
        let mut addresses = self.recall(key)?.iter().copied();
        addresses.find(|address| Family::of(*address) == family)
    }

    fn forget_address(&mut self, key: &ServiceKey, address: IpAddr) {
        let Some((number, addresses)) = self.services.get_mut(key) else {
            return;
        };
        let before = addresses.len();
        addresses.retain(|other| *other != address);
        if addresses.len() == before {
            return;
        }
        if addresses.is_empty() {
            let number = *number;
            self.by_number.remove(&number);
            self.services.remove(key);
        }
        if let Some(holders) = self.addresses.get_mut(&address) {
            holders.services.remove(key);
            if holders.services.is_empty() {
                self.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ServiceKey {
        ServiceKey::new("default", name)
    }

    fn ip(last: u32) -> IpAddr {
        core::net::Ipv4Addr::from_bits(last).into()
    }

    #[test]
    fn an_address_is_recorded_for_the_service_that_had_it_last() {
        let mut past = PastAssignments::default();
        past.remember(&key("a"), "", &[ip(2)]);
        past.remember(&key("b"), "", &[ip(2)]);
        assert_eq!(past.recall(&key("a")), None);
        assert_eq!(past.recall(&key("b")), Some(&[ip(2)][..]));
        assert_eq!(past.holders(ip(2)).collect::<alloc::vec::Vec<_>>(), [&key("b")]);
        past.reclaim(&key("b"), &[ip(1), ip(2)]);
        assert!(past.is_empty() && past.addresses.is_empty() && past.by_number.is_empty());
    }

    #[test]
    fn an_address_is_recorded_for_all_services_that_shared_it_last() {
        let mut past = PastAssignments::default();
        past.remember(&key("a"), "k", &[ip(1)]);
        past.remember(&key("b"), "k", &[ip(1)]);
        assert!(past.recall(&key("a")).is_some() && past.recall(&key("b")).is_some());
        past.remember(&key("c"), "l", &[ip(1)]);
        assert!(past.recall(&key("a")).is_none() && past.recall(&key("b")).is_none());
        assert!(past.recall(&key("c")).is_some());
    }

    #[test]
    fn the_record_has_the_last_address_of_each_family_of_a_service() {
        let six = |last| IpAddr::from(core::net::Ipv6Addr::from_bits(last));
        let mut past = PastAssignments::default();
        past.remember(&key("a"), "", &[six(1), ip(1)]);
        assert_eq!(past.recall(&key("a")), Some(&[six(1), ip(1)][..]));
        past.remember(&key("a"), "", &[ip(2)]);
        assert_eq!(past.recall(&key("a")), Some(&[ip(2), six(1)][..]));
        past.supersede(ip(2), "");
        assert_eq!(past.recall(&key("a")), Some(&[six(1)][..]));
        past.reclaim(&key("a"), &[six(1)]);
        assert!(past.is_empty() && past.addresses.is_empty() && past.by_number.is_empty());
    }

    #[test]
    fn the_record_is_bounded_and_forgets_the_oldest_entry_first() {
        let mut past = PastAssignments::default();
        for n in 0..=CAPACITY as u32 {
            past.remember(&key(&alloc::format!("s{n}")), "", &[ip(n)]);
        }
        assert_eq!(past.services.len(), CAPACITY);
        assert_eq!(past.addresses.len(), CAPACITY);
        assert_eq!(past.recall(&key("s0")), None);
        assert!(past.recall(&key("s1")).is_some());
    }
}
