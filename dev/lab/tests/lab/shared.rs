//! Services with policy Local that share an address, and whose endpoints are on different nodes: the address has one owner.

use std::net::IpAddr;

use anyhow::ensure;
use herald_lab::clock::Monotonic;
use herald_lab::sniffer::Sniffer;
use herald_lab::{DEADLINE, Lab, QUICKSTART};
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::truth::wait_for_condition;
use crate::{OVERLAP, in_lab};

/// Answers from one node and no other that count as "one owner": the sniffer asks ten times a second.
const ANSWERS: usize = 20;

/// Each Service has its backend on another node, in an EndpointSlice that was written by hand.
const MANUAL_BACKENDS: &str = "
apiVersion: v1
kind: Service
metadata:
  name: gateway-a
  annotations: {metallb.io/allow-shared-ip: gateway, metallb.io/loadBalancerIPs: 192.168.67.135}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ports: [{name: a, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gateway-a-1, labels: {kubernetes.io/service-name: gateway-a}}
addressType: IPv4
ports: [{name: a, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.2], nodeName: node-1, conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata:
  name: gateway-b
  annotations: {metallb.io/allow-shared-ip: gateway, metallb.io/loadBalancerIPs: 192.168.67.135}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ports: [{name: b, port: 81, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gateway-b-1, labels: {kubernetes.io/service-name: gateway-b}}
addressType: IPv4
ports: [{name: b, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.2.2], nodeName: node-2, conditions: {ready: true}}]
";

/// One of two Services with the same pods counts those that are not ready.
const ONE_PUBLISHES_NOT_READY: &str = "
apiVersion: v1
kind: Service
metadata:
  name: late-a
  annotations: {metallb.io/allow-shared-ip: late, metallb.io/loadBalancerIPs: 192.168.67.136}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  publishNotReadyAddresses: true
  selector: {app: late}
  ports: [{name: a, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: late-b
  annotations: {metallb.io/allow-shared-ip: late, metallb.io/loadBalancerIPs: 192.168.67.136}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: late}
  ports: [{name: b, port: 81, targetPort: 8080}]
";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "sharers_with_backends_on_different_nodes_have_one_owner_and_a_reason",
            manual_backends,
        ),
        in_lab(
            "sharers_of_which_one_counts_pods_that_are_not_ready_have_one_owner",
            one_publishes_not_ready,
        ),
    ]
}

async fn manual_backends(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("gateway.yaml", MANUAL_BACKENDS).await?;
    let address = shared_address(lab, ["gateway-a", "gateway-b"]).await?;
    wait_for_condition(lab, "gateway-a", ["True", "Announced"]).await?;
    wait_for_condition(lab, "gateway-b", ["False", "NoCommonNode"]).await?;
    let sniffer = lab.switch().sniff().await?;
    sniffer.watch(&[address]);
    ensure_one_owner(lab, &sniffer, address, 0).await
}

/// The pod on node-2 is not ready, then ready, then not ready again.
async fn one_publishes_not_ready(lab: &mut Lab) -> anyhow::Result<()> {
    lab.run_app("late", 8080, &[0, 1]).await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let pods: Vec<_> = lab.node(1).pods().cloned().collect();
    let late = pods.into_iter().find(|pod| pod.name == "late-node-2");
    let late = late.ok_or_else(|| anyhow::anyhow!("no pod on node-2"))?;
    lab.cluster().set_ready(&late, false).await?;
    lab.apply("late.yaml", ONE_PUBLISHES_NOT_READY).await?;
    let services = ["late-a", "late-b"];
    let address = shared_address(lab, services).await?;
    let sniffer = lab.switch().sniff().await?;
    sniffer.watch(&[address]);
    for is_ready in [false, true, false] {
        lab.cluster().set_ready(&late, is_ready).await?;
        if is_ready {
            // Either node serves both.
            let begin = Monotonic::now();
            heard(&sniffer, address, begin).await?;
        } else {
            ensure_one_owner(lab, &sniffer, address, 0).await?;
        }
        for service in services {
            wait_for_condition(lab, service, ["True", "Announced"]).await?;
        }
    }
    let nodes = lab.nodes().iter().map(|node| node.host().mac());
    let of_nodes = sniffer.sightings().of(&nodes.collect::<Vec<_>>());
    if let Some(longest) = of_nodes.longest_contention() {
        ensure!(longest.lasted() <= OVERLAP, "two owners: {longest}");
    }
    Ok(())
}

/// Waits until both Services have the same address; returns it.
async fn shared_address(lab: &Lab, services: [&str; 2]) -> anyhow::Result<IpAddr> {
    let [one, other] = services;
    let address = lab.wait_for_addresses(one, 1, DEADLINE).await?;
    let of_other = lab.wait_for_addresses(other, 1, DEADLINE).await?;
    ensure!(address == of_other, "{address:?} is not shared, {of_other:?}");
    Ok(address[0])
}

/// Waits until the sniffer was answered often enough since `begin`.
async fn heard(sniffer: &Sniffer, address: IpAddr, begin: Monotonic) -> anyhow::Result<()> {
    wait_for("the sniffer is answered", DEADLINE, async || {
        let sightings = sniffer.sightings().since(begin).at(address);
        Ok((sightings.len() >= ANSWERS).then_some(()))
    })
    .await
}

/// Waits until `owner` and no other node answers, again and again.
async fn ensure_one_owner(lab: &Lab, sniffer: &Sniffer, address: IpAddr, owner: usize) -> anyhow::Result<()> {
    let owner = lab.node(owner).host().mac();
    wait_for("one node has the address", DEADLINE, async || {
        let begin = Monotonic::now();
        heard(sniffer, address, begin).await?;
        let owners = sniffer.sightings().since(begin).owners(address);
        ensure!(owners == [owner], "{address} is at {owners:?}");
        Ok(Some(()))
    })
    .await
}
