//! BGP beside layer 2, routes of the routers themselves, and nodes that are not to have traffic.

use std::net::SocketAddr;

use anyhow::ensure;
use herald_api::L2Advertisement;
use herald_lab::switch::LINK;
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use herald_routers::Kind;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::resources::{advertisement, apply, delete, label_node, resource, service};
use super::routers::{self, LabRouter, NETWORKS, SECOND, Sent, wait_for_all};

/// Addresses of the segment itself.
const ADDRESSES: [&str; 2] = ["192.168.67.210", "fd00:67::210"];
const ROUTE: [&str; 2] = ["192.168.67.210/32", "fd00:67::210/128"];

pub(super) async fn layer_2(lab: &mut Lab) -> anyhow::Result<()> {
    let routers = routers::start(lab, SECOND).await?;
    apply(lab, &routers::peers(&routers)).await?;
    ensure_no_foreign_routes(lab, &routers).await?;

    let pool = resource("v1beta1", "IPAddressPool", "both", &json!({"addresses": ROUTE}));
    let all = advertisement("all", &json!({}));
    let l2 = resource("v1beta1", "L2Advertisement", "all", &json!({}));
    apply(lab, &[pool, all, l2.clone(), service("web", ADDRESSES)]).await?;
    let sent = [Sent::new(ROUTE, &[0, 1, 2])];
    wait_for_all(&routers, &sent).await?;
    ensure_answered(lab, &routers).await?;
    delete::<L2Advertisement>(lab, "all").await?;
    for address in ADDRESSES {
        wait_until_unresolved(lab, address).await?;
    }
    wait_for_all(&routers, &sent).await?;
    apply(lab, &[l2]).await?;
    ensure_answered(lab, &routers).await?;

    unavailable_nodes(lab, &routers).await?;
    // With a Service as without one.
    ensure_no_foreign_routes(lab, &routers).await
}

/// A client on the segment is answered, and one behind a router.
async fn ensure_answered(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let hosts = routers.iter().filter(|router| router.side.kind != Kind::GoBgp);
    let hosts = hosts.map(|router| router.router.host());
    for host in hosts.chain([lab.client()]) {
        for address in ADDRESSES {
            let target = SocketAddr::new(address.parse()?, 80);
            let what = format!("{target} answers {}", host.name());
            wait_for(&what, DEADLINE, async || host.ask(target).await.map(Some)).await?;
        }
    }
    Ok(())
}

/// Waits until no machine of the segment answers for an address.
async fn wait_until_unresolved(lab: &Lab, address: &str) -> anyhow::Result<()> {
    let address = address.parse()?;
    let client = lab.client();
    wait_for(&format!("{address} is not resolved"), DEADLINE, async || {
        client.links().forget_neighbour(LINK, address).await?;
        client.poke(address).await?;
        // The kernel asks for three seconds.
        let mac = wait_for("the kernel has an answer or none", DEADLINE, async || {
            let entry = client.links().neighbour(address).await?;
            let is_asked =
                entry.is_some_and(|entry| entry.mac.is_none() && format!("{:?}", entry.state) != "Failed");
            Ok((!is_asked).then(|| entry.and_then(|entry| entry.mac)))
        })
        .await?;
        Ok(mac.is_none().then_some(()))
    })
    .await
}

/// The routes that each router sends are received, end no session, and are in no kernel of a node.
async fn ensure_no_foreign_routes(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    for node in lab.nodes() {
        for router in routers {
            let address = router.router.host().addresses()[usize::from(router.side.over_ipv6)];
            // As MetalLB writes it, without brackets.
            let series = format!("metallb_bgp_updates_total_received{{peer=\"{address}:179\"}}");
            let what = format!("{} has routes of {}", node.name(), router.name());
            wait_for(&what, DEADLINE, async || {
                let received = node.metric(&series).await?;
                ensure!(received >= 2.0, "{received} UPDATE messages");
                Ok(Some(()))
            })
            .await?;
        }
        for family in ["-4", "-6"] {
            let arguments = [family, "route", "show", "table", "all"];
            let output = node.host().netns().output("ip", &arguments).await?;
            let table = String::from_utf8_lossy(&output.stdout);
            let has_own = table.contains("192.168.67.") || table.contains("fd00:67:");
            let has_foreign = NETWORKS.iter().any(|network| table.contains(network));
            ensure!(has_own && !has_foreign, "{} has {table}", node.name());
        }
    }
    for router in routers {
        let sessions = router.sessions()?;
        ensure!(sessions.len() == lab.nodes().len(), "{sessions:?}");
    }
    Ok(())
}

/// A node without a network, or with the label that excludes it, announces nothing until that is over.
async fn unavailable_nodes(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let all = [Sent::new(ROUTE, &[0, 1, 2])];
    set_network_unavailable(lab, 0, true).await?;
    wait_for_all(routers, &[Sent::new(ROUTE, &[1, 2])]).await?;
    set_network_unavailable(lab, 0, false).await?;
    wait_for_all(routers, &all).await?;
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    label_node(lab, 1, &json!({label: ""})).await?;
    wait_for_all(routers, &[Sent::new(ROUTE, &[0, 2])]).await?;
    label_node(lab, 1, &json!({label: null})).await?;
    wait_for_all(routers, &all).await
}

async fn set_network_unavailable(lab: &Lab, index: usize, is_unavailable: bool) -> anyhow::Result<()> {
    let status = if is_unavailable { "True" } else { "False" };
    let conditions = json!([
        {"type": "Ready", "status": "True", "reason": "KubeletReady"},
        {"type": "NetworkUnavailable", "status": status, "reason": "Lab"},
    ]);
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    let api = Api::<Node>::all(lab.cluster().client());
    api.patch_status(lab.node(index).name(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
