//! Properties that hold after any sequence of changes, against a model that examines every address.

use alloc::boxed::Box;

use proptest::prelude::*;
use proptest::sample::select;

use super::model::{is_owed, is_restorable, is_satisfied, may_share};
use super::*;
use crate::AddressRequest;
use crate::config::{RequestScope, SharingScope};
use crate::ipam::DEFAULT_QUARANTINE;

/// A change of the world.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Set(Box<Service>),
    Delete(&'static str),
    Pools(usize),
    Pass(u64),
    Restart(usize),
    HandOver,
}

const NAMES: [&str; 7] = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "b/3"];

/// Returns small pools, so that the model can examine all addresses and Services conflict.
pub(super) fn configurations() -> [Vec<RawPool>; 6] {
    let small = pool("small", &["10.0.0.1-10.0.0.2", "fc00::/127"]);
    let reservation = RawReservation {
        address: "10.0.0.2".into(),
        namespace: "a".into(),
        service: "3".into(),
    };
    let strict = RawPool {
        quota_per_namespace: Some(2),
        reservations: Vec::from([reservation]),
        ..pool("strict", &["10.0.0.0-10.0.0.4", "fc00::/126"])
    };
    let labelled = RawPool {
        allocation: Some(RawAllocation {
            service_selectors: Vec::from([selector("app", "x")]),
            ..RawAllocation::default()
        }),
        ..pool("labelled", &["10.0.2.0/32", "fc02::/128"])
    };
    let own = RawPool {
        sharing: Some(SharingScope::SameNamespace),
        requests: RequestScope::SameNamespace,
        ..pool("small", &["10.0.0.1-10.0.0.2", "fc00::/127"])
    };
    let shared = RawPool {
        sharing: Some(SharingScope::Any),
        ..pool("scoped", &["10.0.1.0/31"])
    };
    let buggy = RawPool {
        avoid_buggy_ips: Some(true),
        ..pool("small", &["10.0.0.254-10.0.1.1", "10.0.0.0/31"])
    };
    [
        Vec::from([small.clone()]),
        Vec::from([
            small,
            for_namespace(pool("scoped", &["10.0.1.0/31"]), "a", 3),
            labelled,
            only_on_request(pool("on-request", &["fc01::/127"])),
        ]),
        Vec::from([strict]),
        Vec::from([buggy, pool("six", &["fc00::/127"])]),
        Vec::from([own, shared]),
        Vec::new(),
    ]
}

fn requests() -> impl Strategy<Value = Vec<IpAddr>> {
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.1.0", "fc00::1", "fc01::"]
        .map(ip)
        .to_vec();
    prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::sample::subsequence(addresses, 1..=2),
    ]
}

fn services() -> impl Strategy<Value = Service> {
    let policies = [
        FamilyPolicy::SingleStack,
        FamilyPolicy::PreferDualStack,
        FamilyPolicy::RequireDualStack,
    ];
    let pool = prop_oneof![5 => Just(None), 1 => select(Vec::from(["small", "on-request", "strict", "scoped"])).prop_map(Some)];
    (
        select(NAMES.to_vec()),
        (0i64..3, 0usize..4, select(policies.to_vec()), any::<bool>()),
        (
            select(Vec::from(["", "", "k"])),
            select(Vec::from([("", false), ("", false), ("", true), ("x", true)])),
            80u16..82,
        ),
        requests(),
        pool,
        prop::option::weighted(0.1, requests()),
    )
        .prop_map(
            |(
                name,
                (created, families, policy, is_labelled),
                (sharing_key, (backend, is_local), port),
                requested,
                pool,
                status,
            )| {
                let base = match families {
                    0 | 1 => v4(name),
                    2 => v6(name),
                    _ => dual(name, policy),
                };
                let mut service = sharing(base, sharing_key, port);
                service.created = created;
                service.labels = labels(if is_labelled { &[("app", "x")] } else { &[] });
                service.family_policy = policy;
                service.backend_key = backend.into();
                service.is_local = is_local;
                service.request.addresses = Ok(requested);
                service.request.pool = pool.map(PoolName::from);
                service.assigned = status.unwrap_or_default().into();
                service
            },
        )
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => services().prop_map(Box::new).prop_map(Step::Set),
        3 => select(NAMES.to_vec()).prop_map(Step::Delete),
        1 => (0usize..6).prop_map(Step::Pools),
        1 => select(Vec::from([1u64, 30, 60])).prop_map(Step::Pass),
        1 => (0usize..7).prop_map(Step::Restart),
        1 => Just(Step::HandOver),
    ];
    prop::collection::vec(step, 1..40)
}

/// Returns a step after which two controllers have the same state: no new controller, and no other program that writes
/// statuses.
fn undisturbed(step: Step) -> Option<Step> {
    match step {
        Step::Set(service) => Some(Step::Set(Box::new(has(*service, &[])))),
        Step::Restart(_) | Step::HandOver => None,
        Step::Delete(_) | Step::Pools(_) | Step::Pass(_) => Some(step),
    }
}

impl World {
    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Set(mut service) => {
                // A change of a Service does not change its status, unless another program writes it.
                let existing = self.services.get(&service.key);
                service.is_marked = existing.is_some_and(|existing| existing.is_marked);
                if let Some(existing) = existing.filter(|_| service.assigned.is_empty()) {
                    service.assigned.clone_from(&existing.assigned);
                    service.assigned_pool.clone_from(&existing.assigned_pool);
                    service.created = existing.created;
                }
                self.set(*service);
                self.write_back();
            }
            Step::Delete(name) => self.delete(name),
            Step::Pools(number) => {
                let pools = &configurations()[number];
                self.pools(pools);
            }
            Step::Pass(seconds) => self.pass(seconds),
            Step::Restart(turn) => self.restart_in_order(turn),
            Step::HandOver => self.hand_over(),
        }
    }

    /// Writes the statuses that another program changed again, as the controller does.
    fn write_back(&mut self) {
        let mut changed = Vec::new();
        for (key, service) in &mut self.services {
            let (assigned, pool) = match self.allocator.outcome(key) {
                Some(AllocationOutcome::Assigned(assignment)) => {
                    (assignment.addresses, Some(assignment.pool))
                }
                Some(AllocationOutcome::Unassigned(_)) | None => (Addresses::new(), None),
            };
            if service.assigned != assigned || service.assigned_pool != pool {
                (service.assigned, service.assigned_pool) = (assigned, pool);
                service.is_marked = true;
                changed.push(service.clone());
            }
        }
        for service in changed {
            self.watch(service);
        }
        self.deliver();
    }

    /// Restarts, and lists the Services from the place `turn` on, then the others.
    fn restart_in_order(&mut self, turn: usize) {
        let mut services: Vec<Service> = self.services.values().cloned().collect();
        let turn = turn.min(services.len());
        services.rotate_left(turn);
        self.allocator = Allocator::new();
        for service in services {
            self.allocator.set_service(service, self.now);
        }
        self.allocator.set_catalog(&self.catalog, self.now);
        self.allocator.activate(self.now);
        self.deliver();
    }

    fn statuses(&self) -> BTreeMap<ServiceKey, (Addresses, Option<PoolName>)> {
        let status = |service: &Service| (service.assigned.clone(), service.assigned_pool.clone());
        self.services
            .iter()
            .map(|(key, service)| (key.clone(), status(service)))
            .collect()
    }

    /// Asserts that no address is used twice unless shared, and none is outside the pools.
    fn assert_sound(&self) {
        for service in self
            .services
            .values()
            .filter(|service| !service.assigned.is_empty())
        {
            let name = service.assigned_pool.as_ref().expect("an address is from a pool");
            let pool = self
                .catalog
                .pools()
                .iter()
                .find(|pool| pool.name == *name)
                .expect("the pool exists");
            let families: BTreeSet<_> = service
                .assigned
                .iter()
                .map(|address| Family::of(*address))
                .collect();
            assert_eq!(families.len(), service.assigned.len());
            for address in &service.assigned {
                assert!(pool.owns(*address), "{address} is in {name}");
                let serves = |cluster_ip: &IpAddr| Family::of(*cluster_ip) == Family::of(*address);
                assert!(
                    service.cluster_ips.iter().any(serves),
                    "{} can serve {address}",
                    service.key
                );
                let holds_too =
                    |other: &&Service| other.key != service.key && other.assigned.contains(address);
                for other in self.services.values().filter(holds_too) {
                    assert!(
                        may_share(service, other),
                        "{} and {} on {address}",
                        service.key,
                        other.key
                    );
                }
            }
        }
    }

    /// Asserts that the addresses that Services did not have `before` are of pools that are open to them.
    fn assert_new_addresses_are_of_open_pools(&self, before: &Self) {
        for service in self.services.values() {
            let had = before.services.get(&service.key).map(|service| &service.assigned);
            for address in &service.assigned {
                let mut pools = self.catalog.pools().iter().filter(|pool| pool.owns(*address));
                assert!(
                    had.is_some_and(|had| had.contains(address)) || pools.any(|pool| pool.allows(service)),
                    "{} gets {address}",
                    service.key
                );
            }
        }
    }

    /// Asserts that Services without a request have the addresses that they had `before`, as far as a pool has them. Of
    /// addresses in different pools the first one counts.
    fn assert_addresses_in_pools_stay(&self, before: &Self) {
        for service in before.services.values() {
            if service.request != AddressRequest::default() {
                continue;
            }
            let owner = |address: &IpAddr| self.catalog.pools().iter().find(|pool| pool.owns(*address));
            let Some(pool) = service.assigned.iter().find_map(owner) else {
                continue;
            };
            let after = &self.services[&service.key].assigned;
            for address in service.assigned.iter().filter(|address| pool.owns(**address)) {
                assert!(after.contains(address), "{} loses {address}", service.key);
            }
        }
    }

    /// Asserts that no Service got by request `before` the end of the quarantine what another namespace released, unless that
    /// namespace has no room in its quota for it.
    fn assert_quarantine_is_for_others(&self, before: &Self) {
        for service in self.services.values() {
            let requested = service.request.addresses.iter().flatten();
            let has = |address: &&IpAddr| service.assigned.contains(address);
            for address in requested.filter(has) {
                let had = before
                    .services
                    .get(&service.key)
                    .is_some_and(|s| s.assigned.contains(address));
                let is_held = self
                    .services
                    .values()
                    .any(|other| other.key != service.key && other.assigned.contains(address));
                let Some((last, time)) = self.last_release(*address).filter(|_| !had && !is_held) else {
                    continue;
                };
                // The quarantine counts from an earlier release if the last one was before its end.
                let mut releases = self.released[address].iter().map(|(_, time)| *time);
                let is_over = releases.any(|first| {
                    let end = first + DEFAULT_QUARANTINE;
                    *time < end && end <= self.now
                });
                let is_own = last.namespace == service.key.namespace;
                let has_shared = self.had.contains(&(service.key.clone(), *address));
                let mut pools = self.catalog.pools().iter();
                let is_reserved = pools.any(|pool| pool.reservations.get(address) == Some(&service.key));
                let is_void = before.quota_is_used(&last.namespace, *address)
                    || self.quota_is_used(&last.namespace, *address);
                assert!(
                    is_over || is_own || has_shared || is_reserved || is_void,
                    "{} gets {address} of {last}",
                    service.key
                );
            }
        }
    }

    /// Returns whether `namespace` has used its quota in the pool of `address` with other addresses: those that it has, and
    /// those of which it was the last holder.
    fn quota_is_used(&self, namespace: &str, address: IpAddr) -> bool {
        let Some(pool) = self.catalog.pools().iter().find(|pool| pool.owns(address)) else {
            return false;
        };
        let holders = self.services.values().filter(|s| *s.key.namespace == *namespace);
        let held = holders.flat_map(|service| service.assigned.iter());
        let released = self.released.iter().filter_map(|(address, releases)| {
            let (last, time) = releases.last()?;
            (*last.namespace == *namespace && self.now < *time + DEFAULT_QUARANTINE).then_some(address)
        });
        let others: BTreeSet<_> = held
            .chain(released)
            .filter(|other| **other != address && pool.owns(**other))
            .collect();
        pool.quota_per_namespace
            .is_some_and(|quota| others.len() as u64 >= quota)
    }

    fn last_release(&self, address: IpAddr) -> Option<&(ServiceKey, Time)> {
        self.released.get(&address)?.last()
    }

    /// Returns whether a pool gives no address on request that another namespace had, as far as that is remembered.
    fn depends_on_memory(&self) -> bool {
        let mut pools = self.catalog.pools().iter();
        pools.any(|pool| pool.requests == RequestScope::SameNamespace)
    }

    fn assert_no_service_is_owed(&self) {
        for service in self.services.values() {
            let outcome = self.allocator.outcome(&service.key);
            assert!(
                !is_owed(self, service),
                "{service:?} could have more than {outcome:?}"
            );
        }
    }

    fn assert_usage_is_what_statuses_say(&mut self) {
        while let Some(name) = self.allocator.poll_changed_pool() {
            let usage = self.allocator.usage(&name).expect("a pool in force");
            self.followed.insert(name, usage);
        }
        let in_force = self.usage();
        self.followed
            .retain(|name, _| in_force.iter().any(|(pool, _)| pool == name));
        // The polled changes give the usage of all pools.
        assert_eq!(self.followed, in_force.iter().cloned().collect());
        for (name, usage) in &in_force {
            let pool = self
                .catalog
                .pools()
                .iter()
                .find(|pool| pool.name == *name)
                .expect("a pool");
            let used: BTreeSet<_> = self
                .services
                .values()
                .flat_map(|s| &s.assigned)
                .filter(|a| pool.owns(**a))
                .collect();
            let (four, six): (Vec<IpAddr>, Vec<IpAddr>) =
                used.into_iter().partition(|address| address.is_ipv4());
            assert_eq!(
                (usage.assigned_v4, usage.assigned_v6),
                (four.len() as u128, six.len() as u128)
            );
            assert_eq!(usage.available_v4 + usage.assigned_v4, usage.capacity.v4);
            assert_eq!(usage.available_v6 + usage.assigned_v6, usage.capacity.v6);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_used_twice_or_outside_pools_and_no_service_waits_for_a_free_one(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            let before = world.clone();
            world.step(step);
            world.assert_sound();
            world.assert_new_addresses_are_of_open_pools(&before);
            world.assert_no_service_is_owed();
            world.assert_usage_is_what_statuses_say();
        }
    }

    #[test]
    fn a_service_that_has_what_it_requests_is_not_moved_by_others(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            let touched = match &step {
                Step::Set(service) => Some(service.key.clone()),
                Step::Delete(name) => Some(key(name)),
                Step::Pools(_) => None,
                Step::Pass(_) | Step::Restart(_) | Step::HandOver => Some(key("no/service")),
            };
            let before = world.clone();
            world.step(step);
            let Some(touched) = touched else { continue };
            for (key, service) in &before.services {
                if *key != touched && is_satisfied(service) {
                    prop_assert_eq!(&world.services[key].assigned, &service.assigned);
                }
            }
        }
    }

    #[test]
    fn no_change_of_pools_takes_an_address_that_a_pool_still_has(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            let changes_services = matches!(step, Step::Set(_) | Step::Delete(_));
            let before = world.clone();
            world.step(step);
            if !changes_services {
                world.assert_addresses_in_pools_stay(&before);
            }
        }
    }

    #[test]
    fn in_quarantine_no_service_of_another_namespace_gets_an_address_by_request(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        // A restart forgets the quarantine.
        for step in steps.into_iter().filter_map(undisturbed) {
            let before = world.clone();
            world.step(step);
            world.assert_quarantine_is_for_others(&before);
        }
    }

    #[test]
    fn a_restart_in_any_order_changes_nothing(steps in steps(), turn in 0usize..7) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            world.step(step);
        }
        // A restart forgets the quarantine, and so does its end.
        world.pass(60);
        if world.depends_on_memory() {
            return Ok(());
        }
        let before = world.statuses();
        world.restart_in_order(turn);
        prop_assert_eq!(world.statuses(), before);
    }

    #[test]
    fn a_hand_over_changes_nothing(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            world.step(step);
        }
        // A standby takes for releases also what another program wrote into statuses.
        world.pass(60);
        if world.depends_on_memory() {
            return Ok(());
        }
        let before = world.statuses();
        world.hand_over();
        prop_assert_eq!(world.statuses(), before);
    }

    #[test]
    fn to_become_standby_and_active_again_changes_nothing(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            world.step(step);
        }
        let before = world.statuses();
        world.allocator.deactivate(world.now);
        for key in before.keys() {
            prop_assert_eq!((world.allocator.outcome(key), world.allocator.assignment(key)), (None, None));
        }
        prop_assert_eq!(world.allocator.poll_decision(), None);
        world.allocator.activate(world.now);
        world.deliver();
        prop_assert_eq!(world.statuses(), before);
    }

    #[test]
    fn the_next_active_controller_decides_as_the_one_before_would(
        before in steps(), after in steps(),
    ) {
        let mut world = World::new(&configurations()[0]);
        for step in before.into_iter().filter_map(undisturbed) {
            world.step(step);
        }
        let mut handed_over = world.clone();
        handed_over.hand_over();
        for step in after.into_iter().filter_map(undisturbed) {
            world.step(step.clone());
            handed_over.step(step);
            prop_assert_eq!(handed_over.statuses(), world.statuses());
        }
    }

    #[test]
    fn adoption_does_not_depend_on_the_order(
        services in prop::collection::btree_map(select(NAMES.to_vec()), (services(), requests()), 0..7),
        number in 0usize..6,
        turn in 0usize..7,
    ) {
        let mut world = World::new(&configurations()[number]);
        for (name, (mut service, status)) in services {
            service.key = key(name);
            service.assigned = status.into();
            world.note_shown(&service.key, &service.assigned);
            world.services.insert(service.key.clone(), service);
        }
        let mut other = world.clone();
        world.restart_in_order(0);
        other.restart_in_order(turn);
        prop_assert_eq!(world.statuses(), other.statuses());
        world.assert_sound();
        world.assert_no_service_is_owed();
    }

    #[test]
    fn to_decide_again_changes_no_decision(steps in steps()) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            world.step(step);
        }
        let before = world.statuses();
        // A change without effect makes the allocator decide again. The first time it may find a newer reason for an old
        // refusal.
        for value in ["first", "second"] {
            for service in world.services.values() {
                let mut labels = service.labels.clone();
                labels.insert("unused".into(), value.into());
                world.allocator.set_service(Service { labels, ..service.clone() }, world.now);
                let decision = world.allocator.poll_decision();
                let is_old_refusal = decision.as_ref().is_some_and(|decision| match &decision.outcome {
                    AllocationOutcome::Unassigned(_) => true,
                    AllocationOutcome::Assigned(assignment) => {
                        decision.caveat.is_some() && assignment.addresses == service.assigned
                    }
                });
                prop_assert!(decision.is_none() || value == "first" && is_old_refusal, "{decision:?}");
            }
        }
        prop_assert_eq!(world.statuses(), before);
    }

    #[test]
    fn a_service_that_is_deleted_and_created_before_others_change_gets_its_addresses_again(
        steps in steps(), index in 0usize..7,
    ) {
        let mut world = World::new(&configurations()[0]);
        for step in steps {
            world.step(step);
        }
        let name = NAMES[index];
        let Some(service) = world.services.get(&key(name)).cloned() else { return Ok(()) };
        // A waiting Service may get the released address: only the other cases are examined.
        let others = |world: &World| {
            let mut statuses = world.statuses();
            statuses.remove(&key(name));
            statuses
        };
        let before = others(&world);
        world.delete(name);
        if others(&world) != before || !is_satisfied(&service) || !is_restorable(&world, &service) {
            return Ok(());
        }
        world.set(Service { assigned: Addresses::new(), assigned_pool: None, ..service.clone() });
        let sorted = |addresses: &Addresses| addresses.iter().copied().collect::<BTreeSet<_>>();
        let after = &world.services[&key(name)].assigned;
        prop_assert_eq!(sorted(after), sorted(&service.assigned));
        // What is requested comes first.
        let requests_none = service.request.addresses.as_ref().is_ok_and(Vec::is_empty);
        prop_assert!(!requests_none || *after == service.assigned);
    }
}
