//! The reference model: what the allocator may do, computed from all addresses and without state.

use super::*;
use crate::Pool;

/// Returns whether two Services may have one address.
pub(super) fn may_share(one: &Service, other: &Service) -> bool {
    !one.sharing_key.is_empty()
        && one.sharing_key == other.sharing_key
        && one.backend_key == other.backend_key
        && one.ports.is_disjoint(&other.ports)
}

/// Returns whether `service` has everything that it requests.
pub(super) fn is_satisfied(service: &Service) -> bool {
    let is_whole = service.assigned.len() == service.cluster_ips.len();
    let requested: BTreeSet<_> = service.request.addresses.iter().flatten().collect();
    let has_requested = requested.is_empty() || requested == service.assigned.iter().collect();
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
    if !requested.is_empty() {
        let is_met = service.assigned.len() == requested.len()
            && requested.iter().all(|a| service.assigned.contains(a));
        return !is_met && is_obtainable(world, service, requested);
    }
    let has_pool = |pool: &&Pool| service.assigned_pool.as_ref() == Some(&pool.name);
    let pools = world.catalog.pools();
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
    let here = all(holding)
        .into_iter()
        .filter(|other| Family::of(*other) != Family::of(*has))
        .any(together);
    let moves = service.family_policy == FamilyPolicy::RequireDualStack;
    let mut elsewhere = world
        .catalog
        .pools()
        .iter()
        .filter(|pool| is_eligible(service, pool));
    let pair = |pool: &Pool| pairs(pool).iter().any(|pair| is_obtainable(world, service, pair));
    here || moves && elsewhere.any(pair)
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
        && (!requested || families == wanted);
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
                .all(|o| may_share(o, service))
    };
    in_requested_pool
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
