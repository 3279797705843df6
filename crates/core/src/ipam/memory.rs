//! Which addresses a Service had when it went away.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::net::IpAddr;

use hashbrown::HashMap;

use crate::{Addresses, ServiceKey};

/// The most Services remembered; beyond it the one that left first is forgotten. Enough for every Service of a
/// large cluster to be deleted and applied again, at some ten megabytes.
const CAPACITY: usize = 65_536;

/// Addresses that Services lost without asking for it. They get them back while nobody else has them.
///
/// An address is remembered for who had it last: for one Service, or for several that shared it.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    services: HashMap<Arc<ServiceKey>, (u64, Addresses)>,
    addresses: BTreeMap<IpAddr, Departed>,
    by_departure: BTreeMap<u64, Arc<ServiceKey>>,
    departures: u64,
}

/// Who had an address last.
#[derive(Debug, Clone)]
struct Departed {
    sharing: String,
    services: BTreeSet<Arc<ServiceKey>>,
}

impl Memory {
    /// Remembers that `key`, which shares under the key `sharing` if that is not empty, had `addresses`.
    pub(super) fn remember(&mut self, key: &Arc<ServiceKey>, sharing: &str, addresses: &[IpAddr]) {
        self.forget(key);
        for address in addresses {
            self.give_way(*address, sharing);
            let departed = self.addresses.entry(*address).or_insert_with(|| Departed {
                sharing: sharing.to_string(),
                services: BTreeSet::new(),
            });
            departed.services.insert(key.clone());
        }
        self.departures += 1;
        self.by_departure.insert(self.departures, key.clone());
        self.services
            .insert(key.clone(), (self.departures, Addresses::from(addresses)));
        if self.services.len() > CAPACITY
            && let Some(oldest) = self.by_departure.first_key_value().map(|(_, key)| key.clone())
        {
            self.forget(&oldest);
        }
    }

    /// What `key` had.
    pub(super) fn recall(&self, key: &Arc<ServiceKey>) -> Option<&[IpAddr]> {
        self.services.get(key).map(|(_, addresses)| addresses.as_slice())
    }

    /// Whether there is nothing to recall.
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Forgets what `key` had.
    pub(super) fn forget(&mut self, key: &Arc<ServiceKey>) {
        let Some((departure, addresses)) = self.services.remove(key) else {
            return;
        };
        self.by_departure.remove(&departure);
        for address in addresses {
            if let Some(departed) = self.addresses.get_mut(&address) {
                departed.services.remove(key);
                if departed.services.is_empty() {
                    self.addresses.remove(&address);
                }
            }
        }
    }

    /// Forgets who had `address` before somebody who let go of it now, unless they shared it under the key `sharing`.
    pub(super) fn give_way(&mut self, address: IpAddr, sharing: &str) {
        let departed = self.addresses.get(&address);
        let Some(departed) = departed.filter(|departed| sharing.is_empty() || departed.sharing != sharing)
        else {
            return;
        };
        for key in departed.services.clone() {
            self.forget(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<ServiceKey> {
        Arc::new(ServiceKey::new("default", name))
    }

    fn ip(last: u32) -> IpAddr {
        core::net::Ipv4Addr::from_bits(last).into()
    }

    #[test]
    fn an_address_is_remembered_for_the_service_that_had_it_last() {
        let mut memory = Memory::default();
        memory.remember(&key("a"), "", &[ip(1), ip(2)]);
        memory.remember(&key("b"), "", &[ip(2)]);
        assert_eq!(memory.recall(&key("a")), None);
        assert_eq!(memory.recall(&key("b")), Some(&[ip(2)][..]));
        memory.forget(&key("b"));
        assert!(memory.is_empty() && memory.addresses.is_empty() && memory.by_departure.is_empty());
    }

    #[test]
    fn an_address_is_remembered_for_all_who_shared_it_last() {
        let mut memory = Memory::default();
        memory.remember(&key("a"), "k", &[ip(1)]);
        memory.remember(&key("b"), "k", &[ip(1)]);
        assert!(memory.recall(&key("a")).is_some() && memory.recall(&key("b")).is_some());
        memory.remember(&key("c"), "l", &[ip(1)]);
        assert!(memory.recall(&key("a")).is_none() && memory.recall(&key("b")).is_none());
        assert!(memory.recall(&key("c")).is_some());
    }

    #[test]
    fn memory_is_bounded_and_drops_who_left_first() {
        let mut memory = Memory::default();
        for n in 0..=CAPACITY as u32 {
            memory.remember(&key(&alloc::format!("s{n}")), "", &[ip(n)]);
        }
        assert_eq!(memory.services.len(), CAPACITY);
        assert_eq!(memory.addresses.len(), CAPACITY);
        assert_eq!(memory.recall(&key("s0")), None);
        assert!(memory.recall(&key("s1")).is_some());
    }
}
