//! A checked `IPAddressPool`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::selectors::{self, Mistakes, any_matches, empty_or_matches};
use super::{ConfigError, RawAllocation, RawPool, RawReservation};
use crate::address::{AddressRange, AddressSet, Capacity};
use crate::{Labels, PoolName, Selector, Service, ServiceKey};

/// Addresses to give to Services, and to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// `metadata.name`.
    pub name: PoolName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The addresses, in the order in which they are given out.
    pub addresses: AddressSet,
    /// Whether Services that ask for nothing in particular get addresses from here.
    pub auto_assign: bool,
    /// Whether IPv4 addresses that end in 0 or 255 are kept out of use.
    pub avoid_buggy: bool,
    /// Which Services may use the pool, and how early; `None` is every Service, after all such pools.
    pub allocation: Option<Allocation>,
    /// The most addresses of this pool that one namespace may hold.
    pub quota_per_namespace: Option<u64>,
    /// Addresses kept for one Service each.
    pub reservations: BTreeMap<IpAddr, Reservation>,
    /// What to do about a machine that has an address of this pool already.
    pub conflict_detection: ConflictDetection,
}

/// What to do when a machine that runs no speaker answers for an address that is to be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictDetection {
    /// Not to announce it as long as it does.
    #[default]
    Enforce,
    /// To announce it all the same, and say so.
    Warn,
    /// To announce it.
    Off,
}

/// The Service that an address is kept for.
pub type Reservation = ServiceKey;

/// `spec.serviceAllocation`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Pools with the lowest number come first; `None` comes last.
    pub priority: Option<u32>,
    /// Labels of Services; empty is all.
    pub service_selectors: Vec<Selector>,
    listed: BTreeSet<String>,
    selectors: Vec<Selector>,
    selected: BTreeSet<String>,
}

impl Pool {
    pub(super) fn parse(raw: &RawPool) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new();
        if raw.name.is_empty() {
            mistakes.push((String::from("metadata.name"), ConfigError::MissingName));
        }
        let addresses = parse_addresses(raw, &mut mistakes);
        let mut pool = Self {
            name: PoolName::new(&raw.name),
            labels: raw.labels.clone(),
            addresses,
            auto_assign: raw.auto_assign.unwrap_or(true),
            avoid_buggy: raw.avoid_buggy_ips.unwrap_or(false),
            allocation: raw
                .allocation
                .as_ref()
                .map(|raw| Allocation::parse(raw, &mut mistakes)),
            quota_per_namespace: parse_quota(raw.quota_per_namespace, &mut mistakes),
            reservations: BTreeMap::new(),
            conflict_detection: raw.conflict_detection,
        };
        // Against unreadable addresses every reservation would look as if it were outside.
        if mistakes.is_empty() {
            pool.reservations = parse_reservations(&pool, &raw.reservations, &mut mistakes);
        }
        if mistakes.is_empty() {
            Ok(pool)
        } else {
            Err(mistakes)
        }
    }

    /// Whether `address` is in one of the pool's ranges, also when it is kept out of use.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.addresses.contains(address)
    }

    /// Whether all of `addresses` are.
    pub fn contains_all(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().all(|address| self.contains(*address))
    }

    /// Whether the pool gives `address` out: it is in a range and not kept out of use.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.owns(address, self.avoid_buggy)
    }

    /// Whether the pool's `serviceAllocation` lets the Service use it at all. Namespace selectors that match no
    /// namespace let nobody in.
    pub fn allows(&self, service: &Service) -> bool {
        self.allocation
            .as_ref()
            .is_none_or(|allocation| allocation.allows(service))
    }

    /// How many addresses the pool can give out; saturating.
    pub fn capacity(&self) -> Capacity {
        self.addresses.capacity(self.avoid_buggy)
    }

    /// Looks up which namespaces the namespace selectors mean now.
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
    fn parse(raw: &RawAllocation, mistakes: &mut Mistakes) -> Self {
        let mut listed = BTreeSet::new();
        for (place, namespace) in raw.namespaces.iter().enumerate() {
            if !listed.insert(namespace.clone()) {
                let error = ConfigError::DuplicateNamespace(namespace.clone());
                mistakes.push((format!("spec.serviceAllocation.namespaces[{place}]"), error));
            }
        }
        Self {
            priority: u32::try_from(raw.priority).ok().filter(|priority| *priority > 0),
            service_selectors: selectors::parse(
                &raw.service_selectors,
                "serviceAllocation.serviceSelectors",
                "serviceSelectors",
                "invalid service label selector",
                mistakes,
            ),
            listed,
            selectors: selectors::parse(
                &raw.namespace_selectors,
                "serviceAllocation.namespaceSelectors",
                "namespaceSelectors",
                "invalid namespace label selector",
                mistakes,
            ),
            selected: BTreeSet::new(),
        }
    }

    fn allows(&self, service: &Service) -> bool {
        let namespace = &service.key.namespace;
        let anywhere = self.listed.is_empty() && self.selectors.is_empty();
        let here = anywhere || self.listed.contains(namespace) || self.selected.contains(namespace);
        here && empty_or_matches(&self.service_selectors, &service.labels)
    }
}

fn parse_addresses(raw: &RawPool, mistakes: &mut Mistakes) -> AddressSet {
    if raw.addresses.is_empty() {
        mistakes.push((String::from("spec.addresses"), ConfigError::NoAddresses));
    }
    let mut ranges = Vec::new();
    let mut places = Vec::new();
    for (place, entry) in raw.addresses.iter().enumerate() {
        match entry.parse::<AddressRange>() {
            Ok(range) => {
                ranges.push(range);
                places.push(place);
            }
            Err(error) => mistakes.push((format!("spec.addresses[{place}]"), error.into())),
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
            mistakes.push((format!("spec.addresses[{later}]"), error));
        }
        AddressSet::default()
    })
}

fn parse_quota(raw: Option<i64>, mistakes: &mut Mistakes) -> Option<u64> {
    let quota = raw?;
    let parsed = u64::try_from(quota).ok();
    if parsed.is_none() {
        mistakes.push((
            String::from("spec.quota.perNamespace"),
            ConfigError::NegativeQuota(quota),
        ));
    }
    parsed
}

fn parse_reservations(
    pool: &Pool,
    raw: &[RawReservation],
    mistakes: &mut Mistakes,
) -> BTreeMap<IpAddr, Reservation> {
    let mut reservations = BTreeMap::new();
    for (place, raw) in raw.iter().enumerate() {
        let field = format!("spec.reservations[{place}]");
        let Ok(address) = raw.address.parse::<IpAddr>() else {
            mistakes.push((
                field + ".address",
                ConfigError::ReservationAddress(raw.address.clone()),
            ));
            continue;
        };
        let address = address.to_canonical();
        if !pool.owns(address) {
            mistakes.push((field + ".address", ConfigError::ReservationOutside(address)));
        } else if raw.namespace.is_empty() || raw.service.is_empty() {
            mistakes.push((field, ConfigError::ReservationIncomplete));
        } else if reservations
            .insert(address, ServiceKey::new(&raw.namespace, &raw.service))
            .is_some()
        {
            mistakes.push((field + ".address", ConfigError::DuplicateReservation(address)));
        }
    }
    reservations
}
