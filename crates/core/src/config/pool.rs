//! An `IPAddressPool` that was parsed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::conflict_detection::ConflictDetection;
use super::problem::{ConfigError, ConfigErrors};
use super::raw::{RawAllocation, RawPool, RawReservation};
use super::selectors::{self, any_matches, empty_or_matches};
use super::tenancy::{RequestScope, SharingScope};
use crate::address::{AddressRange, AddressSet, Capacity};
use crate::{Labels, PoolName, Selector, Service, ServiceKey};

/// Addresses for Services, and which Services may get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// `metadata.name`.
    pub name: PoolName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The addresses, in the order in which they are given out.
    pub addresses: AddressSet,
    /// Whether Services without a request get addresses of this pool.
    pub auto_assign: bool,
    /// Whether IPv4 addresses that end in 0 or 255 are not given out.
    pub avoid_buggy: bool,
    /// Which Services may use the pool, and its priority. `None`: every Service may, and all scoped pools come first.
    pub allocation: Option<Allocation>,
    /// The most addresses of this pool that one namespace may have.
    pub quota_per_namespace: Option<u64>,
    /// Reserved addresses, each with the Service that may have it.
    pub reservations: BTreeMap<IpAddr, ServiceKey>,
    /// Which requests for particular addresses are met.
    pub requests: RequestScope,
    /// Which Services may share an address.
    pub sharing: Option<SharingScope>,
    /// What to do when a foreign host answers for an address of this pool.
    pub conflict_detection: ConflictDetection,
}

/// `spec.serviceAllocation`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Pools with the lowest number come first, those without one last.
    pub priority: Option<u32>,
    /// Which Services may use the pool; empty is all.
    pub service_selectors: Vec<Selector>,
    listed: BTreeSet<String>,
    selectors: Vec<Selector>,
    selected: BTreeSet<String>,
}

impl Pool {
    pub(super) fn parse(raw: &RawPool) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        if raw.name.is_empty() {
            errors.push((String::from("metadata.name"), ConfigError::MissingName));
        }
        let addresses = parse_addresses(raw, &mut errors);
        let mut pool = Self {
            name: PoolName::new(&raw.name),
            labels: raw.labels.clone(),
            addresses,
            auto_assign: raw.auto_assign.unwrap_or(true),
            avoid_buggy: raw.avoid_buggy_ips.unwrap_or(false),
            allocation: raw
                .allocation
                .as_ref()
                .map(|raw| Allocation::parse(raw, &mut errors)),
            quota_per_namespace: parse_quota(raw.quota_per_namespace, &mut errors),
            reservations: BTreeMap::new(),
            requests: raw.requests,
            sharing: raw.sharing,
            conflict_detection: raw.conflict_detection,
        };
        // Without the addresses that could not be parsed, reservations would seem to be outside of the pool.
        if errors.is_empty() {
            pool.reservations = parse_reservations(&pool, &raw.reservations, &mut errors);
        }
        if errors.is_empty() { Ok(pool) } else { Err(errors) }
    }

    /// Returns whether `address` is in one of the ranges, given out or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.addresses.contains(address)
    }

    /// Returns whether all of `addresses` are in the ranges, given out or not.
    pub fn contains_all(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().all(|address| self.contains(*address))
    }

    /// Returns whether the pool gives `address` out.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.owns(address, self.avoid_buggy)
    }

    /// Returns whether `serviceAllocation` lets the Service use the pool. Namespace selectors that match no namespace let no
    /// Service use it.
    pub fn allows(&self, service: &Service) -> bool {
        self.allocation
            .as_ref()
            .is_none_or(|allocation| allocation.allows(service))
    }

    /// Returns whether Services of different namespaces may share an address; `is_local` says whether one of them has the
    /// policy Local.
    pub fn shares_across_namespaces(&self, is_local: bool) -> bool {
        match self.sharing {
            Some(SharingScope::Any) => true,
            Some(SharingScope::SameNamespace) => false,
            None => !is_local,
        }
    }

    /// Returns whether there are Services that may share an address only with others of their namespace.
    pub fn shares_within_namespaces(&self) -> bool {
        self.sharing != Some(SharingScope::Any)
    }

    /// Returns how many addresses the pool can give out; saturating.
    pub fn capacity(&self) -> Capacity {
        self.addresses.capacity(self.avoid_buggy)
    }

    /// Evaluates the namespace selectors.
    pub(super) fn resolve_namespaces(&mut self, namespaces: &BTreeMap<String, Labels>) {
        if let Some(allocation) = &mut self.allocation {
            allocation.selected = namespaces
                .iter()
                .filter(|(_, labels)| any_matches(&allocation.selectors, labels))
                .map(|(name, _)| name.clone())
                .collect();
        }
    }
}

impl Allocation {
    fn parse(raw: &RawAllocation, errors: &mut ConfigErrors) -> Self {
        let mut listed = BTreeSet::new();
        for (place, namespace) in raw.namespaces.iter().enumerate() {
            if !listed.insert(namespace.clone()) {
                let error = ConfigError::DuplicateNamespace(namespace.clone());
                errors.push((format!("spec.serviceAllocation.namespaces[{place}]"), error));
            }
        }
        Self {
            priority: u32::try_from(raw.priority).ok().filter(|priority| *priority > 0),
            service_selectors: selectors::parse(
                &raw.service_selectors,
                "serviceAllocation.serviceSelectors",
                "serviceSelectors",
                "invalid service label selector",
                errors,
            ),
            listed,
            selectors: selectors::parse(
                &raw.namespace_selectors,
                "serviceAllocation.namespaceSelectors",
                "namespaceSelectors",
                "invalid namespace label selector",
                errors,
            ),
            selected: BTreeSet::new(),
        }
    }

    fn allows(&self, service: &Service) -> bool {
        let namespace = &*service.key.namespace;
        let is_everywhere = self.listed.is_empty() && self.selectors.is_empty();
        let is_selected =
            is_everywhere || self.listed.contains(namespace) || self.selected.contains(namespace);
        is_selected && empty_or_matches(&self.service_selectors, &service.labels)
    }
}

fn parse_addresses(raw: &RawPool, errors: &mut ConfigErrors) -> AddressSet {
    if raw.addresses.is_empty() {
        errors.push((String::from("spec.addresses"), ConfigError::NoAddresses));
    }
    let mut ranges = Vec::new();
    let mut places = Vec::new();
    for (place, entry) in raw.addresses.iter().enumerate() {
        match entry.parse::<AddressRange>() {
            Ok(range) => {
                ranges.push(range);
                places.push(place);
            }
            Err(error) => errors.push((format!("spec.addresses[{place}]"), error.into())),
        }
    }
    AddressSet::new(ranges).unwrap_or_else(|overlaps| {
        for overlap in overlaps {
            let (earlier, later) = (places[overlap.earlier], places[overlap.later]);
            let error = ConfigError::Overlap {
                entry: raw.addresses[later].clone(),
                pool: PoolName::new(&raw.name),
                other: raw.addresses[earlier].clone(),
                other_pool: PoolName::new(&raw.name),
            };
            errors.push((format!("spec.addresses[{later}]"), error));
        }
        AddressSet::default()
    })
}

fn parse_quota(raw: Option<i64>, errors: &mut ConfigErrors) -> Option<u64> {
    let quota = raw?;
    let parsed = u64::try_from(quota).ok();
    if parsed.is_none() {
        errors.push((
            String::from("spec.quota.perNamespace"),
            ConfigError::NegativeQuota(quota),
        ));
    }
    parsed
}

fn parse_reservations(
    pool: &Pool,
    raw: &[RawReservation],
    errors: &mut ConfigErrors,
) -> BTreeMap<IpAddr, ServiceKey> {
    let mut reservations = BTreeMap::new();
    for (place, raw) in raw.iter().enumerate() {
        let field = format!("spec.reservations[{place}]");
        let Ok(address) = raw.address.parse::<IpAddr>() else {
            errors.push((
                field + ".address",
                ConfigError::ReservationAddress(raw.address.clone()),
            ));
            continue;
        };
        let address = address.to_canonical();
        if !pool.owns(address) {
            errors.push((field + ".address", ConfigError::ReservationOutside(address)));
        } else if raw.namespace.is_empty() || raw.service.is_empty() {
            errors.push((field, ConfigError::ReservationIncomplete));
        } else if reservations
            .insert(address, ServiceKey::new(&raw.namespace, &raw.service))
            .is_some()
        {
            errors.push((field + ".address", ConfigError::DuplicateReservation(address)));
        }
    }
    reservations
}
