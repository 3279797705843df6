//! The dashboards of the chart, on what the programs served during a failover and the life of sessions of BGP.

use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::objects::NAMESPACE;
use herald_lab::prometheus::Prometheus;
use herald_lab::scene::Scene;
use herald_lab::sniffer::Sniffer;
use herald_lab::switch::Host;
use herald_lab::{DEADLINE, Lab, plan};
use herald_netns::wait_for;
use herald_routers::{Kind, Neighbour, Router};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{under_watch, with};

const DASHBOARDS: [&str; 2] = [
    include_str!("../../../../charts/herald/files/dashboards/herald-cluster.json"),
    include_str!("../../../../charts/herald/files/dashboards/herald-speaker.json"),
];
/// A rate needs two samples at least.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// The AS numbers of the nodes and of the router.
const ASN: u32 = 65_001;
const ROUTER_ASN: u32 = 65_000;

pub(crate) fn trials() -> Vec<Trial> {
    let name = "each_panel_of_the_dashboards_has_data_after_a_failover";
    let trial = match Kind::Bird.obstacle() {
        Some(obstacle) if std::env::var_os("CI").is_none() => {
            let name = format!("{name} ({obstacle})");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
        _ => with("prometheus", under_watch(name, all_have_data)),
    };
    vec![trial]
}

/// A router that has a session with each node, and is sent all addresses with this community.
fn manifest(community: &str) -> String {
    let router = plan::router(0)[0];
    format!(
        "
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {{name: router, namespace: {NAMESPACE}}}
spec: {{myASN: {ASN}, peerASN: {ROUTER_ASN}, peerAddress: {router}}}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {{name: all, namespace: {NAMESPACE}}}
spec: {{communities: ['{community}']}}
"
    )
}

async fn start_router(lab: &Lab) -> anyhow::Result<Router<Host>> {
    let addresses = plan::router(0);
    let host = lab.switch().attach("router", addresses).await?;
    let neighbour = |node: usize| Neighbour {
        router_asn: ROUTER_ASN,
        router: addresses[0],
        asn: ASN,
        address: plan::node(node)[0],
        interface: None,
        password: None,
    };
    let neighbours: Vec<Neighbour> = (0..lab.nodes().len()).map(neighbour).collect();
    Ok(block_in_place(|| Router::start(Kind::Bird, host, &neighbours)))
}

/// Lets sessions of BGP be established, routes change, and sessions end, while Prometheus scrapes.
async fn live_through_sessions(lab: &Lab, prometheus: &Prometheus<'_>) -> anyhow::Result<()> {
    let router = start_router(lab).await?;
    lab.apply("bgp.yaml", &manifest("65001:1")).await?;
    let shows = async |query: &str| {
        wait_for(query, DEADLINE, async || {
            let found = prometheus.query(query).await?;
            Ok((!found.is_empty()).then_some(()))
        })
        .await
    };
    let nodes = lab.nodes().len();
    shows(&format!("sum(metallb_bgp_session_up) == {nodes}")).await?;
    shows("min(metallb_bgp_announced_prefixes_total) > 0").await?;
    lab.apply("bgp.yaml", &manifest("65001:2")).await?;
    shows(&format!("sum(herald_bgp_update_seconds_count) >= {nodes}")).await?;
    state_shows_the_session(lab).await?;
    block_in_place(|| drop(router));
    let ended = r#"sum(herald_bgp_session_ends_total{established="true"})"#;
    shows(&format!("{ended} == {nodes}")).await
}

/// `/state` of each node has what was negotiated.
async fn state_shows_the_session(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes() {
        let state = node.state().await?;
        let peer = &state["bgpPeers"][0];
        let place = format!("{}:179", plan::router(0)[0]);
        ensure!(
            peer["name"] == "router" && peer["place"] == *place && peer["state"] == "Established",
            "{state}"
        );
        ensure!(
            peer["negotiated"]["peerASN"] == ROUTER_ASN && peer["negotiated"]["families"] == json!(["IPv4"]),
            "{state}"
        );
        ensure!(
            peer["sent"] == peer["wanted"] && peer["established"] == 1,
            "{state}"
        );
    }
    Ok(())
}

async fn all_have_data(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let speakers = lab.nodes().iter().map(|node| node.host().addresses()[0]);
    let programs = speakers.chain([plan::switch()[0]]);
    let targets: Vec<String> = programs.map(|address| format!("{address}:9120")).collect();
    let configuration = json!({
        "global": {
            "scrape_interval": format!("{}s", SCRAPE_INTERVAL.as_secs()),
            "scrape_timeout": format!("{}s", SCRAPE_INTERVAL.as_secs()),
        },
        "scrape_configs": [{"job_name": "herald", "static_configs": [{"targets": targets}]}],
    });
    let prometheus = Prometheus::start(lab.client(), &configuration, lab.logs()).await?;
    wait_for("Prometheus scrapes all programs", DEADLINE, async || {
        // It refuses connections until it has started.
        let found = prometheus.targets().await.unwrap_or_default();
        let up = found.iter().filter(|target| target.health == "up").count();
        Ok((up == targets.len()).then_some(()))
    })
    .await?;

    live_through_sessions(lab, &prometheus).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    for query in queries()? {
        wait_for(&format!("data of {query}"), DEADLINE, async || {
            let found = prometheus.query(&query).await?;
            Ok(found.iter().any(|value| !value.is_nan()).then_some(()))
        })
        .await?;
    }
    lab.node(scene.owner).plug_in().await?;
    scene.returned(lab).await
}

/// The queries of all panels, for all speakers.
fn queries() -> anyhow::Result<Vec<String>> {
    let mut queries = Vec::new();
    for dashboard in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(dashboard)?;
        for panel in dashboard["panels"].as_array().context("no panels")? {
            let targets = panel["targets"].as_array().context("no targets")?;
            ensure!(!targets.is_empty(), "no query: {panel}");
            for target in targets {
                let query = target["expr"].as_str().context("no query")?;
                queries.push(query.replace("$__rate_interval", "1m").replace("$instance", ".*"));
            }
        }
    }
    Ok(queries)
}
