//! Parts of the cluster go away and come back.

use std::time::Duration;

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::prober::Pace;
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::{DEADLINE, QUICKSTART, in_cluster};

const NEWCOMER: &str = "{apiVersion: v1, kind: Service, metadata: {name: a-newcomer}, spec: {type: LoadBalancer, ports: [{port: 80}]}}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster(
            "a_restarted_api_server_finds_everything_as_it_was",
            async |lab, kubectl| api_server_away(lab, kubectl, Duration::from_secs(5)).await,
        ),
        in_cluster(
            "an_api_server_that_is_away_for_ten_minutes_loses_no_request (takes 11 minutes)",
            async |lab, kubectl| api_server_away(lab, kubectl, Duration::from_secs(600)).await,
        )
        .with_ignored_flag(true),
        in_cluster("a_leader_that_dies_is_followed", leader),
        in_cluster("a_rolling_restart_leaves_no_request_unserved", rolling_restart),
    ]
}

/// Its watch cache is empty after a restart, so that watches resume from versions that it does not have any more.
async fn api_server_away(lab: &mut Lab, kubectl: &Kubectl, away: Duration) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let owner = lab.owner(addresses[0], DEADLINE).await?;
    let mut prober = lab.probe(addresses[0], 80, Pace::default(), DEADLINE).await?;
    prober
        .wait_until_served(Monotonic::from_nanos(0), 50, DEADLINE)
        .await?;
    let begin = Monotonic::now();
    lab.set_api_away(true).await?;
    tokio::time::sleep(away).await;
    lab.set_api_away(false).await?;
    kubectl.apply(NEWCOMER).await?;
    let new = lab.wait_for_addresses("a-newcomer", 1, DEADLINE).await?;
    let history = prober.wait_until_served(Monotonic::now(), 50, DEADLINE).await?;
    let outage = history.outage(begin).context("nothing was answered")?;
    ensure!(outage.losses.is_empty(), "requests were lost: {outage:?}");
    ensure!(!addresses.contains(&new[0]), "{new:?} was given twice");
    ensure!(
        lab.cluster().addresses("hello").await? == addresses,
        "hello lost {addresses:?}"
    );
    ensure!(
        lab.owner(addresses[0], DEADLINE).await? == owner,
        "the address moved without a cause"
    );
    Ok(())
}

async fn leader(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let holder = async || {
        let lease = kubectl
            .get(&["lease", "herald-controller", "-n", "metallb-system"])
            .await?;
        anyhow::Ok(lease["spec"]["holderIdentity"].as_str().map(str::to_owned))
    };
    ensure!(holder().await?.as_deref() == Some("controller"));
    let standby = lab.start_another_controller().await?;
    lab.kill_controller().await?;
    kubectl.apply(NEWCOMER).await?;
    let new = lab.wait_for_addresses("a-newcomer", 1, DEADLINE).await?;
    ensure!(
        holder().await?.as_deref() == Some("controller-2"),
        "served by {:?}",
        holder().await?
    );
    ensure!(!addresses.contains(&new[0]), "{new:?} was given twice");
    ensure!(
        lab.cluster().addresses("hello").await? == addresses,
        "hello lost {addresses:?}"
    );
    // And back again.
    lab.start_controller().await?;
    standby.kill().await?;
    wait_for("the first one leads again", DEADLINE, async || {
        Ok((holder().await?.as_deref() == Some("controller")).then_some(()))
    })
    .await
}

async fn rolling_restart(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let mut prober = lab.probe(address, 80, Pace::default(), DEADLINE).await?;
    prober
        .wait_until_served(Monotonic::from_nanos(0), 50, DEADLINE)
        .await?;
    let begin = Monotonic::now();
    for index in 0..lab.nodes().len() {
        let status = lab.node_mut(index).stop_speaker().await?;
        ensure!(status.success(), "the speaker ended with {status}");
        lab.node_mut(index).start_speaker().await?;
        let served = prober.wait_until_served(Monotonic::now(), 200, DEADLINE).await;
        served.with_context(|| format!("after the restart on {}", lab.node(index).name()))?;
    }
    let history = prober.wait_until_served(Monotonic::now(), 50, DEADLINE).await?;
    let outage = history.outage(begin).context("nothing was answered")?;
    let unserved = outage.unserved().count();
    ensure!(unserved == 0, "{unserved} requests met nobody: {outage:?}");
    Ok(())
}
