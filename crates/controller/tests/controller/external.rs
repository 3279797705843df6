//! Addresses that nodes and Services use without the controller, and statuses that another load balancer wrote.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE, wait_for};

impl Cluster {
    async fn create_node(&self, name: &str, address: &str) {
        let node = json!({"metadata": {"name": name}});
        self.create("/api/v1/nodes", node).await;
        let patch = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        let path = format!("/api/v1/nodes/{name}/status");
        let sent = self
            .send("PATCH", &path, "application/merge-patch+json", patch)
            .await;
        sent.expect("it is written");
    }

    /// Returns the memory of a controller in kB.
    fn resident(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid_of(name))).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.expect("a size").parse().expect("a number")
    }

    /// Replaces the controller.
    async fn restart(&mut self, before: &str, after: &str) {
        self.signal(before, Signal::SIGTERM);
        self.end_of(before).await;
        self.start_controller(after);
        self.await_leader(after).await;
    }
}

/// Other Services in the test of memory.
const MANY: u32 = 10_000;
/// How much memory a controller may need for them, in kB.
const COST: u64 = 16_000;

fn in_pool(name: &str) -> Value {
    json!({"metallb.io/address-pool": name})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_external_ips_is_given_out_only_when_no_other_one_is_free() {
    let mut cluster = Cluster::start().await;
    let spec = json!({"addresses": ["192.168.67.220-192.168.67.223"], "autoAssign": false});
    cluster.apply_pool("tiny", spec).await;
    // Of another type, of another class, and with an address of its own.
    let old = json!({
        "type": "ClusterIP", "externalIPs": ["192.168.67.220"], "allocateLoadBalancerNodePorts": null,
    });
    cluster.create_service_in("default", "old", json!({}), old).await;
    let foreign = json!({"loadBalancerClass": "example.com/other", "externalIPs": ["192.168.67.221"]});
    cluster
        .create_service_in("default", "foreign", json!({}), foreign)
        .await;
    cluster.start_controller("first");
    let balanced = json!({"externalIPs": ["192.168.67.220"]});
    cluster
        .create_service_in("default", "balanced", in_pool("tiny"), balanced)
        .await;
    cluster
        .await_outcome("default", "balanced", &["192.168.67.222"], "Allocated")
        .await;
    cluster.create_service("new", in_pool("tiny")).await;
    cluster
        .await_outcome("default", "new", &["192.168.67.223"], "Allocated")
        .await;
    wait_for("the pool says so", async || {
        cluster.has_event(NAMESPACE, "tiny", "PoolOverlap").await
    })
    .await;
    cluster.create_service("last", in_pool("tiny")).await;
    let last = &["192.168.67.220"];
    cluster
        .await_outcome("default", "last", last, "AddressUsedElsewhere")
        .await;
    wait_for("the Service says so", async || {
        cluster.has_event("default", "last", "AddressUsedElsewhere").await
    })
    .await;
    let log = cluster.log_of("first");
    assert!(log.contains("192.168.67.220 (Service default/"), "{log}");
    cluster.restart("first", "second").await;
    cluster.delete_service("new").await;
    cluster.create_service("newest", in_pool("tiny")).await;
    cluster
        .await_outcome("default", "newest", &["192.168.67.223"], "Allocated")
        .await;
    cluster
        .await_outcome("default", "last", last, "AddressUsedElsewhere")
        .await;
    // The other use ends.
    cluster.delete_service("old").await;
    cluster.delete_service("balanced").await;
    cluster.await_outcome("default", "last", last, "Allocated").await;
    cluster.witness.assert_never_doubled();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_node_is_given_out_last_and_with_a_warning() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["10.0.0.1-10.0.0.2"]}))
        .await;
    cluster.create_node("node-1", "10.0.0.1").await;
    cluster.start_controller("first");
    cluster.create_service("a", json!({})).await;
    cluster
        .await_outcome("default", "a", &["10.0.0.2"], "Allocated")
        .await;
    cluster.create_service("b", json!({})).await;
    cluster
        .await_outcome("default", "b", &["10.0.0.1"], "AddressOfNode")
        .await;
    wait_for("the Service says so", async || {
        cluster.has_event("default", "b", "AddressOfNode").await
    })
    .await;
    // A node that comes later takes no address away.
    cluster.create_node("node-2", "10.0.0.2").await;
    cluster
        .await_outcome("default", "a", &["10.0.0.2"], "AddressOfNode")
        .await;
    cluster.restart("first", "second").await;
    cluster
        .await_outcome("default", "a", &["10.0.0.2"], "AddressOfNode")
        .await;
    let gone = cluster
        .send("DELETE", "/api/v1/nodes/node-1", "application/json", Value::Null)
        .await;
    gone.expect("it is deleted");
    cluster
        .await_outcome("default", "b", &["10.0.0.1"], "Allocated")
        .await;
    cluster.witness.assert_never_doubled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_another_load_balancer_is_left_alone_after_a_restart_while_no_pool_is_open() {
    let mut cluster = Cluster::start().await;
    cluster.create_namespace("elsewhere", json!({})).await;
    let allocation = json!({"priority": 10, "namespaces": ["elsewhere"]});
    let spec = json!({"addresses": ["10.0.0.1-10.0.0.2"], "serviceAllocation": allocation});
    cluster.apply_pool("pool", spec).await;
    cluster.create_service("theirs", json!({})).await;
    cluster.write_status("theirs", &["10.0.0.1"]).await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    cluster
        .create_service_in("elsewhere", "ours", json!({}), json!({}))
        .await;
    cluster
        .await_outcome("elsewhere", "ours", &["10.0.0.2"], "Allocated")
        .await;
    cluster.restart("first", "second").await;
    cluster
        .create_service_in("elsewhere", "last", json!({}), json!({}))
        .await;
    let reason = "AddressUsedElsewhere";
    cluster
        .await_outcome("elsewhere", "last", &["10.0.0.1"], reason)
        .await;
    cluster
        .await_outcome("default", "theirs", &["10.0.0.1"], "")
        .await;
    let service = cluster.services().get("theirs").await.expect("the Service");
    assert_eq!(service.metadata.annotations.unwrap_or_default().len(), 0);
}

/// Half of the addresses are in the pool.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_other_services_with_external_ips_cost_little_memory() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["10.128.0.0/16"]}))
        .await;
    cluster.start_controller("first");
    cluster.create_service("one", json!({})).await;
    wait_for("it has an address", async || cluster.all_assigned().await).await;
    let before = cluster.resident("first");
    let path = "/api/v1/namespaces/default/services";
    let address_of = |number: u32| Ipv4Addr::from_bits(0x0a80_0100 - MANY / 2 + number).to_string();
    for number in 0..MANY {
        let service = json!({
            "metadata": {"name": format!("other-{number}")},
            "spec": {"clusterIP": "None", "externalIPs": [address_of(number)], "ports": [{"port": 80}]},
        });
        cluster.create(path, service).await;
    }
    let name = "last";
    let address = json!({"metallb.io/loadBalancerIPs": address_of(MANY - 1)});
    wait_for("the controller knows all of them", async || {
        // The request is met in any case, and warned of when the last one is known.
        if cluster
            .services()
            .get_opt(name)
            .await
            .expect("an answer")
            .is_none()
        {
            cluster.create_service(name, address.clone()).await;
        }
        let condition = cluster.condition(name).await;
        condition.is_some_and(|condition| condition["reason"] == "AddressUsedElsewhere")
    })
    .await;
    let watched = cluster.resident("first");
    cluster.restart("first", "second").await;
    let listed = cluster.resident("second");
    eprintln!("resident: {before} kB, with {MANY} other Services {watched} kB, after a restart {listed} kB");
    assert!(watched < before + COST, "{before} kB, then {watched} kB");
    assert!(listed < before + COST, "{before} kB, after a restart {listed} kB");
}
