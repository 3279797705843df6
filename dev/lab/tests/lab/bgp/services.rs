//! Which nodes announce a Service, and what shows it.

use std::net::SocketAddr;

use anyhow::ensure;
use herald_api::BGPPeer;
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use herald_routers::Kind;
use serde_json::{Value, json};

use super::resources::{
    ONE, advertisement, apply, delete, hostname, pools, service, wait_for_announcing, with,
};
use super::routers::{self, LabRouter, SECOND, Sent, wait_for_all};

/// The routes to [`ONE`].
const WEB: [&str; 2] = ["10.67.1.1/32", "fd00:6701::1/128"];
/// The peers by name, in the order of an object.
const PEERS: [&str; 3] = ["bird", "frr", "gobgp"];
/// So many connections find each of three paths; of sixty thousand times, one does not and is repeated.
const CONNECTIONS: usize = 30;

pub(super) async fn served(lab: &mut Lab) -> anyhow::Result<()> {
    let routers = routers::start(lab, SECOND).await?;
    apply(lab, &pools()).await?;
    apply(lab, &routers::peers(&routers)).await?;
    apply(lab, &[advertisement("all", &json!({})), service("web", ONE)]).await?;
    wait_for_all(&routers, &[Sent::new(WEB, &[0, 1, 2])]).await?;
    wait_for_announcing(lab, "web", &[0, 1, 2], &PEERS).await?;
    ensure_answered(lab, &routers, &[0, 1, 2]).await?;

    policy_local(lab, &routers).await?;
    statuses(lab, &routers).await?;
    families(lab, &routers).await?;
    lab.cluster().delete_service("web").await?;
    wait_for_all(&routers, &[]).await?;
    wait_for_announcing(lab, "web", &[], &PEERS).await?;
    shared_address(lab, &routers).await
}

/// Only nodes with an endpoint announce the Service, and an endpoint that moves takes the route with it.
async fn policy_local(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    lab.lose_pods(1).await?;
    apply(lab, &[local()]).await?;
    wait_for_all(routers, &[Sent::new(WEB, &[0, 2])]).await?;
    wait_for_announcing(lab, "web", &[0, 2], &PEERS).await?;
    ensure_answered(lab, routers, &[0, 2]).await?;
    for pod in lab.node(1).pods() {
        lab.cluster().set_ready(pod, true).await?;
    }
    lab.lose_pods(0).await?;
    wait_for_all(routers, &[Sent::new(WEB, &[1, 2])]).await?;
    wait_for_announcing(lab, "web", &[1, 2], &PEERS).await?;
    ensure_answered(lab, routers, &[1, 2]).await?;
    for pod in lab.node(0).pods() {
        lab.cluster().set_ready(pod, true).await?;
    }
    wait_for_all(routers, &[Sent::new(WEB, &[0, 1, 2])]).await
}

fn local() -> Value {
    let policy = json!({"spec": {"externalTrafficPolicy": "Local"}});
    with(service("web", ONE), &policy)
}

/// The kernels of the routers that forward packets spread connections over these nodes, whose own pods answer with policy Local.
async fn ensure_answered(lab: &Lab, routers: &[LabRouter], nodes: &[usize]) -> anyhow::Result<()> {
    let is_forwarding = |router: &&LabRouter| router.side.kind != Kind::GoBgp;
    for router in routers.iter().filter(is_forwarding) {
        for address in ONE {
            let target = SocketAddr::new(address.parse()?, 80);
            let what = format!("{target} answers through {} from {nodes:?}", router.name());
            wait_for(&what, DEADLINE, async || {
                let mut found = Vec::new();
                for _ in 0..CONNECTIONS {
                    found.push(router.router.host().ask(target).await?.node);
                }
                found.sort();
                found.dedup();
                let expected: Vec<&str> = nodes.iter().map(|node| lab.node(*node).name()).collect();
                ensure!(found == expected, "{found:?}");
                Ok(Some(()))
            })
            .await?;
        }
    }
    Ok(())
}

/// The objects of the nodes follow peers and advertisements.
async fn statuses(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let nodes = &[0, 1, 2];
    // A peer that does not exist changes nothing. The community shows that the advertisement was taken.
    let unknown = json!({"peers": ["bird", "frr", "gobgp", "nobody"], "communities": ["65001:9"]});
    apply(lab, &[advertisement("all", &unknown)]).await?;
    let marked = Sent {
        communities: "65001:9",
        ..Sent::new(WEB, nodes)
    };
    wait_for_all(routers, &[marked]).await?;
    wait_for_announcing(lab, "web", nodes, &PEERS).await?;

    apply(lab, &[advertisement("all", &json!({}))]).await?;
    delete::<BGPPeer>(lab, "gobgp").await?;
    wait_for_announcing(lab, "web", nodes, &["bird", "frr"]).await?;
    for router in routers {
        let sent = Sent::new(
            WEB,
            if router.side.kind == Kind::GoBgp {
                &[]
            } else {
                nodes
            },
        );
        router.wait_for(&[sent]).await?;
    }
    apply(lab, &routers::peers(routers)).await?;
    wait_for_announcing(lab, "web", nodes, &PEERS).await?;

    let some = json!({"nodeSelectors": [hostname(lab, 1), hostname(lab, 2)]});
    apply(lab, &[advertisement("all", &some)]).await?;
    wait_for_announcing(lab, "web", &[1, 2], &PEERS).await?;
    wait_for_all(routers, &[Sent::new(WEB, &[1, 2])]).await?;
    apply(lab, &[advertisement("all", &json!({}))]).await?;
    wait_for_all(routers, &[Sent::new(WEB, nodes)]).await
}

/// A session has the routes of its own family only, unless it is said to have both.
async fn families(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    for (is_dual, change) in [(false, json!(false)), (true, json!(true))] {
        let change = json!({"dualStackAddressFamily": change});
        let peers: Vec<Value> = routers.iter().map(|router| router.peer_with(&change)).collect();
        apply(lab, &peers).await?;
        for router in routers {
            let families = [false, true].map(|is_v6| is_dual || is_v6 == router.side.over_ipv6);
            let sent = [Sent::new(WEB, &[0, 1, 2])];
            router.wait_for_families(families, &sent).await?;
        }
    }
    Ok(())
}

/// The route of a shared address stays until both Services are deleted.
async fn shared_address(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let shared = |name: &str, port: u16| {
        let changes = json!({
            "metadata": {"annotations": {"metallb.io/allow-shared-ip": "key"}},
            "spec": {"ports": [{"name": "http", "port": port, "targetPort": 8080}]},
        });
        with(service(name, ONE), &changes)
    };
    apply(lab, &[shared("first", 80), shared("second", 81)]).await?;
    for name in ["first", "second"] {
        wait_for_announcing(lab, name, &[0, 1, 2], &PEERS).await?;
    }
    let route = [Sent::new(WEB, &[0, 1, 2])];
    wait_for_all(routers, &route).await?;
    for (port, name) in [(80, "first"), (81, "second")] {
        for router in routers.iter().filter(|router| router.side.kind != Kind::GoBgp) {
            let target = SocketAddr::new(ONE[0].parse()?, port);
            let what = format!("{name} answers through {}", router.name());
            let ask = async || router.router.host().ask(target).await.map(Some);
            wait_for(&what, DEADLINE, ask).await?;
        }
    }
    lab.cluster().delete_service("first").await?;
    wait_for_announcing(lab, "first", &[], &PEERS).await?;
    wait_for_announcing(lab, "second", &[0, 1, 2], &PEERS).await?;
    wait_for_all(routers, &route).await?;
    lab.cluster().delete_service("second").await?;
    wait_for_announcing(lab, "second", &[], &PEERS).await?;
    wait_for_all(routers, &[]).await
}
