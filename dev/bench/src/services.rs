//! Many Services in a lab of three nodes, each with an address of its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use herald_api::ServiceL2Status;
use herald_netns::wait_for;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use serde_json::json;

use herald_lab::Lab;
use herald_lab::objects::NAMESPACE;

/// Far longer than 10 000 addresses take.
const DEADLINE: Duration = Duration::from_secs(300);
/// Requests under way at a time.
const PARALLEL: usize = 32;

/// Where the addresses are: in no node's subnet, so that every interface answers.
const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: services, namespace: metallb-system}
spec: {addresses: [10.0.0.0/16]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: services, namespace: metallb-system}
";

/// Whether an address may be one of the Services'.
pub(crate) const fn has(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [10, 0, _, _])
}

/// Creates Services with an endpoint on each node, and waits until each is announced once and every status is written.
pub(crate) async fn create(lab: &mut Lab, services: usize) -> anyhow::Result<()> {
    lab.run_app("hello", 8080, &[0, 1, 2]).await?;
    lab.apply("services.yaml", POOL).await?;
    let api = Api::<Service>::namespaced(lab.cluster().client(), "default");
    let create = |number: usize| {
        let api = api.clone();
        async move {
            let service = serde_json::from_value(json!({
                "metadata": {"name": format!("s{number}")},
                "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]},
            }))?;
            api.create(&PostParams::default(), &service).await?;
            anyhow::Ok(())
        }
    };
    let created = futures::stream::iter((0..services).map(create)).buffer_unordered(PARALLEL);
    created.try_collect::<()>().await?;
    await_announcements(lab, services).await?;
    wait_for("every status is written", DEADLINE, async || {
        let statuses = lab.cluster().list::<ServiceL2Status>(NAMESPACE).await?;
        let written = statuses.iter().filter(|status| status.status.is_some());
        Ok((written.count() == services).then_some(()))
    })
    .await?;
    Ok(())
}

/// Waits until each of so many addresses is announced by exactly one node.
pub(crate) async fn await_announcements(lab: &Lab, addresses: usize) -> anyhow::Result<()> {
    wait_for("every address is announced once", DEADLINE, async || {
        let mut announced = 0;
        for node in lab.nodes() {
            announced += node.count_metrics("metallb_speaker_announced{").await?;
        }
        Ok((announced == addresses).then_some(()))
    })
    .await?;
    Ok(())
}
