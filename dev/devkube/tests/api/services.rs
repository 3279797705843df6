//! What the API server does to Services.

use herald_devkube::Options;
use serde_json::{Value, json};

use crate::{Cluster, SERVICES, refusal, service_path};

async fn create(cluster: &Cluster, name: &str, spec: Value) -> Result<Value, kube::Error> {
    let mut body = json!({"metadata": {"name": name}, "spec": spec});
    if body["spec"]["ports"].is_null() {
        body["spec"]["ports"] = json!([{"port": 80}]);
    }
    cluster.create(SERVICES, body).await
}

#[tokio::test]
async fn families_are_settled_as_on_a_dual_stack_cluster() {
    let cluster = Cluster::start().await;
    // (spec, families, policy)
    let table = [
        (json!({}), json!(["IPv4"]), "SingleStack"),
        (json!({"ipFamilies": ["IPv6"]}), json!(["IPv6"]), "SingleStack"),
        (
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            json!(["IPv4", "IPv6"]),
            "PreferDualStack",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            json!(["IPv6", "IPv4"]),
            "RequireDualStack",
        ),
        (
            json!({"clusterIP": "None", "selector": {"a": "b"}}),
            json!(["IPv4"]),
            "SingleStack",
        ),
        (
            json!({"clusterIP": "None"}),
            json!(["IPv4", "IPv6"]),
            "RequireDualStack",
        ),
        (
            json!({"clusterIP": "fd00:10:96::1234"}),
            json!(["IPv6"]),
            "SingleStack",
        ),
    ];
    for (i, (spec, families, policy)) in table.into_iter().enumerate() {
        let created = create(&cluster, &format!("s{i}"), spec.clone())
            .await
            .expect("created");
        assert_eq!(
            (&created["spec"]["ipFamilies"], &created["spec"]["ipFamilyPolicy"]),
            (&families, &json!(policy)),
            "{spec}"
        );
        let addresses = created["spec"]["clusterIPs"].as_array().expect("addresses");
        if spec["clusterIP"] == "None" {
            assert_eq!(addresses, &[json!("None")]);
        } else {
            assert_eq!(addresses.len(), families.as_array().map_or(0, Vec::len), "{spec}");
            assert_eq!(created["spec"]["clusterIP"], addresses[0]);
        }
    }
}

#[tokio::test]
async fn each_type_gets_its_defaults_and_ports() {
    let cluster = Cluster::start().await;
    let plain = create(&cluster, "plain", json!({})).await.expect("created");
    let spec = &plain["spec"];
    assert_eq!(
        (&spec["type"], &spec["sessionAffinity"]),
        (&json!("ClusterIP"), &json!("None"))
    );
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    assert_eq!(
        spec["ports"],
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
    );
    assert!(spec["externalTrafficPolicy"].is_null());

    let balancer = create(
        &cluster,
        "lb",
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
    )
    .await;
    let balancer = balancer.expect("created");
    let node_port = balancer["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .expect("a node port");
    let health_port = balancer["spec"]["healthCheckNodePort"]
        .as_u64()
        .expect("a health check port");
    assert!((30000..=32767).contains(&node_port) && (30000..=32767).contains(&health_port));
    assert_ne!(node_port, health_port);

    let bare = create(
        &cluster,
        "bare",
        json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false}),
    )
    .await;
    assert!(bare.expect("created")["spec"]["ports"][0]["nodePort"].is_null());

    let name = json!({"type": "ExternalName", "externalName": "a.example.org", "ports": []});
    let name = create(&cluster, "name", name).await.expect("created");
    assert!(name["spec"]["clusterIP"].is_null() && name["spec"]["ipFamilies"].is_null());
}

#[tokio::test]
async fn no_address_or_port_is_given_twice_and_freed_ones_come_back() {
    let cluster = Cluster::start().await;
    let taken =
        json!({"clusterIP": "10.96.7.7", "type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]});
    create(&cluster, "first", taken.clone()).await.expect("created");
    let (code, message) = refusal(create(&cluster, "second", taken.clone()).await);
    assert_eq!(code, 422);
    assert!(message.contains("provided IP is already allocated"), "{message}");
    assert!(message.contains("spec.clusterIPs"), "{message}");
    cluster.delete(&service_path("first")).await.expect("deleted");
    create(&cluster, "second", taken).await.expect("free again");
}

#[tokio::test]
async fn an_update_that_leaves_out_what_was_allocated_keeps_it() {
    let cluster = Cluster::start().await;
    let created = create(&cluster, "a", json!({"type": "LoadBalancer"}))
        .await
        .expect("created");
    let bare = json!({"metadata": {"name": "a"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "name": "http"}]}});
    let updated = cluster.put(&service_path("a"), bare).await.expect("updated");
    for field in ["clusterIP", "clusterIPs", "ipFamilies"] {
        assert_eq!(updated["spec"][field], created["spec"][field], "{field}");
    }
    assert_eq!(
        updated["spec"]["ports"][0]["nodePort"],
        created["spec"]["ports"][0]["nodePort"]
    );
}

#[tokio::test]
async fn leaving_the_type_releases_what_belonged_to_it() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "LoadBalancer", "loadBalancerClass": "example.org/lb", "externalTrafficPolicy": "Local"});
    create(&cluster, "a", spec).await.expect("created");
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.168.67.120"}]}}});
    cluster
        .merge(&format!("{}/status", service_path("a")), ingress)
        .await
        .expect("status");
    let plain = cluster
        .merge(&service_path("a"), json!({"spec": {"type": "ClusterIP"}}))
        .await
        .expect("changed");
    for field in [
        "loadBalancerClass",
        "allocateLoadBalancerNodePorts",
        "healthCheckNodePort",
        "externalTrafficPolicy",
    ] {
        assert!(plain["spec"][field].is_null(), "{field}");
    }
    assert!(plain["spec"]["ports"][0]["nodePort"].is_null());
    assert_eq!(plain["status"]["loadBalancer"], json!({}));
    let name = json!({"spec": {"type": "ExternalName", "externalName": "a.example.org"}});
    let name = cluster.merge(&service_path("a"), name).await.expect("changed");
    assert!(name["spec"]["clusterIP"].is_null() && name["spec"]["clusterIPs"].is_null());
}

#[tokio::test]
async fn a_second_family_comes_and_goes_with_the_policy() {
    let cluster = Cluster::start().await;
    let single = create(&cluster, "a", json!({})).await.expect("created");
    let dual = cluster
        .merge(
            &service_path("a"),
            json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}}),
        )
        .await;
    let dual = dual.expect("upgraded");
    assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(dual["spec"]["clusterIPs"][0], single["spec"]["clusterIP"]);
    let back = cluster
        .merge(
            &service_path("a"),
            json!({"spec": {"ipFamilyPolicy": "SingleStack"}}),
        )
        .await;
    assert_eq!(
        back.expect("downgraded")["spec"]["clusterIPs"],
        single["spec"]["clusterIPs"]
    );
}

#[tokio::test]
async fn broken_services_are_refused_with_their_fields() {
    let cluster = Cluster::start().await;
    // (spec, field, part of the message)
    let table = [
        (json!({"ports": []}), "spec.ports", "Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port",
            "between 1 and 65535",
        ),
        (
            json!({"ports": [{"name": "x"}]}),
            "spec.ports[0].port",
            "Required value",
        ),
        (
            json!({"ports": [{"port": 80, "protocol": "ICMP"}]}),
            "spec.ports[0].protocol",
            "supported values",
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}),
            "spec.ports[1]",
            "Duplicate value",
        ),
        (
            json!({"ports": [{"port": 80}, {"port": 81}]}),
            "spec.ports[0].name",
            "Required value",
        ),
        (
            json!({"type": "Balancer"}),
            "spec.type",
            "Unsupported value: \"Balancer\"",
        ),
        (
            json!({"clusterIP": "192.0.2.1"}),
            "spec.clusterIPs",
            "not in the valid range",
        ),
        (
            json!({"clusterIP": "x"}),
            "spec.clusterIPs[0]",
            "must be a valid IP address",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
            "spec.ports[0].nodePort",
            "30000-32767",
        ),
        (
            json!({"loadBalancerClass": "a/b"}),
            "spec.loadBalancerClass",
            "LoadBalancer",
        ),
        (
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy",
            "DualStack",
        ),
        (
            json!({"type": "ExternalName", "ports": []}),
            "spec.externalName",
            "Required value",
        ),
    ];
    for (spec, field, text) in table {
        match create(&cluster, "bad", spec.clone()).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{spec}");
                assert!(
                    status.message.contains(&format!("{field}: ")),
                    "{spec}: {}",
                    status.message
                );
                assert!(status.message.contains(text), "{spec}: {}", status.message);
                let causes = status
                    .details
                    .as_ref()
                    .map(|details| details.causes.clone())
                    .unwrap_or_default();
                assert!(
                    causes.iter().any(|cause| cause.field == field),
                    "{spec}: {causes:?}"
                );
            }
            other => panic!("{spec}: expected a refusal, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_immutable_stays() {
    let cluster = Cluster::start().await;
    create(
        &cluster,
        "a",
        json!({"type": "LoadBalancer", "loadBalancerClass": "a/b"}),
    )
    .await
    .expect("created");
    for patch in [
        json!({"loadBalancerClass": "c/d"}),
        json!({"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"]}),
    ] {
        let (code, message) = refusal(cluster.merge(&service_path("a"), json!({"spec": patch})).await);
        assert_eq!(code, 422);
        assert!(message.contains("may not change once set"), "{message}");
    }
}

#[tokio::test]
async fn node_ports_come_from_the_range_that_was_asked_for_until_it_is_full() {
    let options = Options {
        node_ports: 40000..=40001,
        ..Options::default()
    };
    let cluster = Cluster::with(options).await;
    for (name, port) in [("a", 40000), ("b", 40001)] {
        let created = create(&cluster, name, json!({"type": "NodePort"}))
            .await
            .expect("created");
        assert_eq!(created["spec"]["ports"][0]["nodePort"], port);
    }
    let (code, message) = refusal(create(&cluster, "c", json!({"type": "NodePort"})).await);
    assert_eq!(code, 422);
    assert!(message.contains("no node port is free"), "{message}");
}

#[tokio::test]
async fn one_port_in_two_protocols_is_one_node_port() {
    let cluster = Cluster::start().await;
    let ports = json!([
        {"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}, {"name": "metrics", "port": 9153},
    ]);
    let created = create(&cluster, "dns", json!({"type": "NodePort", "ports": ports}))
        .await
        .expect("created");
    let ports = &created["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
    assert_ne!(ports[0]["nodePort"], ports[2]["nodePort"]);
}
