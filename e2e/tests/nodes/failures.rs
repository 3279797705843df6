//! What happens when something fails.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::{Cluster, STREAK};
use crate::traffic::{PACE, ensure_served, takeovers};
use crate::{DEADLINE, Stage};

pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    vec![
        stage.trial("a_killed_node_is_stood_in_for_and_comes_back", killed_node),
        stage.trial(
            "each_address_of_a_node_whose_link_is_cut_counts_as_one_failover",
            cut_link,
        ),
        stage.trial("crashes_while_the_api_server_is_away_are_no_crash_loop", crashes),
    ]
}

/// Waits until the client's kernel has learnt another owner than `node`. Nothing is sent beside its own requests.
async fn moved(cluster: &Cluster, address: IpAddr, node: usize) -> anyhow::Result<usize> {
    wait_for("the client learns another owner", DEADLINE, async || {
        cluster.client().poke(address).await?;
        Ok(cluster
            .learnt_owner(address)
            .await?
            .filter(|&owner| owner != node))
    })
    .await
}

async fn killed_node(cluster: &mut Cluster) -> anyhow::Result<()> {
    let address = cluster.address("hello").await?;
    let owner = cluster.settled_owner("hello").await?;
    let sniffer = cluster.switch().sniff().await?;
    sniffer.watch(&[address]);
    let start = Monotonic::now();
    cluster.machine_mut(owner).power_off().await?;
    moved(cluster, address, owner).await?;
    // A node that is slow may let the other one stand in until it is elected itself.
    let successor = cluster.settled_owner("hello").await?;
    ensure!(successor != owner, "the node that is off has the address");
    cluster.machine_mut(owner).power_on().await?;
    let name = cluster.machine(owner).name().to_owned();
    wait_for("the node has its address again", DEADLINE, async || {
        let announcers = cluster.announcers().await?;
        Ok((announcers.get("hello") == Some(&name)).then_some(()))
    })
    .await?;
    ensure!(cluster.settled_owner("hello").await? == owner);
    let [first, second] = [owner, successor].map(|index| cluster.machine(index).host().mac());
    let owners = sniffer.sightings().since(start).owners(address);
    ensure!(
        owners.contains(&second) && owners.last() == Some(&first),
        "{address} was at {owners:?}, not at {second} and then at {first}"
    );
    Ok(())
}

/// Services beside the two of all tests, so that each node has some.
fn services(count: usize) -> String {
    let service = |number| {
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{number}, labels: {{herald.io/e2e: extra}}}}
spec: {{type: LoadBalancer, selector: {{app: hello}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
        )
    };
    (0..count).map(service).collect()
}

/// Cuts the link of a node other than that whose failure another test made: a node that fails twice within minutes ranks last.
async fn cut_link(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.kubectl.apply(&services(8)).await?;
    let other = cluster.settled_owner("hello").await?;
    let before = wait_for("all Services are announced", DEADLINE, async || {
        let announcers = cluster.announcers().await?;
        Ok((announcers.len() == 10).then_some(announcers))
    });
    let before = before.await?;
    let cut = (other + 1) % cluster.machines().len();
    let name = cluster.machine(cut).name().to_owned();
    let mut addresses = Vec::new();
    for service in before.keys() {
        addresses.push(cluster.address(service).await?);
    }
    let own: Vec<&String> = before
        .iter()
        .filter_map(|(service, node)| (*node == name).then_some(service))
        .collect();
    let address = cluster
        .address(own.first().context("the node has no address")?)
        .await?;
    let takeovers_before = takeovers(cluster).await?;
    let sniffer = cluster.switch().sniff().await?;
    sniffer.watch(&addresses);
    let start = Monotonic::now();
    wait_for("all addresses are seen", DEADLINE, async || {
        let seen = sniffer.sightings().since(start);
        let is_seen = |address: &IpAddr| !seen.owners(*address).is_empty();
        Ok(addresses.iter().all(is_seen).then_some(()))
    })
    .await?;
    cluster.machine(cut).host().set_plugged(false).await?;
    moved(cluster, address, cut).await?;
    wait_for("others announce what the node had", DEADLINE, async || {
        let announcers = cluster.announcers().await?;
        Ok((announcers.len() == 10 && announcers.values().all(|node| *node != name)).then_some(()))
    })
    .await?;
    // A speaker that stands still for a moment takes nothing over once more.
    cluster.machine(cut).host().set_plugged(true).await?;
    wait_for("the node has an address again", DEADLINE, async || {
        let announcers = cluster.announcers().await?;
        Ok((announcers.len() == 10 && announcers.values().any(|node| *node == name)).then_some(()))
    })
    .await?;
    let made = takeovers(cluster).await? - takeovers_before;
    // On a busy machine other speakers may be taken for failed, too. Each failover changes where the address is.
    let sightings = sniffer.sightings().since(start);
    let changes: usize = addresses
        .iter()
        .map(|address| sightings.owners(*address).len() - 1)
        .sum();
    ensure!(
        own.len() as f64 <= made && made <= changes as f64,
        "{} addresses were at the node, {changes} changes were seen, {made} failovers were counted",
        own.len()
    );
    Ok(())
}

/// How often the container of each Pod of Herald was started again.
async fn restarts(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, u64>> {
    let pods = cluster.pods().await?;
    let restarts = pods.iter().map(|pod| {
        let name = pod["metadata"]["name"].as_str()?.to_owned();
        let status = &pod["status"]["containerStatuses"][0];
        Some((name, status["restartCount"].as_u64()?))
    });
    restarts.collect::<Option<_>>().context("a Pod without a status")
}

async fn crashes(cluster: &mut Cluster) -> anyhow::Result<()> {
    let before = restarts(cluster).await?;
    let owner = cluster.settled_owner("hello").await?;
    let other = (owner + 1) % cluster.machines().len();
    let mut prober = cluster.probe("hello", PACE).await?;
    let start = Monotonic::now();
    cluster.set_api_away(true).await?;
    let controllers = cluster
        .machines()
        .iter()
        .map(|machine| (machine, "/herald-controller"));
    let speaker = [(cluster.machine(other), "/herald-speaker")];
    for (machine, program) in controllers.chain(speaker) {
        let killed = machine.processes(program);
        for id in &killed {
            kill(Pid::from_raw((*id).try_into()?), Signal::SIGKILL)?;
        }
        wait_for(&format!("{program} runs again"), DEADLINE, async || {
            let running = machine.processes(program);
            let again = running.len() == killed.len() && running.iter().all(|id| !killed.contains(id));
            Ok(again.then_some(()))
        })
        .await?;
    }
    // Longer than a kubelet waits before it starts a container for the second time.
    tokio::time::sleep(Duration::from_secs(15)).await;
    cluster.set_api_away(false).await?;
    let expected: BTreeMap<String, u64> = {
        let pods = cluster.pods().await?;
        let other = cluster.machine(other).name();
        let crashed = pods.iter().filter(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            name.starts_with("herald-controller-") || pod["spec"]["nodeName"] == other
        });
        let crashed: Vec<&str> = crashed
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .collect();
        let once_more = |(name, count): (String, u64)| {
            let more = u64::from(crashed.contains(&name.as_str()));
            (name, count + more)
        };
        before.into_iter().map(once_more).collect()
    };
    wait_for(
        "each program that crashed was started once",
        DEADLINE,
        async || {
            let now = restarts(cluster).await?;
            ensure!(now == expected, "{now:?} instead of {expected:?}");
            Ok(Some(()))
        },
    )
    .await?;
    cluster.installed(NAMESPACE, "herald").await?;
    let now = Monotonic::now();
    prober.wait_until_served(now, STREAK, DEADLINE).await?;
    ensure!(
        cluster.settled_owner("hello").await? == owner,
        "the address moved"
    );
    ensure_served(&prober, start)
}
