//! Which Services show an address in their status, and who has to wait until one no longer does.
//!
//! Writes go out side by side. Were an address that one Service loses written to the next before the first is
//! cleared, both would show it for a while, and for ever if the clearing is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_core::ServiceKey;

#[derive(Debug, Default)]
pub(crate) struct Shown {
    addresses: BTreeMap<ServiceKey, Vec<IpAddr>>,
    services: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    /// Who waits for a Service to stop showing an address.
    waiting: BTreeMap<ServiceKey, BTreeSet<ServiceKey>>,
}

impl Shown {
    /// A Service shows these addresses, none if it is gone. Returns who waited for that.
    pub(crate) fn set(&mut self, service: &ServiceKey, addresses: &[IpAddr]) -> BTreeSet<ServiceKey> {
        for address in self.addresses.remove(service).into_iter().flatten() {
            if let Some(services) = self.services.get_mut(&address) {
                services.remove(service);
                if services.is_empty() {
                    self.services.remove(&address);
                }
            }
        }
        for address in addresses {
            self.services.entry(*address).or_default().insert(service.clone());
        }
        if !addresses.is_empty() {
            self.addresses.insert(service.clone(), addresses.to_vec());
        }
        self.waiting.remove(service).unwrap_or_default()
    }

    /// Whether another Service shows one of `addresses` although it no longer `has` it. `service` is told when that
    /// one changes. Of Services that exchange addresses one goes first.
    pub(crate) fn must_wait(
        &mut self,
        service: &ServiceKey,
        addresses: &[IpAddr],
        has: impl Fn(&ServiceKey, IpAddr) -> bool,
    ) -> bool {
        let showing = addresses.iter().flat_map(|address| {
            let services = self.services.get(address).into_iter().flatten();
            services.map(move |other| (other, *address))
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

    /// Whether `who` waits for `whom`, be it by way of others.
    fn waits_for(&self, who: &ServiceKey, whom: &ServiceKey) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![whom];
        while let Some(service) = next.pop() {
            for waiting in self.waiting.get(service).into_iter().flatten() {
                if waiting == who {
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
    use super::*;

    fn key(name: &str) -> ServiceKey {
        ServiceKey::new("default", name)
    }

    #[test]
    fn who_gets_an_address_waits_until_its_former_owner_no_longer_shows_it() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let (old, new) = (key("old"), key("new"));
        let mut shown = Shown::default();
        shown.set(&old, &[address]);
        assert!(!shown.must_wait(&old, &[address], |_, _| false));
        assert!(!shown.must_wait(&new, &[address], |_, _| true));
        assert!(shown.must_wait(&new, &[address], |_, _| false));
        assert_eq!(shown.set(&old, &[]), BTreeSet::from([new.clone()]));
        assert!(!shown.must_wait(&new, &[address], |_, _| false));
        assert_eq!(shown.set(&old, &[]), BTreeSet::new());
    }

    #[test]
    fn an_exchange_in_a_circle_gets_going() {
        let addresses: Vec<IpAddr> = (1..=3).map(|i| IpAddr::from([192, 0, 2, i])).collect();
        let services = [key("a"), key("b"), key("c")];
        let mut shown = Shown::default();
        for (service, address) in services.iter().zip(&addresses) {
            shown.set(service, &[*address]);
        }
        let mut must_wait = |i: usize| shown.must_wait(&services[i], &[addresses[(i + 1) % 3]], |_, _| false);
        assert_eq!([must_wait(0), must_wait(1), must_wait(2)], [true, true, false]);
    }
}
