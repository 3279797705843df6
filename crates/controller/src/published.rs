//! Which Services have an address in their published status, and which Services wait until another one has not.
//!
//! Writes are sent in parallel. If an address that one Service loses were written to the next Service before the first
//! is cleared, both would show it for a while, and for ever if the API server refuses to clear it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_core::ServiceKey;

#[derive(Debug, Default)]
pub(crate) struct PublishedAddresses {
    addresses: BTreeMap<ServiceKey, Vec<IpAddr>>,
    services: BTreeSet<(IpAddr, ServiceKey)>,
    /// By Service that still shows an address: the Services that wait for it.
    waiting: BTreeMap<ServiceKey, BTreeSet<ServiceKey>>,
}

impl PublishedAddresses {
    /// Takes the addresses in the status of a Service; none if it is gone. Returns the Services that waited for it.
    pub(crate) fn set(&mut self, service: &ServiceKey, addresses: &[IpAddr]) -> BTreeSet<ServiceKey> {
        for address in self.addresses.remove(service).into_iter().flatten() {
            self.services.remove(&(address, service.clone()));
        }
        for address in addresses {
            self.services.insert((*address, service.clone()));
        }
        if !addresses.is_empty() {
            self.addresses.insert(service.clone(), addresses.to_vec());
        }
        self.waiting.remove(service).unwrap_or_default()
    }

    /// Whether another Service shows one of `addresses` although it no longer `has` it. [`set`](Self::set) of that Service
    /// returns `service` then. Of Services that exchange addresses one does not wait.
    pub(crate) fn must_wait(
        &mut self,
        service: &ServiceKey,
        addresses: &[IpAddr],
        has: impl Fn(&ServiceKey, IpAddr) -> bool,
    ) -> bool {
        let showing = addresses.iter().flat_map(|address| {
            let services = self.services.range((*address, ServiceKey::new("", ""))..);
            let services = services.take_while(move |(other, _)| other == address);
            services.map(move |(_, other)| (other, *address))
        });
        let mut former = showing.filter(|(other, address)| *other != service && !has(other, *address));
        let Some((former, _)) = former.next() else {
            return false;
        };
        let former = former.clone();
        if self.waits_for(&former, service) {
            return false;
        }
        self.waiting.entry(former).or_default().insert(service.clone());
        true
    }

    /// Whether `waiter` waits for `service`, directly or through others.
    fn waits_for(&self, waiter: &ServiceKey, service: &ServiceKey) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![service];
        while let Some(service) = next.pop() {
            for waiting in self.waiting.get(service).into_iter().flatten() {
                if waiting == waiter {
                    return true;
                }
                if seen.insert(waiting) {
                    next.push(waiting);
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use herald_fixtures::key;

    use super::*;

    #[test]
    fn a_service_waits_until_the_service_that_had_its_address_shows_it_no_more() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let (old, new) = (key("old"), key("new"));
        let mut published = PublishedAddresses::default();
        published.set(&old, &[address]);
        assert!(!published.must_wait(&old, &[address], |_, _| false));
        assert!(!published.must_wait(&new, &[address], |_, _| true));
        assert!(published.must_wait(&new, &[address], |_, _| false));
        assert_eq!(published.set(&old, &[]), BTreeSet::from([new.clone()]));
        assert!(!published.must_wait(&new, &[address], |_, _| false));
        assert_eq!(published.set(&old, &[]), BTreeSet::new());
    }

    #[test]
    fn of_services_that_exchange_addresses_in_a_circle_one_does_not_wait() {
        let addresses: Vec<IpAddr> = (1..=3).map(|i| IpAddr::from([192, 0, 2, i])).collect();
        let services = [key("a"), key("b"), key("c")];
        let mut published = PublishedAddresses::default();
        for (service, address) in services.iter().zip(&addresses) {
            published.set(service, &[*address]);
        }
        let mut must_wait =
            |i: usize| published.must_wait(&services[i], &[addresses[(i + 1) % 3]], |_, _| false);
        assert_eq!([must_wait(0), must_wait(1), must_wait(2)], [true, true, false]);
    }
}
