//! The owner of an address fails or leaves; a client is served again, and its cache is never flushed by hand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::plan;
use herald_lab::prober::{Pace, Prober};
use herald_lab::process::Program;
use herald_lab::sniffer::Sniffer;
use herald_lab::switch::LINK;
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::{embedded_only, under_watch};
use herald_lab::DEADLINE;
use herald_lab::scene::{STREAK, Scene};

/// A thousand requests a second.
const PER_THOUSAND: Pace = Pace {
    interval: Duration::from_millis(1),
    timeout: Duration::from_millis(500),
    most_open: 1000,
};
/// Requests answered in a row at this pace that count as "settled": longer than the sniffer waits for the machine before, so that it
/// takes a move and the next one for two things.
const SETTLED: usize = 600;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        under_watch("a_cut_link_moves_the_address", cut_link),
        under_watch("a_killed_speaker_loses_the_address", killed_speaker),
        under_watch("a_stopped_speaker_hands_the_address_over", stopped_speaker),
        under_watch("a_drained_node_hands_the_address_over", drained_node),
        under_watch(
            "a_drained_node_hands_an_address_with_policy_local_over",
            drained_local,
        ),
        under_watch(
            "an_address_with_policy_local_leaves_a_node_before_its_pod_ends",
            evicted_local,
        ),
        under_watch(
            "a_paused_speaker_loses_the_address_and_takes_it_back",
            paused_speaker,
        ),
        under_watch("an_ipv6_address_moves_as_well", ipv6),
        under_watch("an_address_moves_while_the_api_server_is_away", api_away),
    ];
    trials.extend(rolling_update_trials());
    trials
}

async fn cut_link(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    lab.node(scene.owner).plug_in().await?;
    scene.returned(lab).await
}

/// The node goes on and serves clients that know its Ethernet address; a client that has to ask is answered by the successor.
async fn killed_speaker(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let [addresses, _] = plan::observers();
    let newcomer = lab.switch().attach("newcomer", addresses).await?;
    let target = SocketAddr::new(scene.address, 80);
    let mut asking = Prober::start(newcomer.netns(), target, Pace::default()).await?;
    asking
        .wait_until_served(Monotonic::from_nanos(0), STREAK, DEADLINE)
        .await?;
    let fault = Monotonic::now();
    lab.node_mut(scene.owner).kill_speaker().await?;
    newcomer.links().forget_neighbour(LINK, scene.address).await?;
    scene.moved(lab, fault).await?;
    scene.ensure_planned(fault)?;
    asking.wait_until_served(fault, STREAK, DEADLINE).await?;
    Ok(())
}

async fn stopped_speaker(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set(lab, sniffer, IpAddr::is_ipv4, PER_THOUSAND).await?;
    let fault = Monotonic::now();
    let status = lab.node_mut(scene.owner).stop_speaker().await?;
    ensure!(status.success(), "the speaker ended with {status}");
    scene.moved(lab, fault).await?;
    let history = scene.prober.wait_until_served(fault, SETTLED, DEADLINE).await?;
    scene.ensure_planned(fault)?;
    let asked = history
        .outcomes()
        .iter()
        .filter(|outcome| outcome.started > fault);
    let asked = u32::try_from(asked.count())?;
    let elapsed = Monotonic::now().since(fault);
    ensure!(
        2 * asked * PER_THOUSAND.interval >= elapsed,
        "only {asked} requests in {elapsed:?}"
    );
    Ok(())
}

/// A program of another version of Herald that the update rolls forward to and back from: a path to its `herald-lab`.
/// Without it the update is one from this version to itself.
const OTHER_VERSION: &str = "HERALD_OTHER_LAB";

/// On Kubernetes' own back end the test `a_rolling_restart_leaves_no_request_unserved` of `e2e` does this by the chart. At this
/// pace connections were refused there for some 45 ms in two of three runs; the cause is not known.
fn rolling_update_trials() -> [Trial; 2] {
    let alone = "a_rolling_update_of_all_speakers_loses_no_request";
    let shared = "a_rolling_update_of_all_speakers_loses_no_request_of_an_address_that_is_shared";
    let trials = [
        under_watch(alone, async |lab, sniffer| {
            let scene = Scene::set(lab, sniffer, IpAddr::is_ipv4, PER_THOUSAND).await?;
            rolling_update(lab, scene).await
        }),
        under_watch(shared, async |lab, sniffer| {
            let scene = Scene::set_shared(lab, sniffer, PER_THOUSAND).await?;
            rolling_update(lab, scene).await
        }),
    ];
    trials.map(embedded_only)
}

async fn rolling_update(lab: &mut Lab, mut scene: Scene) -> anyhow::Result<()> {
    let start = Monotonic::now();
    let count = lab.nodes().len();
    let own: Vec<Program> = lab
        .nodes()
        .iter()
        .map(|node| node.speaker_program().clone())
        .collect();
    let other = |program: &Program| match std::env::var(OTHER_VERSION) {
        Ok(path) => Program {
            arguments: [
                &["exec".to_owned(), path, "role".to_owned()][..],
                &program.arguments,
            ]
            .concat(),
            ..program.clone()
        },
        Err(_) => program.clone(),
    };
    let others = own.iter().map(other).collect();
    for version in [others, own] {
        for (index, program) in version.into_iter().enumerate() {
            let status = lab.node_mut(index).stop_speaker().await?;
            ensure!(
                status.success(),
                "the speaker of {} ended with {status}",
                lab.node(index).name()
            );
            lab.node_mut(index).set_speaker(program);
            lab.node_mut(index).start_speaker().await?;
            for node in lab.nodes() {
                let alive = async || {
                    let alive = node.metric("herald_gossip_members{state=\"alive\"}").await;
                    Ok(alive.is_ok_and(|alive| alive == count as f64).then_some(()))
                };
                wait_for("all speakers are alive", DEADLINE, alive).await?;
            }
            scene.returned(lab).await?;
            let returned = Monotonic::now();
            scene
                .prober
                .wait_until_served(returned, SETTLED, DEADLINE)
                .await?;
        }
    }
    scene.ensure_planned(start)
}

async fn drained_node(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let name = lab.node(scene.owner).name().to_owned();
    let start = Monotonic::now();
    lab.cluster()
        .annotate_node(&name, "herald.io/drain", Some("true"))
        .await?;
    scene.moved(lab, start).await?;
    lab.cluster()
        .annotate_node(&name, "herald.io/drain", None)
        .await?;
    scene.returned(lab).await?;
    scene.ensure_planned(start)
}

async fn drained_local(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_local(lab, sniffer, PER_THOUSAND).await?;
    let name = lab.node(scene.owner).name().to_owned();
    let start = Monotonic::now();
    for drain in [Some("true"), None] {
        let begin = Monotonic::now();
        lab.cluster()
            .annotate_node(&name, "herald.io/drain", drain)
            .await?;
        match drain {
            Some(_) => drop(scene.moved(lab, begin).await?),
            None => scene.returned(lab).await?,
        }
        scene.prober.wait_until_served(begin, SETTLED, DEADLINE).await?;
    }
    scene.ensure_planned(start)
}

/// `kubectl drain`: the pod terminates and serves on for a while, as one should (a `preStop` pause).
async fn evicted_local(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_local(lab, sniffer, PER_THOUSAND).await?;
    let start = Monotonic::now();
    lab.terminate_pod("hello", scene.owner).await?;
    scene.moved(lab, start).await?;
    scene.prober.wait_until_served(start, SETTLED, DEADLINE).await?;
    let ended = Monotonic::now();
    lab.end_pod("hello", scene.owner).await?;
    scene.prober.wait_until_served(ended, SETTLED, DEADLINE).await?;
    scene.ensure_planned(start)
}

async fn paused_speaker(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).pause_speaker(true)?;
    scene.moved(lab, fault).await?;
    lab.node(scene.owner).pause_speaker(false)?;
    scene.returned(lab).await?;
    scene.ensure_planned(fault)
}

async fn ipv6(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set(lab, sniffer, IpAddr::is_ipv6, Pace::default()).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    Ok(())
}

async fn api_away(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    lab.set_api_away(true).await?;
    let away = Monotonic::now();
    let history = scene.prober.wait_until_served(away, 100, DEADLINE).await?;
    let outage = history.outage(away).context("no answers")?;
    ensure!(
        outage.losses.is_empty(),
        "requests were lost because the API server went away: {outage:?}"
    );
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    let successor = scene.moved(lab, fault).await?;
    lab.set_api_away(false).await?;
    wait_for("the API server learns what happened", DEADLINE, async || {
        let announcer = lab.cluster().announcer("hello-dual").await?;
        Ok((announcer.as_deref() == Some(lab.node(successor).name())).then_some(()))
    })
    .await
}
