//! The dashboards of the chart, on what the programs served during a failover.

use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::prometheus::Prometheus;
use herald_lab::scene::Scene;
use herald_lab::sniffer::Sniffer;
use herald_lab::{DEADLINE, Lab, plan};
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::{under_watch, with};

const DASHBOARDS: [&str; 2] = [
    include_str!("../../../../charts/herald/files/dashboards/herald-cluster.json"),
    include_str!("../../../../charts/herald/files/dashboards/herald-speaker.json"),
];
/// A rate needs two samples at least.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn trials() -> Vec<Trial> {
    vec![with(
        "prometheus",
        under_watch(
            "each_panel_of_the_dashboards_has_data_after_a_failover",
            all_have_data,
        ),
    )]
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
