//! Who holds an address, and who else may.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Refusal;
use crate::{Port, Service, ServiceKey};

/// The ports of one Service, few enough in most cases to need no memory of their own.
pub(super) type Ports = SmallVec<[Port; 4]>;

/// How many holders of an address a refusal names.
const NAMED_HOLDERS: usize = 10;

/// What matters of a Service when it holds an address beside others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant<'a> {
    pub(super) key: &'a Arc<ServiceKey>,
    pub(super) sharing: &'a Arc<str>,
    pub(super) backend: &'a str,
    pub(super) ports: &'a BTreeSet<Port>,
}

impl<'a> Claimant<'a> {
    pub(super) fn new(key: &'a Arc<ServiceKey>, service: &'a Service) -> Self {
        Self {
            key,
            sharing: &service.sharing_key,
            backend: &service.backend_key,
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
    /// One Service that shares with nobody.
    Sole(Arc<ServiceKey>),
    /// One Service or more that share under one key.
    Shared(Box<Shared>),
}

/// Services that agree on sharing key and backends, and of which no two have the same port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) sharing: Arc<str>,
    pub(super) backend: String,
    holders: HashMap<Arc<ServiceKey>, Ports>,
    ports: BTreeMap<Port, Arc<ServiceKey>>,
    /// How many of the holders are in each namespace.
    namespaces: BTreeMap<String, usize>,
}

impl Occupancy {
    /// `claimant` alone.
    pub(super) fn new(claimant: &Claimant<'_>) -> Self {
        if claimant.sharing.is_empty() {
            return Self::Sole(claimant.key.clone());
        }
        let mut shared = Shared {
            sharing: claimant.sharing.clone(),
            backend: claimant.backend.to_string(),
            holders: HashMap::new(),
            ports: BTreeMap::new(),
            namespaces: BTreeMap::new(),
        };
        shared.join(claimant);
        Self::Shared(Box::new(shared))
    }

    /// Whether `claimant` may hold `address`, its own claim to it aside.
    pub(super) fn admits(&self, claimant: &Claimant<'_>, address: IpAddr) -> Result<(), Refusal> {
        let shared = match self {
            Self::Sole(holder) if holder == claimant.key => return Ok(()),
            Self::Sole(holder) => {
                return Err(claimant.refused(address, Vec::from([ServiceKey::clone(holder)])));
            }
            Self::Shared(shared) => shared,
        };
        if shared.holders.len() == 1 && shared.holders.contains_key(claimant.key) {
            return Ok(());
        }
        if claimant.sharing.is_empty() {
            return Err(claimant.refused(address, shared.others(claimant.key)));
        }
        if shared.sharing != *claimant.sharing || shared.backend != claimant.backend {
            let (service, holders) = (ServiceKey::clone(claimant.key), shared.others(claimant.key));
            return Err(Refusal::SharingKeyMismatch {
                address,
                service,
                holders,
            });
        }
        shared.ports_admit(claimant, address)
    }

    /// Adds `claimant`, whom [`Self::admits`] let in.
    pub(super) fn join(&mut self, claimant: &Claimant<'_>) {
        match self {
            Self::Shared(shared) => shared.join(claimant),
            Self::Sole(holder) => debug_assert_eq!(holder, claimant.key, "a sole holder shares with nobody"),
        }
    }

    /// Takes `key` out; the ports that it had when others are left.
    pub(super) fn leave(&mut self, key: &Arc<ServiceKey>) -> Option<Ports> {
        match self {
            Self::Sole(holder) => (holder != key).then(Ports::new),
            Self::Shared(shared) => shared.leave(key),
        }
    }

    /// Whether what is recorded of `claimant` is how it is now.
    pub(super) fn records(&self, claimant: &Claimant<'_>) -> bool {
        match self {
            Self::Sole(holder) => holder == claimant.key && claimant.sharing.is_empty(),
            Self::Shared(shared) => {
                let ports = shared.holders.get(claimant.key);
                shared.sharing == *claimant.sharing
                    && shared.backend == claimant.backend
                    && ports.is_some_and(|ports| ports.iter().eq(claimant.ports))
            }
        }
    }

    /// Whether a holder is in `namespace`.
    pub(super) fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Sole(holder) => holder.namespace == namespace,
            Self::Shared(shared) => shared.namespaces.contains_key(namespace),
        }
    }

    /// The namespaces of the holders.
    pub(super) fn namespaces(&self) -> Vec<&str> {
        match self {
            Self::Sole(holder) => Vec::from([holder.namespace.as_str()]),
            Self::Shared(shared) => shared.namespaces.keys().map(String::as_str).collect(),
        }
    }

    /// The holders when they share.
    pub(super) fn shared(&self) -> Option<&Shared> {
        match self {
            Self::Sole(_) => None,
            Self::Shared(shared) => Some(shared),
        }
    }
}

impl Shared {
    fn join(&mut self, claimant: &Claimant<'_>) {
        for port in claimant.ports {
            self.ports.insert(*port, claimant.key.clone());
        }
        let ports = claimant.ports.iter().copied().collect();
        if self.holders.insert(claimant.key.clone(), ports).is_some() {
            return;
        }
        match self.namespaces.get_mut(&claimant.key.namespace) {
            Some(count) => *count += 1,
            None => {
                self.namespaces.insert(claimant.key.namespace.clone(), 1);
            }
        }
    }

    /// Whether a holder has `port`.
    pub(super) fn uses(&self, port: Port) -> bool {
        self.ports.contains_key(&port)
    }

    fn leave(&mut self, key: &Arc<ServiceKey>) -> Option<Ports> {
        let Some(ports) = self.holders.remove(key) else {
            return Some(Ports::new());
        };
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

    fn ports_admit(&self, claimant: &Claimant<'_>, address: IpAddr) -> Result<(), Refusal> {
        for port in claimant.ports {
            if let Some(holder) = self.ports.get(port).filter(|holder| *holder != claimant.key) {
                let holder = ServiceKey::clone(holder);
                return Err(Refusal::PortInUse {
                    address,
                    port: *port,
                    holder,
                });
            }
        }
        Ok(())
    }

    /// The holders of the lowest ports, but for `key`.
    fn others(&self, key: &Arc<ServiceKey>) -> Vec<ServiceKey> {
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
