//! Every object says what is announced, and what is wrong with a session.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_api::{BGPSessionState, BGPSessionStateStatus, ServiceBGPStatus};
use herald_lab::objects::NAMESPACE;
use herald_lab::switch::Host;
use herald_lab::{DEADLINE, Lab, plan};
use herald_netns::wait_for;
use herald_routers::{Kind, Neighbour, Router, Routes};
use tokio::task::block_in_place;

use super::{ASN, ROUTER_ASN};

/// A peer that does not answer is known as such when an attempt has ended, and a state is written every two seconds.
const ATTEMPT: Duration = Duration::from_secs(60);

/// A pool that only BGP advertises, to two routers, and a Service.
fn manifest(policy: &str) -> String {
    let [first, second] = [0, 1].map(|index| plan::router(index)[0]);
    format!(
        "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {{name: routed, namespace: {NAMESPACE}}}
spec: {{addresses: [10.67.0.0/28]}}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {{name: first, namespace: {NAMESPACE}}}
spec: {{myASN: {ASN}, peerASN: {ROUTER_ASN}, peerAddress: {first}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: second, namespace: {NAMESPACE}}}
type: kubernetes.io/basic-auth
# Another one than the router has.
data: {{password: bm90LXRoYXQtb2YtdGhlLXJvdXRlcg==}}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {{name: second, namespace: {NAMESPACE}}}
spec: {{myASN: {ASN}, peerASN: {ROUTER_ASN}, peerAddress: {second}, passwordSecret: {{name: second}}}}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {{name: all, namespace: {NAMESPACE}}}
spec: {{ipAddressPools: [routed]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: {policy}
  selector: {{app: hello}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"
    )
}

/// Starts a router that waits for all nodes.
async fn start(
    lab: &Lab,
    kind: Kind,
    index: usize,
    password: Option<&'static str>,
) -> anyhow::Result<Router<Host>> {
    let addresses = plan::router(index);
    let host = lab.switch().attach(&format!("router-{index}"), addresses).await?;
    let neighbour = |node: usize| Neighbour {
        router_asn: ROUTER_ASN,
        router: addresses[0],
        asn: ASN,
        address: plan::node(node)[0],
        interface: None,
        password,
    };
    let neighbours: Vec<Neighbour> = (0..lab.nodes().len()).map(neighbour).collect();
    Ok(block_in_place(|| Router::start(kind, host, &neighbours)))
}

/// Waits until the router has the prefix from exactly these nodes, and returns the MEDs.
async fn wait_for_nodes(
    router: &Router<Host>,
    prefix: &str,
    nodes: &[usize],
) -> anyhow::Result<BTreeSet<Option<u64>>> {
    let expected: BTreeSet<String> = nodes
        .iter()
        .map(|node| plan::node(*node)[0].to_string())
        .collect();
    let what = format!("the router has {prefix} from {expected:?}");
    wait_for(&what, DEADLINE, async || {
        let routes = block_in_place(|| router.try_routes()).map_err(anyhow::Error::msg)?;
        let paths = routes.get(prefix).map_or(&[][..], Vec::as_slice);
        let from: BTreeSet<String> = paths.iter().map(|path| path.next_hop.clone()).collect();
        Ok((from == expected).then(|| paths.iter().map(|path| path.med).collect()))
    })
    .await
}

/// The states of the sessions with a peer that every node shows.
async fn states(lab: &Lab, peer: &str) -> anyhow::Result<Vec<BGPSessionStateStatus>> {
    let states = lab.cluster().list::<BGPSessionState>(NAMESPACE).await?;
    let states = states.into_iter().filter_map(|state| state.status);
    Ok(states
        .filter(|state| state.peer.as_deref() == Some(peer))
        .collect())
}

/// The nodes that publish that they announce the Service, each with the peers.
async fn announcing(lab: &Lab) -> anyhow::Result<BTreeSet<(String, Vec<String>)>> {
    let statuses = lab.cluster().list::<ServiceBGPStatus>(NAMESPACE).await?;
    let statuses = statuses.into_iter().filter_map(|status| status.status);
    let of_service = statuses.filter(|status| status.service_name.as_deref() == Some("web"));
    let of_node = of_service.map(|status| (status.node.unwrap_or_default(), status.peers));
    Ok(of_node.collect())
}

async fn wait_for_announcing(lab: &Lab, nodes: &[usize]) -> anyhow::Result<()> {
    let peers = ["first", "second"].map(str::to_owned).to_vec();
    let of_node = |node: &usize| (lab.node(*node).name().to_owned(), peers.clone());
    let expected: BTreeSet<_> = nodes.iter().map(of_node).collect();
    let what = format!("{expected:?} announce the Service");
    wait_for(&what, DEADLINE, async || {
        Ok((announcing(lab).await? == expected).then_some(()))
    })
    .await
}

pub(super) async fn shown(lab: &mut Lab) -> anyhow::Result<()> {
    let first = start(lab, Kind::Frr, 0, None).await?;
    let second = start(lab, Kind::Bird, 1, Some("that-of-the-router")).await?;
    lab.apply("bgp.yaml", &manifest("Cluster")).await?;
    let addresses = lab.wait_for_addresses("web", 1, DEADLINE).await?;
    let prefix = format!("{}/32", addresses[0]);
    let meds = wait_for_nodes(&first, &prefix, &[0, 1, 2]).await?;
    ensure!(meds == BTreeSet::from([Some(100)]), "{meds:?}");
    wait_for_announcing(lab, &[0, 1, 2]).await?;
    shows(lab, &addresses[0].to_string()).await?;
    explains_the_wrong_password(lab).await?;
    ensure!(
        block_in_place(|| second.try_routes()) == Ok(Routes::new()),
        "the second router has routes"
    );

    lab.apply("bgp.yaml", &manifest("Local")).await?;
    lab.lose_pods(1).await?;
    wait_for_nodes(&first, &prefix, &[0, 2]).await?;
    wait_for_announcing(lab, &[0, 2]).await?;
    lab.node_mut(0).stop_speaker().await?;
    wait_for_nodes(&first, &prefix, &[2]).await?;
    // The other peer has cost the first one nothing.
    let established = states(lab, "first").await?;
    let of_node = established
        .iter()
        .find(|state| state.node.as_deref() == Some(lab.node(2).name()));
    let of_node = of_node.context("no state of the third node")?;
    ensure!(of_node.last_error.is_none(), "{of_node:?}");
    lab.cluster().delete_service("web").await?;
    wait_for_nodes(&first, &prefix, &[]).await?;
    wait_for_announcing(lab, &[]).await?;
    Ok(())
}

/// The condition, the metrics, the events and the state of the session say that the Service is announced.
async fn shows(lab: &Lab, address: &str) -> anyhow::Result<()> {
    wait_for("the Service is announced", DEADLINE, async || {
        let condition = lab.cluster().condition("web", "herald.io/Announced").await?;
        Ok(condition.filter(|[status, ..]| status == "True"))
    })
    .await?;
    for node in lab.nodes() {
        let name = node.name();
        let series = format!(
            "metallb_speaker_announced{{ip=\"{address}\",node=\"{name}\",protocol=\"bgp\",service=\"default/web\"}}"
        );
        ensure!(node.metric(&series).await? > 0.0, "{series}");
        let series = format!("metallb_bgp_session_up{{peer=\"{}:179\"}}", plan::router(0)[0]);
        ensure!(node.metric(&series).await? > 0.0, "{series}");
    }
    wait_for("all nodes show the session", DEADLINE, async || {
        let states = states(lab, "first").await?;
        let is_so = |state: &BGPSessionStateStatus| {
            state.bgp_status.as_deref() == Some("Established") && state.prefixes == Some(1)
        };
        Ok((states.len() == 3 && states.iter().all(is_so)).then_some(()))
    })
    .await?;
    wait_for("events tell of it", DEADLINE, async || {
        let events = lab.cluster().events("default").await?;
        let has = |text: &str| events.iter().any(|event| event.contains(text));
        let assigned = lab.nodes().iter().all(|node| {
            has(&format!(
                "announcing from node \"{}\" with protocol \"bgp\"",
                node.name()
            ))
        });
        let up = has("BGPSessionUp: BGP session with peer \"first\"");
        Ok((assigned && up).then_some(()))
    })
    .await
}

/// The state of the session with the second router says what is wrong, and the event does.
async fn explains_the_wrong_password(lab: &Lab) -> anyhow::Result<()> {
    wait_for("all nodes name the password", ATTEMPT, async || {
        let states = states(lab, "second").await?;
        let is_so = |state: &BGPSessionStateStatus| {
            let error = state.last_error.as_deref().unwrap_or_default();
            state.bgp_status.as_deref() == Some("Active") && error.contains("password")
        };
        Ok((states.len() == 3 && states.iter().all(is_so)).then_some(()))
    })
    .await?;
    wait_for("an event names the password", DEADLINE, async || {
        let events = lab.cluster().events("default").await?;
        let is_so = |event: &String| {
            event.contains("BGPSessionDown: BGP session with peer \"second\"") && event.contains("password")
        };
        Ok(events.iter().any(is_so).then_some(()))
    })
    .await
}
