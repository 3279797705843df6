//! Addresses that Nodes and Services use without the allocator.
//!
//! Kubernetes lets every Service have any address in `spec.externalIPs`, other load balancers give addresses to their
//! Services, and an administrator may put the addresses of the nodes into a pool. The allocator cannot prevent that: it
//! gives such an address to a Service only when no other one is free, or on request, and the Service says so.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use hashbrown::HashMap;

use crate::{Addresses, NodeName, PoolName, ServiceKey};

/// The uses that a [`PoolOverlap`] names.
const NAMED_USES: usize = 3;

/// Who uses addresses without the allocator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExternalUser {
    /// A Node, by `status.addresses` of the types `InternalIP` and `ExternalIP`. No node announces the address: only that node answers
    /// for it.
    Node(NodeName),
    /// A Service of type `LoadBalancer`: `spec.externalIPs`, and the addresses that another load balancer gave it.
    LoadBalancer(ServiceKey),
    /// A Service of another type: `spec.externalIPs`.
    Service(ServiceKey),
}

impl ExternalUser {
    const fn service(&self) -> Option<&ServiceKey> {
        match self {
            Self::Node(_) => None,
            Self::LoadBalancer(key) | Self::Service(key) => Some(key),
        }
    }
}

impl fmt::Display for ExternalUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::LoadBalancer(key) | Self::Service(key) => write!(f, "Service {key}"),
        }
    }
}

/// Addresses of a pool that are used without the allocator, and were not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolOverlap {
    /// The pool.
    pub pool: PoolName,
    /// How many addresses there are.
    pub count: usize,
    /// Some of them, in ascending order, and who uses them.
    pub examples: Vec<(IpAddr, ExternalUser)>,
}

impl PoolOverlap {
    pub(super) const fn new(pool: PoolName) -> Self {
        Self {
            pool,
            count: 0,
            examples: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, address: IpAddr, user: &ExternalUser) {
        self.count += 1;
        if self.examples.len() < NAMED_USES {
            self.examples.push((address, user.clone()));
        }
    }
}

impl fmt::Display for PoolOverlap {
    /// Names Services of all namespaces: the message is for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool has addresses that others use:")?;
        for (place, (address, user)) in self.examples.iter().enumerate() {
            let separator = if place == 0 { " " } else { ", " };
            write!(f, "{separator}{address} ({user})")?;
        }
        if let more @ 1.. = self.count.saturating_sub(self.examples.len()) {
            write!(f, " and {more} more")?;
        }
        f.write_str(
            "; they are given out only on request or when nothing else is free; remove them from spec.addresses, from \
             spec.externalIPs, or from the other load balancer",
        )
    }
}

/// All external users and their addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct ExternalUsers {
    addresses: HashMap<ExternalUser, Addresses>,
    /// The users of each address, in ascending order: nodes first.
    users: BTreeMap<IpAddr, Vec<ExternalUser>>,
}

impl ExternalUsers {
    /// Replaces the addresses of `user`. Returns those that it uses now and did not before, or the other way round.
    pub(super) fn set(&mut self, user: ExternalUser, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut sorted = addresses.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let before = self.addresses.remove(&user).unwrap_or_default();
        let gone = before.iter().filter(|address| !sorted.contains(address));
        let mut changed: Vec<IpAddr> = gone.copied().collect();
        for address in &changed {
            if let Some(users) = self.users.get_mut(address) {
                users.retain(|other| *other != user);
                if users.is_empty() {
                    self.users.remove(address);
                }
            }
        }
        for address in sorted.iter().filter(|address| !before.contains(address)) {
            // Most addresses have one user.
            let users = self
                .users
                .entry(*address)
                .or_insert_with(|| Vec::with_capacity(1));
            let place = users.partition_point(|other| *other < user);
            users.insert(place, user.clone());
            changed.push(*address);
        }
        if !sorted.is_empty() {
            self.addresses.insert(user, sorted.into());
        }
        changed
    }

    /// Returns all addresses in use, in ascending order.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.users.keys().copied().collect()
    }

    /// Whether `address` is in use.
    pub(super) fn is_used(&self, address: IpAddr) -> bool {
        self.users.contains_key(&address)
    }

    /// Returns the first user of `address` that is none of the Services `is_holder`: a Service may have the address that
    /// it was given in `spec.externalIPs`, too.
    pub(super) fn user_beside(
        &self,
        address: IpAddr,
        is_holder: impl Fn(&ServiceKey) -> bool,
    ) -> Option<&ExternalUser> {
        let mut users = self.users.get(&address)?.iter();
        users.find(|user| !user.service().is_some_and(&is_holder))
    }
}

/// Writes how an address is used besides by `service`. Names a Service of another namespace only in the
/// alternate form.
pub(super) fn describe_use(
    f: &mut fmt::Formatter<'_>,
    address: IpAddr,
    user: &ExternalUser,
    service: &ServiceKey,
) -> fmt::Result {
    let is_named = |key: &ServiceKey| f.alternate() || key.namespace == service.namespace;
    let name = match user.service().filter(|key| !is_named(key)) {
        Some(_) => "a Service of another namespace".to_string(),
        None => user.to_string(),
    };
    match user {
        ExternalUser::Node(_) => write!(
            f,
            "\"{address}\" is an address of {name}: no node announces it; remove it from the pool"
        ),
        ExternalUser::LoadBalancer(_) | ExternalUser::Service(_) => write!(
            f,
            "{name} uses \"{address}\", too (spec.externalIPs, or given by another load balancer): clients may reach \
             either; remove it there, or ask for another"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_changed_addresses_are_those_that_are_used_now_or_were_before() {
        let mut users = ExternalUsers::default();
        let service = ExternalUser::Service(ServiceKey::new("default", "s"));
        let node = ExternalUser::Node("n".into());
        assert_eq!(users.set(service.clone(), &[ip(2), ip(1), ip(1)]), [ip(1), ip(2)]);
        assert!(users.set(service.clone(), &[ip(1), ip(2)]).is_empty());
        assert_eq!(users.set(node.clone(), &[ip(2)]), [ip(2)]);
        assert_eq!([1, 2, 3].map(|last| users.is_used(ip(last))), [true, true, false]);
        assert_eq!(users.set(service, &[ip(3)]), [ip(1), ip(2), ip(3)]);
        assert_eq!(users.addresses(), [ip(2), ip(3)]);
        assert_eq!(users.set(node, &[]), [ip(2)]);
        assert_eq!(users.addresses(), [ip(3)]);
    }
}
