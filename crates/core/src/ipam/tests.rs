//! Tests of the whole allocator in a small world that writes decisions into statuses, as the controller does.

mod changes;
mod choice;
mod explain;
mod external;
mod model;
mod preview;
mod properties;
mod sharing;
mod standby;
mod start;
mod waiting;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::{AllocationOutcome, Allocator, Decision, Note, Refusal, Usage};
use crate::{
    Addresses, Catalog, Family, FamilyPolicy, Labels, PoolName, Port, RawAllocation, RawPool, RawReservation,
    RawSelector, Service, ServiceKey, Time, Transport,
};

/// Pools, Services with their statuses, and the allocators of two controllers.
#[derive(Debug, Clone)]
struct World {
    catalog: Catalog,
    allocator: Allocator,
    /// Gets the same inputs as the allocator, and is not active.
    standby: Allocator,
    services: BTreeMap<ServiceKey, Service>,
    /// The addresses in the statuses, as the watches have shown them.
    shown: BTreeMap<ServiceKey, Addresses>,
    /// The Services that released an address, the last one at the end, and when. Also those whose status showed the address
    /// because another program wrote it.
    released: BTreeMap<IpAddr, Vec<(ServiceKey, Time)>>,
    /// The addresses that each Service had and released.
    had: BTreeSet<(ServiceKey, IpAddr)>,
    notes: Vec<(ServiceKey, Note)>,
    /// The usage of each pool according to the polled changes.
    followed: BTreeMap<PoolName, Usage>,
    now: Time,
}

impl World {
    fn new(pools: &[RawPool]) -> Self {
        let mut world = Self {
            catalog: Catalog::new(),
            allocator: Allocator::new(),
            standby: Allocator::new(),
            services: BTreeMap::new(),
            shown: BTreeMap::new(),
            released: BTreeMap::new(),
            had: BTreeSet::new(),
            notes: Vec::new(),
            followed: BTreeMap::new(),
            now: Time::ZERO,
        };
        world.pools(pools);
        world.allocator.activate(world.now);
        world
    }

    /// Returns the usage of each pool in force, by name.
    fn usage(&self) -> Vec<(PoolName, Usage)> {
        let pools = self.catalog.pools().iter();
        pools
            .filter_map(|pool| Some((pool.name.clone(), self.allocator.usage(&pool.name)?)))
            .collect()
    }

    /// Replaces all pools, which must have no problems.
    fn pools(&mut self, pools: &[RawPool]) {
        self.catalog.set_pools(pools.to_vec());
        assert_eq!(
            self.catalog.problems(),
            [],
            "the pools of a test have no problems"
        );
        self.apply();
    }

    fn apply(&mut self) {
        self.allocator.set_catalog(&self.catalog, self.now);
        self.standby.set_catalog(&self.catalog, self.now);
        self.deliver();
    }

    fn set(&mut self, service: Service) {
        self.services.insert(service.key.clone(), service.clone());
        self.watch(service);
        self.deliver();
    }

    /// Sets a Service, as the watches do.
    fn watch(&mut self, service: Service) {
        self.note_shown(&service.key, &service.assigned);
        self.standby.set_service(service.clone(), self.now);
        self.allocator.set_service(service, self.now);
    }

    fn note_shown(&mut self, key: &ServiceKey, addresses: &Addresses) {
        let before = self.shown.insert(key.clone(), addresses.clone());
        for address in before.into_iter().flatten() {
            if !addresses.contains(&address) {
                let released = self.released.entry(address).or_default();
                released.push((key.clone(), self.now));
                self.had.insert((key.clone(), address));
            }
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let mut service = self.services[&key(name)].clone();
        change(&mut service);
        self.set(service);
    }

    fn delete(&mut self, name: &str) {
        self.services.remove(&key(name));
        self.note_shown(&key(name), &Addresses::new());
        self.allocator.remove_service(&key(name), self.now);
        self.standby.remove_service(&key(name), self.now);
        self.deliver();
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        if self
            .allocator
            .poll_timeout()
            .is_some_and(|timeout| timeout <= self.now)
        {
            self.allocator.handle_timeout(self.now);
            self.deliver();
        }
    }

    /// Writes decisions into statuses, as the controller does; the watch returns them.
    fn deliver(&mut self) {
        while let Some(decision) = self.allocator.poll_decision() {
            let Decision {
                service: key,
                outcome,
                caveat,
                notes,
            } = decision;
            assert_eq!(caveat.as_ref(), notes.iter().rfind(|note| note.lasts()));
            self.notes
                .extend(notes.into_iter().map(|note| (ServiceKey::clone(&key), note)));
            let service = self
                .services
                .get_mut(&key)
                .expect("decided for a Service that exists");
            (service.assigned, service.assigned_pool) = match outcome {
                AllocationOutcome::Assigned(assignment) => (assignment.addresses, Some(assignment.pool)),
                AllocationOutcome::Unassigned(_) => (Addresses::new(), None),
            };
            service.foreign_ingress = false;
            service.is_marked = true;
            let service = service.clone();
            self.watch(service);
        }
    }

    /// Swaps the active controller and the standby.
    fn hand_over(&mut self) {
        self.allocator.deactivate(self.now);
        core::mem::swap(&mut self.allocator, &mut self.standby);
        self.allocator.activate(self.now);
        self.deliver();
    }

    /// Replaces the controller with a new one, which knows only what the API server has.
    fn restart(&mut self) {
        self.allocator = Allocator::new();
        for service in self.services.values() {
            self.allocator.set_service(service.clone(), self.now);
        }
        self.allocator.set_catalog(&self.catalog, self.now);
        assert_eq!(
            self.allocator.poll_decision(),
            None,
            "there is no decision before all Services are listed"
        );
        self.allocator.activate(self.now);
        self.deliver();
    }

    /// Returns the addresses in the status, separated by commas.
    fn ip(&self, name: &str) -> String {
        let addresses = self.services[&key(name)].assigned.iter().map(ToString::to_string);
        addresses.collect::<Vec<_>>().join(",")
    }

    fn pool_of(&self, name: &str) -> String {
        let pool = &self.services[&key(name)].assigned_pool;
        pool.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the reason why a Service has no address.
    fn refusal(&self, name: &str) -> Refusal {
        match self.allocator.outcome(&key(name)) {
            Some(AllocationOutcome::Unassigned(refusal)) => refusal,
            other => panic!("{name} is not refused: {other:?}"),
        }
    }

    /// Returns the reasons of the notes on a Service since the last call.
    fn notes(&mut self, name: &str) -> Vec<&'static str> {
        let of_this = |(service, _): &(ServiceKey, Note)| *service == key(name);
        let reasons = self
            .notes
            .iter()
            .filter(|note| of_this(note))
            .map(|(_, note)| note.reason())
            .collect();
        self.notes.retain(|note| !of_this(note));
        reasons
    }
}

fn key(name: &str) -> ServiceKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    ServiceKey::new(namespace, name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ips(texts: &[&str]) -> Addresses {
    texts.iter().copied().map(ip).collect()
}

fn pool(name: &str, addresses: &[&str]) -> RawPool {
    RawPool {
        name: name.into(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..RawPool::default()
    }
}

fn for_namespace(pool: RawPool, namespace: &str, priority: i32) -> RawPool {
    let namespaces = Vec::from([namespace.to_string()]);
    let allocation = RawAllocation {
        priority,
        namespaces,
        ..RawAllocation::default()
    };
    RawPool {
        allocation: Some(allocation),
        ..pool
    }
}

fn only_on_request(pool: RawPool) -> RawPool {
    RawPool {
        auto_assign: Some(false),
        ..pool
    }
}

fn v4(name: &str) -> Service {
    Service {
        cluster_ips: ips(&["10.96.0.1"]),
        ..Service::new(key(name))
    }
}

fn v6(name: &str) -> Service {
    Service {
        cluster_ips: ips(&["fd00::1"]),
        ..Service::new(key(name))
    }
}

fn dual(name: &str, family_policy: FamilyPolicy) -> Service {
    let cluster_ips = ips(&["10.96.0.1", "fd00::1"]);
    Service {
        cluster_ips,
        family_policy,
        ..Service::new(key(name))
    }
}

fn asking(mut service: Service, addresses: &[&str]) -> Service {
    service.request.addresses = Ok(addresses.iter().map(|address| ip(address)).collect());
    service
}

fn asking_pool(mut service: Service, pool: &str) -> Service {
    service.request.pool = Some(PoolName::from(pool));
    service
}

fn sharing(service: Service, sharing_key: &str, port: u16) -> Service {
    let ports = BTreeSet::from([tcp(port)]);
    Service {
        sharing_key: sharing_key.into(),
        ports,
        ..service
    }
}

fn has(service: Service, addresses: &[&str]) -> Service {
    Service {
        assigned: addresses.iter().map(|address| ip(address)).collect(),
        ..service
    }
}

fn tcp(number: u16) -> Port {
    Port {
        protocol: Transport::Tcp,
        number,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn selector(key: &str, value: &str) -> RawSelector {
    RawSelector {
        match_labels: labels(&[(key, value)]),
        ..RawSelector::default()
    }
}
