//! Random changes, restarts and faults. After each of them the invariants are computed from the state of the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_for};

/// The number of changes of a run.
const STEPS: usize = 80;
/// Environment variable with the seed of a run to be repeated.
const SEED: &str = "HERALD_MODEL_SEED";

/// First and last octet.
type Ranges = &'static [(u8, u8)];

/// What the pools may be: name, and addresses by their last octet.
const POOLS: [(&str, &str, Ranges); 2] = [
    ("a", "192.0.2", &[(0, 7), (0, 3), (4, 11)]),
    ("b", "198.51.100", &[(0, 3), (2, 5)]),
];

/// The requests, and the results.
struct Model {
    seed: u64,
    /// The addresses of each pool that exists.
    pools: BTreeMap<&'static str, BTreeSet<IpAddr>>,
    /// The annotations of each Service that exists.
    requests: BTreeMap<String, Value>,
    /// The addresses of each Service after the last change, unless its request has changed since.
    held: BTreeMap<String, IpAddr>,
    created: usize,
    controllers: usize,
}

impl Model {
    /// A linear congruential generator: the seed reproduces the run.
    fn roll(&mut self, sides: usize) -> usize {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).expect("31 bits") % sides
    }

    fn request(&mut self) -> Value {
        let (pool, prefix, _) = POOLS[self.roll(POOLS.len())];
        match self.roll(6) {
            0 => json!({"metallb.io/address-pool": pool, "metallb.io/loadBalancerIPs": null}),
            1 => {
                let address = format!("{prefix}.{}", self.roll(13));
                json!({"metallb.io/loadBalancerIPs": address, "metallb.io/address-pool": null})
            }
            _ => json!({"metallb.io/address-pool": null, "metallb.io/loadBalancerIPs": null}),
        }
    }

    fn any_service(&mut self) -> Option<String> {
        let names: Vec<String> = self.requests.keys().cloned().collect();
        (!names.is_empty()).then(|| names[self.roll(names.len())].clone())
    }

    async fn step(&mut self, cluster: &mut Cluster) -> String {
        let faults = cluster.server.faults();
        match self.roll(12) {
            0..=3 => {
                let (name, request) = (format!("s{}", self.created), self.request());
                self.created += 1;
                cluster.create_service(&name, without_nulls(&request)).await;
                self.requests.insert(name.clone(), request.clone());
                format!("create {name} {request}")
            }
            4 | 5 => {
                let Some(name) = self.any_service() else {
                    return "nothing to delete".to_owned();
                };
                cluster.delete_service(&name).await;
                self.requests.remove(&name);
                self.held.remove(&name);
                format!("delete {name}")
            }
            6 => {
                let Some(name) = self.any_service() else {
                    return "nothing to change".to_owned();
                };
                let request = self.request();
                cluster.annotate(&name, request.clone()).await;
                self.requests.insert(name.clone(), request.clone());
                self.held.remove(&name);
                format!("change {name} {request}")
            }
            7 => {
                let (pool, prefix, shapes) = POOLS[self.roll(POOLS.len())];
                let (first, last) = shapes[self.roll(shapes.len())];
                let range = format!("{prefix}.{first}-{prefix}.{last}");
                cluster.apply_pool(pool, json!({"addresses": [range]})).await;
                let address = |octet: u8| format!("{prefix}.{octet}").parse().expect("an address");
                self.pools.insert(pool, (first..=last).map(address).collect());
                format!("pool {pool} {range}")
            }
            8 => {
                let last = format!("c{}", self.controllers);
                self.controllers += 1;
                cluster.signal(&last, Signal::SIGTERM);
                cluster.end_of(&last).await;
                cluster.start_controller(&format!("c{}", self.controllers));
                "restart".to_owned()
            }
            9 => {
                faults.conflict_next(3);
                "conflicts".to_owned()
            }
            10 => {
                faults.drop_watches();
                faults.expire_resource_versions();
                "watches break".to_owned()
            }
            _ => {
                faults.set_delay(Some(Duration::from_millis(30)));
                tokio::time::sleep(Duration::from_millis(60)).await;
                faults.set_delay(None);
                "slow".to_owned()
            }
        }
    }

    /// Returns an invariant that does not hold.
    async fn complaint(&self, cluster: &Cluster) -> Option<String> {
        let shown = cluster.assignments().await;
        let mut users: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (name, addresses) in &shown {
            for address in addresses {
                if let Some(other) = users.insert(*address, name) {
                    return Some(format!("{name} and {other} have {address}"));
                }
            }
        }
        for (name, request) in &self.requests {
            let addresses = &shown[name];
            let condition = cluster.condition(name).await.unwrap_or_default();
            let is_assigned = condition["status"] == "True";
            if is_assigned == addresses.is_empty() {
                return Some(format!("{name} has {addresses:?} and says {condition}"));
            }
            let may_have = self.may_have(request);
            match addresses.first() {
                Some(address) if may_have.contains(address) => {}
                // With a request that cannot be met, a Service keeps what it has, from any pool.
                Some(address) => {
                    let is_kept = condition["reason"] == "RequestNotMet" && self.all().contains(address);
                    if !is_kept || may_have.iter().any(|address| !users.contains_key(address)) {
                        return Some(format!("{name} has {address} and wants {request}; {condition}"));
                    }
                }
                None => {
                    if let Some(free) = may_have.iter().find(|address| !users.contains_key(*address)) {
                        return Some(format!("{name} waits though {free} is free; {condition}"));
                    }
                }
            }
            if let Some(before) = self.held.get(name)
                && may_have.contains(before)
                && addresses != &[*before]
            {
                return Some(format!("{name} moved from {before} to {addresses:?}"));
            }
        }
        None
    }

    fn all(&self) -> BTreeSet<IpAddr> {
        self.pools.values().flatten().copied().collect()
    }

    /// Returns the addresses that meet a request.
    fn may_have(&self, request: &Value) -> BTreeSet<IpAddr> {
        if let Some(pool) = request["metallb.io/address-pool"].as_str() {
            return self.pools.get(pool).cloned().unwrap_or_default();
        }
        let all = self.all();
        match request["metallb.io/loadBalancerIPs"].as_str() {
            Some(address) => all.into_iter().filter(|a| a.to_string() == address).collect(),
            None => all,
        }
    }

    async fn settle(&mut self, cluster: &Cluster, history: &[String]) {
        let mut complaint = None;
        let settled = async {
            loop {
                complaint = self.complaint(cluster).await;
                if complaint.is_none() {
                    // The state does not change after that.
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    if self.complaint(cluster).await.is_none() {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), settled)
            .await
            .is_err()
        {
            panic!("{complaint:?} after\n{}", history.join("\n"));
        }
        let shown = cluster.assignments().await;
        let held = shown
            .into_iter()
            .filter_map(|(name, addresses)| Some((name, *addresses.first()?)));
        self.held = held.collect();
    }
}

fn without_nulls(annotations: &Value) -> Value {
    let kept = annotations
        .as_object()
        .expect("a map")
        .iter()
        .filter(|(_, value)| !value.is_null());
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_changes_the_invariants_hold_in_the_end() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(1);
    let mut history = vec![format!("{SEED}={seed}")];
    let mut cluster = Cluster::start().await;
    cluster.start_controller("c0");
    cluster.await_leader("c0").await;
    let mut model = Model {
        seed,
        pools: BTreeMap::new(),
        requests: BTreeMap::new(),
        held: BTreeMap::new(),
        created: 0,
        controllers: 0,
    };
    for _ in 0..STEPS {
        history.push(model.step(&mut cluster).await);
        if model.roll(3) > 0 {
            model.settle(&cluster, &history).await;
        }
    }
    cluster.server.faults().clear();
    model.settle(&cluster, &history).await;
    let leader = format!("c{}", model.controllers);
    wait_for("one leads", async || {
        cluster.leader().await.as_deref() == Some(&leader)
    })
    .await;
    cluster.witness.assert_never_doubled();
}
