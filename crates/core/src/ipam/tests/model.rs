//! The reference model: what the allocator may do, computed from all addresses and without state.

use super::*;
use crate::Pool;
use crate::config::{RequestScope, SharingScope};
use crate::ipam::DEFAULT_QUARANTINE;

/// Returns whether two Services that have one address already may have it.
pub(super) fn may_share(one: &Service, other: &Service) -> bool {
    !one.sharing_key.is_empty()
        && one.sharing_key == other.sharing_key
        && one.backend_key == other.backend_key
        && one.ports.is_disjoint(&other.ports)
}

/// Returns whether `service` may come to share an address of `pool` with `other`.
fn may_join(service: &Service, other: &Service, pool: &Pool) -> bool {
    let is_one_namespace = service.key.namespace == other.key.namespace;
    let is_in_scope = match pool.sharing {
        Some(SharingScope::Any) => true,
        Some(SharingScope::SameNamespace) => is_one_namespace,
        None => is_one_namespace || !service.is_local && !other.is_local,
    };
    may_share(service, other) && is_in_scope
}

fn prefers_two_families(service: &Service) -> bool {
    service.family_policy == FamilyPolicy::PreferDualStack && service.cluster_ips.len() == 2
}

/// Returns whether `service` has everything that it requests.
pub(super) fn is_satisfied(service: &Service) -> bool {
    let is_whole = service.assigned.len() == service.cluster_ips.len();
    let requested: BTreeSet<_> = service.request.addresses.iter().flatten().collect();
    let assigned: BTreeSet<_> = service.assigned.iter().collect();
    let has_requested = requested.is_empty()
        || requested == assigned
        || prefers_two_families(service) && requested.len() == 1 && requested.is_subset(&assigned);
    let pool = service.request.pool.as_ref();
    let has_pool = pool.is_none_or(|pool| service.assigned_pool.as_ref() == Some(pool));
    is_whole && has_requested && has_pool
}

/// Returns whether `service`, which was deleted, could get the addresses of its status again and has no reservation.
pub(super) fn is_restorable(world: &World, service: &Service) -> bool {
    let pools = world.catalog.pools();
    let mut eligible = pools.iter().filter(|pool| is_eligible(service, pool));
    let requested = service
        .request
        .addresses
        .as_ref()
        .is_ok_and(|requested| !requested.is_empty());
    let is_open = requested || eligible.any(|pool| service.assigned_pool.as_ref() == Some(&pool.name));
    let mut reservations = pools.iter().flat_map(|pool| pool.reservations.values());
    let has_reservation = reservations.any(|owner| *owner == service.key);
    is_open && !has_reservation && is_obtainable(world, service, &service.assigned)
}

/// Returns whether `service` should have got addresses that it does not have.
pub(super) fn is_owed(world: &World, service: &Service) -> bool {
    let Ok(requested) = &service.request.addresses else {
        return false;
    };
    let is_dual = service.cluster_ips.len() == 2;
    if service.family_policy == FamilyPolicy::RequireDualStack && !is_dual {
        return false;
    }
    let has_pool = |pool: &&Pool| service.assigned_pool.as_ref() == Some(&pool.name);
    let pools = world.catalog.pools();
    if !requested.is_empty() {
        let Some(target) = pools.iter().find(|pool| requested.iter().all(|a| pool.owns(*a))) else {
            return false;
        };
        let is_one_of_two = prefers_two_families(service) && requested.len() == 1;
        if requested.len() != service.cluster_ips.len() && !is_one_of_two {
            return false;
        }
        if !requested.iter().all(|a| service.assigned.contains(a)) {
            return is_obtainable(world, service, &beside(service, requested, target));
        }
        return is_one_of_two && lacks_obtainable(world, service, target);
    }
    if let Some(holding) = pools.iter().find(has_pool)
        && service
            .request
            .pool
            .as_ref()
            .is_none_or(|requested| *requested == holding.name)
    {
        return lacks_obtainable(world, service, holding);
    }
    let mut eligible = pools.iter().filter(|pool| is_eligible(service, pool));
    eligible.any(|pool| {
        choices(service, pool)
            .iter()
            .any(|choice| is_obtainable(world, service, choice))
    })
}

/// Returns whether a dual-stack Service with one address could also have the other one.
fn lacks_obtainable(world: &World, service: &Service, holding: &Pool) -> bool {
    let [has] = service.assigned.as_slice() else {
        return false;
    };
    if service.cluster_ips.len() < 2 {
        return false;
    }
    let together = |other| is_obtainable(world, service, &[*has, other]);
    let mut others = all(holding)
        .into_iter()
        .filter(|other| Family::of(*other) != Family::of(*has));
    others.any(together)
}

/// Returns the addresses that `service` has after a request for an address of `pool` is met.
fn beside(service: &Service, requested: &[IpAddr], pool: &Pool) -> Vec<IpAddr> {
    let mut addresses = requested.to_vec();
    if let [one] = requested {
        let is_other = |other: &&IpAddr| Family::of(**other) != Family::of(*one) && pool.owns(**other);
        addresses.extend(service.assigned.iter().filter(is_other));
    }
    addresses
}

/// Returns whether a request for an address is met as far as the pool and the quarantine are concerned. What the allocator
/// has forgotten at a restart counts, so a Service may get more than this says.
fn allows_request(world: &World, service: &Service, pool: &Pool, address: IpAddr) -> bool {
    let is_foreign = |key: &ServiceKey| key.namespace != service.key.namespace;
    let released = world.released.get(&address).into_iter().flatten();
    let released: Vec<_> = released.filter(|(key, _)| is_foreign(key)).collect();
    let is_in_quarantine = released
        .iter()
        .any(|(_, time)| *time + DEFAULT_QUARANTINE > world.now);
    let mut holders = others(world, service)
        .filter(|other| other.assigned.contains(&address))
        .peekable();
    let is_held = holders.peek().is_some();
    let is_in_scope = match pool.requests {
        RequestScope::Any => true,
        RequestScope::SameNamespace if is_held => holders.any(|other| !is_foreign(&other.key)),
        RequestScope::SameNamespace => released.is_empty(),
        RequestScope::Reserved => pool.reservations.get(&address) == Some(&service.key),
    };
    is_in_scope && (is_held || !is_in_quarantine)
}

fn is_eligible(service: &Service, pool: &Pool) -> bool {
    let open = match &service.request.pool {
        Some(requested) => *requested == pool.name,
        None => pool.auto_assign,
    };
    open && pool.allows(service)
}

/// Returns all choices of addresses of `pool` that are sufficient for `service`.
fn choices(service: &Service, pool: &Pool) -> Vec<Vec<IpAddr>> {
    let singles = |family: Option<Family>| -> Vec<Vec<IpAddr>> {
        let fitting = all(pool)
            .into_iter()
            .filter(|a| family.is_none_or(|family| Family::of(*a) == family));
        fitting.map(|address| Vec::from([address])).collect()
    };
    match (service.cluster_ips.as_slice(), service.family_policy) {
        ([one], _) => singles(Some(Family::of(*one))),
        (_, FamilyPolicy::PreferDualStack) => singles(None),
        (_, FamilyPolicy::SingleStack | FamilyPolicy::RequireDualStack) => pairs(pool),
    }
}

fn pairs(pool: &Pool) -> Vec<Vec<IpAddr>> {
    let (four, six): (Vec<_>, Vec<_>) = all(pool).into_iter().partition(IpAddr::is_ipv4);
    four.iter()
        .flat_map(|four| six.iter().map(|six| Vec::from([*four, *six])))
        .collect()
}

fn all(pool: &Pool) -> Vec<IpAddr> {
    let of = |family| {
        let last = pool.addresses.last_position(family);
        let positions = last.into_iter().flat_map(|last| 0..=last);
        positions.filter_map(move |position| pool.addresses.at(family, position))
    };
    of(Family::V4)
        .chain(of(Family::V6))
        .filter(|address| pool.owns(*address))
        .collect()
}

/// Returns whether `service` may have exactly `addresses` together with the addresses that all others have.
pub(super) fn is_obtainable(world: &World, service: &Service, addresses: &[IpAddr]) -> bool {
    let families: BTreeSet<Family> = addresses.iter().map(|address| Family::of(*address)).collect();
    let wanted: BTreeSet<Family> = service
        .cluster_ips
        .iter()
        .map(|address| Family::of(*address))
        .collect();
    let requested = service
        .request
        .addresses
        .as_ref()
        .is_ok_and(|requested| !requested.is_empty());
    let fits = families.len() == addresses.len()
        && families.is_subset(&wanted)
        && (!requested || families == wanted || prefers_two_families(service));
    let owner = world
        .catalog
        .pools()
        .iter()
        .find(|pool| addresses.iter().all(|a| pool.owns(*a)));
    let Some(pool) = owner.filter(|_| fits) else {
        return false;
    };
    let in_requested_pool = service
        .request
        .pool
        .as_ref()
        .is_none_or(|requested| *requested == pool.name);
    let is_free = |address: &IpAddr| {
        let reserved = pool.reservations.get(address);
        reserved.is_none_or(|owner| *owner == service.key)
            && others(world, service)
                .filter(|o| o.assigned.contains(address))
                .all(|o| may_join(service, o, pool))
    };
    let requested = service.request.addresses.iter().flatten();
    let new = requested.filter(|a| addresses.contains(a) && !service.assigned.contains(a));
    let is_allowed = new.copied().all(|a| allows_request(world, service, pool, a));
    in_requested_pool
        && is_allowed
        && pool.allows(service)
        && addresses.iter().all(is_free)
        && is_within_quota(world, service, pool, addresses)
}

fn is_within_quota(world: &World, service: &Service, pool: &Pool, addresses: &[IpAddr]) -> bool {
    let neighbours = others(world, service).filter(|other| other.key.namespace == service.key.namespace);
    let held = neighbours
        .flat_map(|other| &other.assigned)
        .filter(|address| pool.owns(**address));
    let held: BTreeSet<_> = held.collect();
    let new = addresses.iter().filter(|address| !held.contains(address)).count();
    let limit = pool.quota_per_namespace;
    new == 0 || limit.is_none_or(|limit| (held.len() + new) as u64 <= limit)
}

fn others<'a>(world: &'a World, service: &'a Service) -> impl Iterator<Item = &'a Service> {
    world.services.values().filter(|other| other.key != service.key)
}
