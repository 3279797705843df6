//! Services of several namespaces, and other programs that write statuses: who has an address keeps it.

use herald_api::convert::ingress_addresses;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_for};

impl Cluster {
    pub(crate) async fn create_namespace(&self, name: &str, labels: Value) {
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        self.create("/api/v1/namespaces", namespace).await;
    }

    /// Creates a Service with the fields of `spec` beside those that every one has.
    pub(crate) async fn create_service_in(
        &self,
        namespace: &str,
        name: &str,
        annotations: Value,
        spec: Value,
    ) {
        let mut service = json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": false},
        });
        for (field, value) in spec.as_object().expect("fields") {
            service["spec"][field] = value.clone();
        }
        self.create(&format!("/api/v1/namespaces/{namespace}/services"), service)
            .await;
    }

    fn services_in(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn delete_service_in(&self, namespace: &str, name: &str) {
        let deleted = self
            .services_in(namespace)
            .delete(name, &DeleteParams::default())
            .await;
        deleted.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Returns the addresses of a Service, the reason of its condition and the message.
    async fn outcome(&self, namespace: &str, name: &str) -> (Vec<String>, String, String) {
        let service = self.services_in(namespace).get(name).await.expect("the Service");
        let addresses = ingress_addresses(&service)
            .iter()
            .map(ToString::to_string)
            .collect();
        let conditions = service
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let allocated = conditions.into_iter().find(|c| c.type_ == "herald.io/Allocated");
        let (reason, message) = allocated.map(|c| (c.reason, c.message)).unwrap_or_default();
        (addresses, reason, message)
    }

    pub(crate) async fn await_outcome(&self, namespace: &str, name: &str, addresses: &[&str], reason: &str) {
        wait_for(
            &format!("{namespace}/{name} has {addresses:?}, {reason}"),
            async || {
                let (has, says, _) = self.outcome(namespace, name).await;
                has == addresses && says == reason
            },
        )
        .await;
    }

    pub(crate) async fn write_status(&self, name: &str, addresses: &[&str]) {
        let ingress: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}});
        let path = format!("/api/v1/namespaces/default/services/{name}/status");
        let sent = self
            .send("PATCH", &path, "application/merge-patch+json", patch)
            .await;
        sent.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub(crate) async fn has_event(&self, namespace: &str, name: &str, reason: &str) -> bool {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let events = events.list(&ListParams::default()).await.expect("events");
        events.items.iter().any(|event| {
            event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_write_beside_the_active_controller_does_not_change_who_holds_what() {
    let mut cluster = Cluster::start().await;
    let reservation = json!({"address": "192.0.2.9", "namespace": "default", "service": "owner"});
    let spec = json!({"addresses": ["192.0.2.1-192.0.2.9"], "reservations": [reservation]});
    cluster.apply_pool("pool", spec).await;
    cluster.start_controller("first");
    for name in ["a", "b"] {
        cluster.create_service(name, json!({})).await;
        wait_for("it has an address", async || cluster.all_assigned().await).await;
    }
    let waits = json!({"metallb.io/loadBalancerIPs": "192.0.2.2"});
    cluster.create_service("waits", waits).await;
    cluster
        .await_outcome("default", "waits", &[], "AddressInUse")
        .await;
    // Free, reserved, of another Service, none, in no pool.
    for written in [
        &["192.0.2.5"][..],
        &["192.0.2.9"],
        &["192.0.2.2"],
        &[],
        &["203.0.113.1"],
    ] {
        for (name, has, reason) in [
            ("a", &["192.0.2.1"][..], "Allocated"),
            ("waits", &[], "AddressInUse"),
        ] {
            cluster.write_status(name, written).await;
            cluster.await_outcome("default", name, has, reason).await;
        }
    }
    cluster
        .await_outcome("default", "b", &["192.0.2.2"], "Allocated")
        .await;
    cluster.create_service("owner", json!({})).await;
    cluster
        .await_outcome("default", "owner", &["192.0.2.9"], "Allocated")
        .await;
    cluster.create_service("c", json!({})).await;
    cluster
        .await_outcome("default", "c", &["192.0.2.3"], "Allocated")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_loses_its_label_loses_no_address_and_gets_no_new_one() {
    let mut cluster = Cluster::start().await;
    let allocation = json!({"priority": 10, "namespaceSelectors": [{"matchLabels": {"lb": "tenant"}}]});
    let spec = json!({"addresses": ["192.0.2.1-192.0.2.4"], "serviceAllocation": allocation});
    cluster.apply_pool("tenant", spec).await;
    cluster.create_namespace("team-a", json!({"lb": "tenant"})).await;
    cluster.start_controller("first");
    let in_pool = json!({"metallb.io/address-pool": "tenant"});
    cluster
        .create_service_in("team-a", "web", in_pool.clone(), json!({}))
        .await;
    cluster
        .await_outcome("team-a", "web", &["192.0.2.1"], "Allocated")
        .await;
    let patch = json!({"metadata": {"labels": {"lb": null}}});
    let sent = cluster
        .send(
            "PATCH",
            "/api/v1/namespaces/team-a",
            "application/merge-patch+json",
            patch,
        )
        .await;
    sent.expect("the label is removed");
    cluster
        .await_outcome("team-a", "web", &["192.0.2.1"], "RequestNotMet")
        .await;
    wait_for("an event says so", async || {
        cluster.has_event("team-a", "web", "RequestNotMet").await
    })
    .await;
    cluster
        .create_service_in("team-a", "new", in_pool, json!({}))
        .await;
    cluster
        .await_outcome("team-a", "new", &[], "PoolNotCompatible")
        .await;
    // Another controller decides the same.
    cluster.signal("first", nix::sys::signal::Signal::SIGTERM);
    cluster.end_of("first").await;
    cluster.start_controller("second");
    cluster.await_leader("second").await;
    cluster.create_service("default-pool", json!({})).await;
    cluster
        .await_outcome("default", "default-pool", &[], "NoPoolMatchesService")
        .await;
    cluster
        .await_outcome("team-a", "web", &["192.0.2.1"], "RequestNotMet")
        .await;
    cluster.witness.assert_nothing_moved();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_quarantine_is_kept_for_its_namespace_and_served_to_others_when_it_ends() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["192.0.2.1-192.0.2.9"]}))
        .await;
    for namespace in ["victim", "attacker"] {
        cluster.create_namespace(namespace, json!({})).await;
    }
    cluster.start_controller_with("first", &["--quarantine", "15"]);
    cluster
        .create_service_in("victim", "web", json!({}), json!({}))
        .await;
    cluster
        .await_outcome("victim", "web", &["192.0.2.1"], "Allocated")
        .await;
    let request = json!({"metallb.io/loadBalancerIPs": "192.0.2.1"});
    cluster
        .create_service_in("attacker", "evil", request, json!({}))
        .await;
    cluster
        .await_outcome("attacker", "evil", &[], "AddressInUse")
        .await;
    let (.., message) = cluster.outcome("attacker", "evil").await;
    assert!(!message.contains("victim"), "{message}");
    // Deleted and applied again.
    cluster.delete_service_in("victim", "web").await;
    cluster
        .await_outcome("attacker", "evil", &[], "AddressInQuarantine")
        .await;
    let (.., message) = cluster.outcome("attacker", "evil").await;
    let year = jiff::Timestamp::now().to_string()[..4].to_owned();
    assert!(
        message.contains(&format!("until {year}-")) && !message.contains("victim"),
        "{message}"
    );
    cluster
        .create_service_in("victim", "web", json!({}), json!({}))
        .await;
    cluster
        .await_outcome("victim", "web", &["192.0.2.1"], "Allocated")
        .await;
    // Deleted for good: nothing but the end of the quarantine serves the Service that waits.
    cluster.delete_service_in("victim", "web").await;
    cluster
        .await_outcome("attacker", "evil", &["192.0.2.1"], "Allocated")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_met_whether_the_field_or_the_annotation_or_both_have_it() {
    let mut cluster = Cluster::start().await;
    let spec = json!({"addresses": ["192.0.2.0/24", "fc00::/120"], "autoAssign": false});
    cluster.apply_pool("pool", spec).await;
    cluster.start_controller("first");
    let prefers = json!({"ipFamilyPolicy": "PreferDualStack", "loadBalancerIP": "192.0.2.51"});
    cluster
        .create_service_in("default", "dns", json!({}), prefers)
        .await;
    cluster
        .await_outcome("default", "dns", &["192.0.2.51", "fc00::"], "Allocated")
        .await;
    let twice = json!({"metallb.universe.tf/loadBalancerIPs": "192.0.2.52"});
    let field = json!({"loadBalancerIP": "192.0.2.52"});
    cluster
        .create_service_in("default", "both", twice.clone(), field)
        .await;
    cluster
        .await_outcome("default", "both", &["192.0.2.52"], "Allocated")
        .await;
    let other = json!({"loadBalancerIP": "192.0.2.53"});
    cluster.create_service_in("default", "differ", twice, other).await;
    cluster
        .await_outcome("default", "differ", &[], "InvalidRequest")
        .await;
}
