//! `herald-lab demo --bgp`: a router learns the addresses from all nodes, and spreads the connections over them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;
use herald_netns::wait_for;
use herald_routers::{Kind, Router};

use super::story::{Chapter, Story, milliseconds};
use super::{SERVICES, begin, outage, served};
use crate::clock::Monotonic;
use crate::gateway::{self, Gateway};
use crate::prober::Prober;
use crate::switch::Host;
use crate::{DEADLINE, Lab};

/// Its name in messages.
const MANIFEST_PATH: &str = "demo.yaml";
/// The addresses of [`MANIFEST`].
const POOL: [&str; 2] = ["198.51.100.0/28", "2001:db8:100::/124"];
/// The AS numbers of [`MANIFEST`].
const ASN: u32 = 64_512;
const ROUTER_ASN: u32 = 64_513;
/// By the policy, the pod that answers is on the node that the router chose. The hold time is the shortest that there is.
const MANIFEST: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: routed, namespace: metallb-system}
spec: {addresses: [198.51.100.0/28, '2001:db8:100::/124']}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: router, namespace: metallb-system}
spec: {myASN: 64512, peerASN: 64513, peerAddress: 192.168.67.8, dualStackAddressFamily: true, holdTime: 3s}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: routed, namespace: metallb-system}
spec: {ipAddressPools: [routed]}
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: hello-dual}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}]
";
/// Requests for each node: enough to meet each of 20 nodes.
const REQUESTS: usize = 10;
/// How many answers the demo shows.
const SHOWN: usize = 6;

pub(super) async fn acts(lab: &mut Lab, story: &Story, kind: Kind) -> anyhow::Result<()> {
    let router = gateway::start(
        lab,
        Gateway {
            kind,
            networks: POOL,
            asns: [ASN, ROUTER_ASN],
            keeps_nothing: false,
        },
    )
    .await?;
    begin(lab, story, MANIFEST_PATH, MANIFEST).await?;
    story.write(&Chapter::Router {
        router: router.host().into(),
        program: kind.to_string(),
    });
    let all: BTreeSet<usize> = (0..lab.nodes().len()).collect();
    for (service, count) in SERVICES {
        let addresses = lab.wait_for_addresses(service, count, DEADLINE).await?;
        story.write(&Chapter::Addressed {
            service,
            addresses: addresses.clone(),
        });
        for address in addresses {
            wait_for_nodes(lab, story, &router, address, &all).await?;
            answers(lab, story, address).await?;
        }
    }
    let address = lab.wait_for_addresses(SERVICES[0].0, 1, DEADLINE).await?[0];
    power_failure(lab, story, &router, address).await?;
    planned_stop(lab, story, &router, address).await
}

/// Waits until the router has the address by exactly these nodes.
async fn wait_for_nodes(
    lab: &Lab,
    story: &Story,
    router: &Router<Host>,
    address: IpAddr,
    nodes: &BTreeSet<usize>,
) -> anyhow::Result<()> {
    let name = |node: &usize| lab.node(*node).name().to_owned();
    let names: Vec<String> = nodes.iter().map(name).collect();
    wait_for(
        &format!("the router has {address} by {names:?}"),
        DEADLINE,
        async || Ok((gateway::nodes_with(router, address)? == *nodes).then_some(())),
    )
    .await?;
    story.write(&Chapter::Routed {
        address,
        nodes: names,
    });
    Ok(())
}

/// Requests until pods of more than one node have answered, as the router spreads the connections.
async fn answers(lab: &Lab, story: &Story, address: IpAddr) -> anyhow::Result<()> {
    let target = SocketAddr::new(address, 80);
    let mut nodes = BTreeSet::new();
    for request in 0..REQUESTS * lab.nodes().len() {
        let answer = wait_for(&format!("{target} answers"), DEADLINE, async || {
            lab.client().ask(target).await.map(Some)
        })
        .await?;
        nodes.insert(answer.node.clone());
        if request < SHOWN {
            story.write(&Chapter::Answered {
                address,
                node: answer.node,
                pod: answer.pod,
            });
        }
    }
    ensure!(
        nodes.len() > 1,
        "the router does not spread connections: all went to {nodes:?}"
    );
    Ok(())
}

/// A node loses its power: until the hold time is over, the router sends it its part of the connections.
async fn power_failure(
    lab: &mut Lab,
    story: &Story,
    router: &Router<Host>,
    address: IpAddr,
) -> anyhow::Result<()> {
    let mut prober = served(lab, address).await?;
    story.write(&Chapter::FailingPath {
        node: lab.node(0).name().to_owned(),
        address,
    });
    let fault = Monotonic::now();
    lab.power_off(0).await?;
    tell_withdrawal(lab, story, router, address, fault, &mut prober).await?;
    lab.power_on(0).await?;
    returned(lab, story, router, address).await
}

/// A speaker is stopped and started again as an upgrade would do it: it withdraws its routes first.
async fn planned_stop(
    lab: &mut Lab,
    story: &Story,
    router: &Router<Host>,
    address: IpAddr,
) -> anyhow::Result<()> {
    let mut prober = served(lab, address).await?;
    story.write(&Chapter::StoppingPath {
        node: lab.node(0).name().to_owned(),
        address,
    });
    let fault = Monotonic::now();
    let status = lab.node_mut(0).stop_speaker().await?;
    ensure!(status.success(), "the speaker ended with {status}");
    tell_withdrawal(lab, story, router, address, fault, &mut prober).await?;
    lab.node_mut(0).start_speaker().await?;
    returned(lab, story, router, address).await
}

/// Tells when the router has no route by the first node any more, and what a client saw meanwhile.
async fn tell_withdrawal(
    lab: &Lab,
    story: &Story,
    router: &Router<Host>,
    address: IpAddr,
    fault: Monotonic,
    prober: &mut Prober,
) -> anyhow::Result<()> {
    let after = withdrawn(router, address, fault).await?;
    let outage = outage(prober, fault).await?;
    story.write(&Chapter::Withdrawn {
        address,
        node: lab.node(0).name().to_owned(),
        after_ms: milliseconds(after),
        outage: outage.into(),
    });
    Ok(())
}

/// Waits until the router has no route by the first node, and returns the time since the fault.
async fn withdrawn(router: &Router<Host>, address: IpAddr, fault: Monotonic) -> anyhow::Result<Duration> {
    wait_for("the router removes the route", DEADLINE, async || {
        Ok((!gateway::nodes_with(router, address)?.contains(&0)).then_some(()))
    })
    .await?;
    Ok(Monotonic::now().since(fault))
}

async fn returned(lab: &Lab, story: &Story, router: &Router<Host>, address: IpAddr) -> anyhow::Result<()> {
    let all = (0..lab.nodes().len()).collect();
    wait_for_nodes(lab, story, router, address, &all).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_for_the_router_and_the_pool() {
        let [v4, _] = crate::plan::router(0);
        assert!(MANIFEST.contains(&format!(
            "myASN: {ASN}, peerASN: {ROUTER_ASN}, peerAddress: {v4},"
        )));
        assert!(POOL.into_iter().all(|pool| MANIFEST.contains(pool)));
    }
}
