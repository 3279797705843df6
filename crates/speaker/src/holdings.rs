//! Which addresses this node holds, and for which Services: shared ones are held until the last lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_core::ServiceKey;
use herald_core::ownership::Claim;

use crate::wire::Announcement;

/// The interfaces that answer; `None` is all that fit.
type Interfaces = Option<BTreeSet<String>>;

/// Counts who holds what.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    holders: BTreeMap<IpAddr, BTreeMap<ServiceKey, Interfaces>>,
}

/// What the wire task has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Announce(Announcement),
    Withdraw(IpAddr),
}

impl Holdings {
    /// A Service holds what `after` says instead of what `before` said.
    pub(crate) fn replace(
        &mut self,
        service: &ServiceKey,
        before: Option<&Claim>,
        after: Option<&Claim>,
    ) -> Vec<Order> {
        let old = before.map(|c| c.addresses.as_slice()).unwrap_or_default();
        let new = after.map(|c| c.addresses.as_slice()).unwrap_or_default();
        let mut orders = Vec::new();
        for address in old.iter().filter(|a| !new.contains(a)) {
            orders.extend(self.release(service, *address));
        }
        for address in new {
            let interfaces = after.and_then(|c| c.interfaces.clone());
            orders.extend(self.hold(service, *address, interfaces));
        }
        orders
    }

    fn hold(&mut self, service: &ServiceKey, address: IpAddr, interfaces: Interfaces) -> Option<Order> {
        let before = self.interfaces(address);
        self.holders
            .entry(address)
            .or_default()
            .insert(service.clone(), interfaces);
        self.announce_if_changed(address, before)
    }

    fn release(&mut self, service: &ServiceKey, address: IpAddr) -> Option<Order> {
        let before = self.interfaces(address);
        let holders = self.holders.get_mut(&address)?;
        holders.remove(service)?;
        if holders.is_empty() {
            self.holders.remove(&address);
            return Some(Order::Withdraw(address));
        }
        self.announce_if_changed(address, before)
    }

    fn announce_if_changed(&self, address: IpAddr, before: Option<Interfaces>) -> Option<Order> {
        let after = self.interfaces(address);
        let interfaces = after.clone()?;
        (before != after).then_some(Order::Announce(Announcement { address, interfaces }))
    }

    /// The union over all holders, or all (`Some(None)`) as soon as one of them has no limit; `None` if nobody
    /// holds the address.
    fn interfaces(&self, address: IpAddr) -> Option<Interfaces> {
        let holders = self.holders.get(&address)?;
        let mut union = BTreeSet::new();
        for interfaces in holders.values() {
            match interfaces {
                None => return Some(None),
                Some(names) => union.extend(names.iter().cloned()),
            }
        }
        Some(Some(union))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(addresses: &[&str], interfaces: Option<&[&str]>) -> Claim {
        Claim {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            interfaces: interfaces.map(|names| names.iter().map(|n| (*n).to_owned()).collect()),
        }
    }

    fn announce(address: &str, interfaces: Option<&[&str]>) -> Order {
        let Claim {
            addresses,
            interfaces,
        } = claim(&[address], interfaces);
        Order::Announce(Announcement {
            address: addresses[0],
            interfaces,
        })
    }

    fn withdraw(address: &str) -> Order {
        Order::Withdraw(address.parse().unwrap())
    }

    #[test]
    fn a_shared_address_is_held_until_the_last_lets_go() {
        let (a, b) = (ServiceKey::new("default", "a"), ServiceKey::new("default", "b"));
        let one = claim(&["192.0.2.1"], None);
        let mut holdings = Holdings::default();
        assert_eq!(
            holdings.replace(&a, None, Some(&one)),
            [announce("192.0.2.1", None)]
        );
        assert_eq!(holdings.replace(&b, None, Some(&one)), []);
        assert_eq!(holdings.replace(&a, Some(&one), None), []);
        assert_eq!(holdings.replace(&b, Some(&one), None), [withdraw("192.0.2.1")]);
    }

    #[test]
    fn interfaces_of_sharers_add_up_and_shrink_again() {
        let (a, b) = (ServiceKey::new("default", "a"), ServiceKey::new("default", "b"));
        let (zero, one) = (
            claim(&["192.0.2.1"], Some(&["eth0"])),
            claim(&["192.0.2.1"], Some(&["eth1"])),
        );
        let mut holdings = Holdings::default();
        holdings.replace(&a, None, Some(&zero));
        assert_eq!(
            holdings.replace(&b, None, Some(&one)),
            [announce("192.0.2.1", Some(&["eth0", "eth1"]))]
        );
        assert_eq!(
            holdings.replace(&a, Some(&zero), None),
            [announce("192.0.2.1", Some(&["eth1"]))]
        );
    }

    #[test]
    fn a_changed_claim_withdraws_what_it_no_longer_has_and_keeps_the_rest() {
        let web = ServiceKey::new("default", "web");
        let (before, after) = (
            claim(&["192.0.2.1", "fc00::1"], None),
            claim(&["192.0.2.1", "fc00::2"], None),
        );
        let mut holdings = Holdings::default();
        holdings.replace(&web, None, Some(&before));
        let orders = holdings.replace(&web, Some(&before), Some(&after));
        assert_eq!(orders, [withdraw("fc00::1"), announce("fc00::2", None)]);
    }
}
