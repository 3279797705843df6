//! Services say whether they are announced, and if not, why.

use std::collections::BTreeSet;
use std::fmt::Debug;

use anyhow::ensure;
use herald_api::crd::{ANNOUNCED, EFFECTIVE, READY};
use herald_api::{IPAddressPool, L2Advertisement, ServiceL2Status};
use herald_lab::Lab;
use herald_lab::objects::NAMESPACE;
use herald_lab::{DEADLINE, QUICKSTART};
use herald_netns::wait_for;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use libtest_mimic::Trial;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::in_lab;

/// Three ways to an address that no node announces.
const NEVER_ANNOUNCED: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: edge-pool, namespace: metallb-system}
spec: {addresses: [192.168.67.210-192.168.67.219], autoAssign: false}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: edge, namespace: metallb-system}
spec: {ipAddressPools: [edge-pool], serviceSelectors: [{matchLabels: {tier: edge}}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge, labels: {tier: edge}, annotations: {metallb.io/allow-shared-ip: edge, metallb.io/address-pool: edge-pool}}
spec: {type: LoadBalancer, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{name: a, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside-1, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
ports: [{name: a, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.2]}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {type: LoadBalancer, selector: {app: nobody}, ports: [{port: 80, targetPort: 8080}]}
";

/// A pool that no advertisement selects, and three advertisements that announce nothing.
const WITHOUT_EFFECT: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: spare, namespace: metallb-system}
spec: {addresses: [192.168.67.220-192.168.67.229], autoAssign: false}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: unknown, namespace: metallb-system}
spec: {ipAddressPools: [spaer]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: nowhere, namespace: metallb-system}
spec: {ipAddressPools: [first-pool], nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node-9}}]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: unplugged, namespace: metallb-system}
spec: {ipAddressPools: [first-pool], interfaces: [eth9]}
";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "a_service_that_no_node_announces_says_why_until_one_does",
            never_announced,
        ),
        in_lab("statuses_that_a_user_deletes_return", deleted),
        in_lab(
            "the_status_of_an_owner_that_another_node_superseded_for_a_moment_returns",
            superseded,
        ),
        in_lab(
            "pools_and_advertisements_without_effect_say_so_until_they_are_corrected",
            without_effect,
        ),
    ]
}

async fn never_announced(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("never.yaml", NEVER_ANNOUNCED).await?;
    for (service, reason) in [
        ("edge", "SharedAddressWithServiceSelector"),
        ("outside", "NoCandidate"),
        ("nobody", "NoEndpoints"),
    ] {
        wait_for_condition(lab, service, ["False", reason]).await?;
        let nodes = reporting_nodes(lab, service).await?;
        ensure!(nodes == [None], "{service}: {nodes:?}");
    }
    let condition = lab.cluster().condition("outside", ANNOUNCED).await?;
    let [_, _, message] = condition.unwrap_or_default();
    ensure!(
        message.ends_with("the reasons of the nodes: NoLocalEndpoint"),
        "{message}"
    );
    lab.run_app("nobody", 8080, &[0]).await?;
    wait_for_condition(lab, "nobody", ["True", "Announced"]).await?;
    // Another node takes over from an owner that dies without a word, and its object goes.
    let announcer = wait_for_announcer(lab, "nobody").await?;
    let index = lab.nodes().iter().position(|node| node.name() == announcer);
    lab.node_mut(index.unwrap_or_default()).kill_speaker().await?;
    wait_for("another node has superseded it", DEADLINE, async || {
        let nodes = reporting_nodes(lab, "nobody").await?;
        let is_other = matches!(&nodes[..], [Some(node)] if *node != announcer);
        Ok(is_other.then_some(()))
    })
    .await?;
    wait_for_condition(lab, "nobody", ["True", "Announced"]).await
}

async fn deleted(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    wait_for_condition(lab, "hello", ["True", "Announced"]).await?;
    let statuses = Api::<ServiceL2Status>::namespaced(lab.cluster().client(), NAMESPACE);
    statuses
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    wait_for_announcer(lab, "hello").await?;
    wait_for_condition(lab, "hello", ["True", "Announced"]).await
}

async fn superseded(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let owner = wait_for_announcer(lab, "hello").await?;
    wait_for_condition(lab, "hello", ["True", "Announced"]).await?;
    let before = uids(lab, "hello").await?;
    // Another speaker says that it announces the Service, and the controller deletes the status of the owner.
    let statuses = Api::<ServiceL2Status>::namespaced(lab.cluster().client(), NAMESPACE);
    let other = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status", "metadata": {"name": "l2-other"},
    });
    let other: ServiceL2Status = serde_json::from_value(other)?;
    statuses.create(&PostParams::default(), &other).await?;
    let status = json!({"status": {
        "node": "another-node", "serviceName": "hello", "serviceNamespace": "default",
        "conditions": [{
            "type": ANNOUNCED, "status": "True", "reason": "Announced", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    statuses
        .patch_status("l2-other", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    wait_for("the owner has the only status, a new one", DEADLINE, async || {
        let is_new = uids(lab, "hello").await?.is_disjoint(&before);
        let announcer = lab.cluster().announcer("hello").await?;
        Ok((is_new && announcer.as_ref() == Some(&owner)).then_some(()))
    })
    .await?;
    wait_for_condition(lab, "hello", ["True", "Announced"]).await
}

async fn without_effect(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("without.yaml", WITHOUT_EFFECT).await?;
    let good = [["True", "InForce"], ["True", "Effective"]];
    let without = |reason| [["True", "InForce"], ["False", reason]];
    wait_for_effect::<IPAddressPool>(lab, "first-pool", good).await?;
    wait_for_effect::<IPAddressPool>(lab, "spare", without("NoAdvertisement")).await?;
    for (name, expected) in [
        ("example", good),
        ("unknown", without("UnknownPool")),
        ("nowhere", without("NoNode")),
        ("unplugged", without("NoInterface")),
    ] {
        wait_for_effect::<L2Advertisement>(lab, name, expected).await?;
    }
    let corrections = [("spaer", "spare"), ("node-9", "node-1"), ("eth9", "eth0")];
    let corrected = corrections
        .iter()
        .fold(WITHOUT_EFFECT.to_owned(), |yaml, (wrong, right)| {
            yaml.replace(wrong, right)
        });
    lab.apply("corrected.yaml", &corrected).await?;
    wait_for_effect::<IPAddressPool>(lab, "spare", good).await?;
    for name in ["unknown", "nowhere", "unplugged"] {
        wait_for_effect::<L2Advertisement>(lab, name, good).await?;
    }
    Ok(())
}

/// Waits until the conditions `Ready` and `herald.io/Effective` of the present generation have these statuses and reasons.
async fn wait_for_effect<K>(lab: &Lab, name: &str, expected: [[&str; 2]; 2]) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let api = Api::<K>::namespaced(lab.cluster().client(), NAMESPACE);
    wait_for(&format!("{name} is {expected:?}"), DEADLINE, async || {
        let object = serde_json::to_value(api.get(name).await?)?;
        let status = &object["status"];
        let generation = &object["metadata"]["generation"];
        let has = |type_: &str, expected: [&str; 2]| {
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| {
                condition["type"] == type_
                    && condition["observedGeneration"] == *generation
                    && [&condition["status"], &condition["reason"]] == expected
            })
        };
        let is_so = status["observedGeneration"] == *generation
            && has(READY, expected[0])
            && has(EFFECTIVE, expected[1]);
        Ok(is_so.then_some(()))
    })
    .await
}

/// The uids of the statuses of a Service.
async fn uids(lab: &Lab, service: &str) -> anyhow::Result<BTreeSet<String>> {
    let statuses = lab.cluster().list::<ServiceL2Status>(NAMESPACE).await?;
    let of_service = statuses.into_iter().filter(|object| {
        let name = object
            .status
            .as_ref()
            .and_then(|status| status.service_name.as_deref());
        name == Some(service)
    });
    Ok(of_service.filter_map(|object| object.uid()).collect())
}

async fn wait_for_announcer(lab: &Lab, service: &str) -> anyhow::Result<String> {
    wait_for("one node announces it", DEADLINE, async || {
        lab.cluster().announcer(service).await
    })
    .await
}

pub(crate) async fn wait_for_condition(lab: &Lab, service: &str, expected: [&str; 2]) -> anyhow::Result<()> {
    wait_for(&format!("{service} is {expected:?}"), DEADLINE, async || {
        let condition = lab.cluster().condition(service, ANNOUNCED).await?;
        let is_so =
            condition.is_some_and(|[status, reason, _]| [status.as_str(), reason.as_str()] == expected);
        Ok(is_so.then_some(()))
    })
    .await
}

/// The nodes in the statuses of a Service.
async fn reporting_nodes(lab: &Lab, service: &str) -> anyhow::Result<Vec<Option<String>>> {
    let statuses = lab.cluster().list::<ServiceL2Status>(NAMESPACE).await?;
    let statuses = statuses.into_iter().filter_map(|object| object.status);
    let of_service = statuses.filter(|status| status.service_name.as_deref() == Some(service));
    Ok(of_service.map(|status| status.node).collect())
}
