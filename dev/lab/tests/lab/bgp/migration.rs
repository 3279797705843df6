//! From FRR as MetalLB's speaker to Herald, node by node, behind a router and under requests.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::objects::{NAMESPACE, Pod};
use herald_lab::prober::Pace;
use herald_lab::switch::Host;
use herald_lab::{DEADLINE, Lab, gateway, plan};
use herald_netns::wait_for;
use herald_routers::{Kind, Neighbour, Router, Setup};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::task::block_in_place;

use super::resources::{advertisement, apply, pools, resource};
use super::{ASN, ROUTER_ASN};
use crate::{PROCESSORS, trial};

const ADDRESS: &str = "10.67.1.1";
const ROUTE: &str = "10.67.1.1/32";
const NETWORKS: [&str; 2] = ["10.67.1.0/28", "fd00:6701::/124"];
/// A thousand requests a second.
const PACE: Pace = Pace {
    interval: Duration::from_millis(1),
    timeout: Duration::from_secs(20),
    most_open: 100,
};
/// So many answers in a row show that nothing is under way any more.
const STREAK: usize = 500;
/// So many requests may be reset: those that are under way while the router changes its next hops, twice for each node. Their packets
/// reach another node then, which does not know the connection.
const MOST_RESET: usize = 6 * 5;

pub(super) fn of_migration() -> Trial {
    let name = "nodes_move_from_frr_to_herald_one_by_one_and_every_request_finds_a_node";
    let obstacle = [Kind::Frr, Kind::Bird].into_iter().find_map(Kind::obstacle);
    if let Some(obstacle) = obstacle.filter(|_| std::env::var_os("CI").is_none()) {
        return Trial::test(format!("{name} ({obstacle})"), || Ok(())).with_ignored_flag(true);
    }
    trial(name, async || {
        // A thousand requests a second take a processor.
        let _alone = PROCESSORS.write().await;
        let mut lab = Lab::builder().beside_metallb().start().await?;
        match moved(&mut lab).await {
            Ok(()) => Ok(()),
            Err(error) => anyhow::bail!("{error:#}\n{}", lab.report().await),
        }
    })
}

async fn moved(lab: &mut Lab) -> anyhow::Result<()> {
    lab.run_app("hello", 8080, &[0, 1, 2]).await?;
    let router = gateway::start(lab, Kind::Bird, NETWORKS, [ASN, ROUTER_ASN]).await?;
    let controller = metallb(lab, "controller", 0);
    let pods: Vec<Pod> = (0..3).map(|node| metallb(lab, "speaker", node)).collect();
    for pod in pods.iter().chain([&controller]) {
        lab.cluster().add_pod(pod).await?;
    }
    let peer = json!({"myASN": ASN, "peerASN": ROUTER_ASN, "peerAddress": plan::router(0)[0]});
    apply(lab, &pools()).await?;
    apply(
        lab,
        &[
            resource("v1beta2", "BGPPeer", "router", &peer),
            advertisement("all", &json!({})),
        ],
    )
    .await?;
    add_service(lab).await?;
    lab.start_herald().await?;
    lab.wait_for_speakers(DEADLINE).await?;
    let lab = &*lab;
    let old: Vec<Router<&Host>> = (0..3).map(|node| frr(lab, node)).collect();
    wait_for_paths(&router, 0).await?;

    let address: IpAddr = ADDRESS.parse()?;
    let mut prober = lab.probe(address, 80, PACE, DEADLINE).await?;
    prober
        .wait_until_served(Monotonic::from_nanos(0), STREAK, DEADLINE)
        .await?;
    let begin = Monotonic::now();
    for (node, (old, pod)) in old.into_iter().zip(&pods).enumerate() {
        block_in_place(|| old.stop());
        lab.cluster().remove_pod(NAMESPACE, &pod.name).await?;
        wait_for_paths(&router, node + 1).await?;
        prober
            .wait_until_served(Monotonic::now(), STREAK, DEADLINE)
            .await?;
    }
    let history = prober.history();
    let outage = history.outage(begin).context("no request was answered")?;
    let answered = outage.answered;
    let (reset, unanswered): (Vec<_>, Vec<_>) = outage
        .losses
        .into_iter()
        .partition(|loss| loss.contains("Connection reset"));
    ensure!(
        unanswered.is_empty() && reset.len() <= MOST_RESET,
        "beside {answered} answers: {reset:?}, {unanswered:?}"
    );
    Ok(())
}

/// A Pod of MetalLB.
fn metallb(lab: &Lab, component: &str, node: usize) -> Pod {
    let node = lab.node(node);
    let labels = json!({"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": component});
    let name = format!("metallb-{component}-{}", node.name());
    Pod::herald(&name, node.name(), node.host().addresses(), labels)
}

/// A Service with the address that the controller of MetalLB gave it.
async fn add_service(lab: &Lab) -> anyhow::Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": "default",
            "annotations": {"metallb.io/ip-allocated-from-pool": "one"},
        },
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "hello"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    });
    lab.cluster().create(&service).await?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS, "ipMode": "VIP"}]}}});
    Api::<Service>::namespaced(lab.cluster().client(), "default")
        .patch_status("web", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// FRR on a node, as MetalLB has it there: it connects to the router, and its routes have no MED.
fn frr(lab: &Lab, node: usize) -> Router<&Host> {
    let neighbour = Neighbour {
        router_asn: ASN,
        router: plan::node(node)[0],
        asn: ROUTER_ASN,
        address: plan::router(0)[0],
        interface: None,
        password: None,
    };
    let setup = Setup {
        neighbours: &[neighbour],
        networks: &[ROUTE],
        dials: true,
        ..Setup::default()
    };
    block_in_place(|| Router::start_with(Kind::Frr, lab.node(node).host(), &setup))
}

/// Waits until the router has the address by all nodes, of which the first ones run Herald. A route of FRR has the MED 0, and one of
/// Herald beside MetalLB has none, which is the same for a router.
///
/// FRR ends its sessions without a NOTIFICATION, and says that it can restart gracefully (RFC 4724): the router keeps its routes until
/// the session of Herald has replaced them.
async fn wait_for_paths(router: &Router<Host>, moved: usize) -> anyhow::Result<()> {
    let med = |node| (node >= moved).then_some(0);
    let expected: Vec<(String, Option<u64>)> = (0..3)
        .map(|node| (plan::node(node)[0].to_string(), med(node)))
        .collect();
    let what = format!("the router has {ROUTE} by {expected:?}");
    wait_for(&what, DEADLINE, async || {
        let routes = block_in_place(|| router.try_routes()).map_err(anyhow::Error::msg)?;
        let paths = routes.get(ROUTE).map_or(&[][..], Vec::as_slice);
        let found = paths.iter().map(|path| (path.next_hop.clone(), path.med));
        ensure!(found.eq(expected.iter().cloned()), "{paths:?}");
        Ok(Some(()))
    })
    .await
}
