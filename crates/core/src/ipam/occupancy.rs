//! The holders of an address, and whether another Service may share it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::refusal::Refusal;
use crate::{Namespace, Pool, Port, Service, ServiceKey};

/// The ports of one Service: in most cases so few that they need no allocation.
pub(super) type PortList = SmallVec<[Port; 4]>;

/// The most holders of an address that a refusal names.
const NAMED_HOLDERS: usize = 10;

/// A Service that asks for an address: what decides whether it may share one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requester<'a> {
    pub(super) key: &'a ServiceKey,
    pub(super) sharing: &'a Arc<str>,
    pub(super) backend: &'a str,
    /// Whether its policy is Local.
    pub(super) is_local: bool,
    pub(super) ports: &'a BTreeSet<Port>,
}

impl<'a> Requester<'a> {
    pub(super) fn new(key: &'a ServiceKey, service: &'a Service) -> Self {
        Self {
            key,
            sharing: &service.sharing_key,
            backend: &service.backend_key,
            is_local: service.is_local,
            ports: &service.ports,
        }
    }

    fn refused(&self, address: IpAddr, holders: Vec<ServiceKey>) -> Refusal {
        let service = ServiceKey::clone(self.key);
        Refusal::AddressInUse {
            address,
            service,
            holders,
        }
    }
}

/// The holders of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Occupancy {
    /// One Service that does not share.
    Sole(ServiceKey),
    /// One or more Services that share under one key.
    Shared(Box<SharedOccupancy>),
}

/// Services with the same sharing key and the same backends, of which no two have the same port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedOccupancy {
    pub(super) sharing: Arc<str>,
    backend: String,
    holders: HashMap<ServiceKey, Holder>,
    ports: BTreeMap<Port, ServiceKey>,
    /// The number of holders in each namespace.
    namespaces: BTreeMap<Namespace, usize>,
    /// The number of holders with the policy Local.
    locals: usize,
    /// The namespaces of the groups in which the free list has the address.
    listed: SmallVec<[String; 1]>,
}

/// What is recorded of one of several holders.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    ports: PortList,
    is_local: bool,
}

/// Services that may share an address, as far as keys and namespaces are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharingGroup<'a> {
    pub(super) sharing: &'a str,
    pub(super) backend: &'a str,
    /// Their namespace; empty for Services of all namespaces.
    pub(super) namespace: &'a str,
}

impl<'a> SharingGroup<'a> {
    /// Returns the groups that `requester` belongs to in `pool`.
    pub(super) fn of_requester(requester: &Requester<'a>, pool: &Pool) -> [Option<Self>; 2] {
        let group = |namespace| Self {
            sharing: requester.sharing,
            backend: requester.backend,
            namespace,
        };
        [
            pool.shares_across_namespaces(requester.is_local)
                .then(|| group("")),
            pool.shares_within_namespaces()
                .then(|| group(&requester.key.namespace)),
        ]
    }
}

impl Occupancy {
    /// Creates the occupancy by `requester` alone.
    pub(super) fn new(requester: &Requester<'_>) -> Self {
        if requester.sharing.is_empty() {
            return Self::Sole(requester.key.clone());
        }
        let mut shared = SharedOccupancy {
            sharing: requester.sharing.clone(),
            backend: requester.backend.to_string(),
            holders: HashMap::new(),
            ports: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            locals: 0,
            listed: SmallVec::new(),
        };
        shared.join(requester);
        Self::Shared(Box::new(shared))
    }

    /// Checks whether `requester` may have `address`; its own occupancy of it does not count.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn admits(&self, requester: &Requester<'_>, address: IpAddr) -> Result<(), Refusal> {
        let shared = match self {
            Self::Sole(holder) if holder == requester.key => return Ok(()),
            Self::Sole(holder) => {
                return Err(requester.refused(address, Vec::from([ServiceKey::clone(holder)])));
            }
            Self::Shared(shared) => shared,
        };
        if shared.holders.len() == 1 && shared.holders.contains_key(requester.key) {
            return Ok(());
        }
        if requester.sharing.is_empty() {
            return Err(requester.refused(address, shared.others(requester.key)));
        }
        if shared.sharing != *requester.sharing || shared.backend != requester.backend {
            let (service, holders) = (ServiceKey::clone(requester.key), shared.others(requester.key));
            return Err(Refusal::SharingKeyMismatch {
                address,
                service,
                holders,
            });
        }
        shared.ports_admit(requester, address)
    }

    /// Adds `requester`, which [`Self::admits`] must have admitted.
    pub(super) fn join(&mut self, requester: &Requester<'_>) {
        match self {
            Self::Shared(shared) => shared.join(requester),
            Self::Sole(holder) => debug_assert_eq!(holder, requester.key, "a sole holder does not share"),
        }
    }

    /// Removes `key`. Returns the ports that it had, or `None` when no other holder is left.
    pub(super) fn leave(&mut self, key: &ServiceKey) -> Option<PortList> {
        match self {
            Self::Sole(holder) => (holder != key).then(PortList::new),
            Self::Shared(shared) => shared.leave(key),
        }
    }

    /// Returns whether the record of `requester` is up to date.
    pub(super) fn records(&self, requester: &Requester<'_>) -> bool {
        match self {
            Self::Sole(holder) => holder == requester.key && requester.sharing.is_empty(),
            Self::Shared(shared) => {
                let holder = shared.holders.get(requester.key);
                shared.sharing == *requester.sharing
                    && shared.backend == requester.backend
                    && holder.is_some_and(|holder| {
                        holder.is_local == requester.is_local && holder.ports.iter().eq(requester.ports)
                    })
            }
        }
    }

    /// Returns whether the Service `key` is a holder.
    pub(super) fn has_holder(&self, key: &ServiceKey) -> bool {
        match self {
            Self::Sole(holder) => holder == key,
            Self::Shared(shared) => shared.holders.contains_key(key),
        }
    }

    /// Returns the holders.
    pub(super) fn holders(&self) -> Vec<ServiceKey> {
        match self {
            Self::Sole(holder) => Vec::from([holder.clone()]),
            Self::Shared(shared) => shared.holders.keys().cloned().collect(),
        }
    }

    /// Returns whether a holder is in `namespace`.
    pub(super) fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Sole(holder) => *holder.namespace == *namespace,
            Self::Shared(shared) => shared.namespaces.contains_key(namespace),
        }
    }

    /// Returns whether the sharing scope of `pool` lets `requester` become a holder.
    pub(super) fn is_in_scope(&self, requester: &Requester<'_>, pool: &Pool) -> bool {
        match self {
            Self::Sole(_) => true,
            Self::Shared(shared) => {
                let mut namespaces = shared.namespaces.keys();
                pool.shares_across_namespaces(requester.is_local || shared.locals > 0)
                    || namespaces.all(|namespace| *namespace == requester.key.namespace)
            }
        }
    }

    /// Returns the namespaces of the holders.
    pub(super) fn namespaces(&self) -> Vec<&str> {
        match self {
            Self::Sole(holder) => Vec::from([&*holder.namespace]),
            Self::Shared(shared) => shared.namespaces.keys().map(|name| &**name).collect(),
        }
    }

    /// Returns the holders if they share.
    pub(super) fn shared(&self) -> Option<&SharedOccupancy> {
        match self {
            Self::Sole(_) => None,
            Self::Shared(shared) => Some(shared),
        }
    }

    /// Returns the holders if they share.
    pub(super) fn shared_mut(&mut self) -> Option<&mut SharedOccupancy> {
        match self {
            Self::Sole(_) => None,
            Self::Shared(shared) => Some(shared),
        }
    }
}

impl SharedOccupancy {
    /// Returns the groups in which the free list has the address.
    pub(super) fn listed(&self) -> impl Iterator<Item = SharingGroup<'_>> {
        self.listed.iter().map(|namespace| SharingGroup {
            sharing: &self.sharing,
            backend: &self.backend,
            namespace,
        })
    }

    /// Returns whether the free list has the address in the groups that may share it in `pool`.
    pub(super) fn is_listed_for(&self, pool: &Pool) -> bool {
        let listed = self.listed.iter().map(String::as_str);
        listed.eq(self.open_namespaces(pool).into_iter().flatten())
    }

    /// Records that the free list has the address in the groups that may share it in `pool`.
    pub(super) fn list_for(&mut self, pool: &Pool) {
        let namespaces = self.open_namespaces(pool).into_iter().flatten();
        self.listed = namespaces.map(ToString::to_string).collect();
    }

    /// Records that the free list does not have the address.
    pub(super) fn unlist(&mut self) {
        self.listed.clear();
    }

    /// Returns the namespaces of the groups that may share the address in `pool`; the empty one stands for all.
    fn open_namespaces(&self, pool: &Pool) -> [Option<&str>; 2] {
        let mut namespaces = self.namespaces.keys().map(|namespace| &**namespace);
        let sole = namespaces.next().filter(|_| namespaces.next().is_none());
        [
            pool.shares_across_namespaces(self.locals > 0).then_some(""),
            sole.filter(|_| pool.shares_within_namespaces()),
        ]
    }

    fn join(&mut self, requester: &Requester<'_>) {
        for port in requester.ports {
            self.ports.insert(*port, requester.key.clone());
        }
        let holder = Holder {
            ports: requester.ports.iter().copied().collect(),
            is_local: requester.is_local,
        };
        self.locals += usize::from(holder.is_local);
        if let Some(before) = self.holders.insert(requester.key.clone(), holder) {
            self.locals -= usize::from(before.is_local);
            return;
        }
        match self.namespaces.get_mut(&requester.key.namespace) {
            Some(count) => *count += 1,
            None => {
                self.namespaces.insert(requester.key.namespace.clone(), 1);
            }
        }
    }

    /// Returns whether a holder has `port`.
    pub(super) fn uses(&self, port: Port) -> bool {
        self.ports.contains_key(&port)
    }

    fn leave(&mut self, key: &ServiceKey) -> Option<PortList> {
        let Some(Holder { ports, is_local }) = self.holders.remove(key) else {
            return Some(PortList::new());
        };
        self.locals -= usize::from(is_local);
        for port in &ports {
            self.ports.remove(port);
        }
        if let Some(count) = self.namespaces.get_mut(&key.namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
        (!self.holders.is_empty()).then_some(ports)
    }

    fn ports_admit(&self, requester: &Requester<'_>, address: IpAddr) -> Result<(), Refusal> {
        for port in requester.ports {
            if let Some(holder) = self.ports.get(port).filter(|holder| *holder != requester.key) {
                return Err(Refusal::PortInUse {
                    address,
                    port: *port,
                    service: ServiceKey::clone(requester.key),
                    holder: ServiceKey::clone(holder),
                });
            }
        }
        Ok(())
    }

    /// Returns the holders of the lowest ports, except `key`.
    fn others(&self, key: &ServiceKey) -> Vec<ServiceKey> {
        let mut others: Vec<ServiceKey> = Vec::new();
        for holder in self.ports.values().filter(|holder| *holder != key) {
            if others.len() == NAMED_HOLDERS {
                break;
            }
            if !others.contains(holder) {
                others.push(ServiceKey::clone(holder));
            }
        }
        others
    }
}
