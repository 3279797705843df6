//! A kubelet restarts a speaker of which a thread hangs, and none that only did not run.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::kubelet::LivenessProbe;
use herald_lab::node::Node;
use herald_lab::process::{self, Process};
use herald_lab::scene::Scene;
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use libtest_mimic::Trial;
use tokio::time::{Instant, sleep};

use crate::{in_lab_of, trial};

/// How long a speaker with a thread that hangs lasts at most.
const RESTART: Duration = Duration::from_secs(40);
/// How long a speaker stands still that is not restarted.
const STOP: Duration = Duration::from_secs(30);
/// Longer than any restart takes, so that a failure is reported instead of waited for without end.
const LONGEST: Duration = Duration::from_secs(180);
/// A sleep of [`note_lost`], about as long as those of the speakers' watch of their threads, and how late it may end.
const SLEEP: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_millis(20);
/// Answers that a machine has to give in a row.
const STEADY: usize = 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "health::a_thread_that_hangs_costs_a_restart_and_a_stop_of_thirty_seconds_does_not",
            hanging_threads,
        ),
        in_lab_of(
            2,
            "health::of_two_nodes_one_answers_for_the_other_whose_wire_thread_hangs",
            hanging_owner,
        ),
    ]
}

/// On each node something else happens to the speaker, at the same time.
async fn hanging_threads() -> anyhow::Result<()> {
    let lab = Lab::builder().nodes(5).start().await?;
    let probe = LivenessProbe::of_speaker()?;
    let limit = Duration::from_secs(1);
    for node in lab.nodes() {
        wait_for("the speaker is healthy", DEADLINE, async || {
            Ok(Some(node.ensure_healthy(limit).await?))
        })
        .await?;
    }
    let [wire, gossip, background, driver, stopped] = [0, 1, 2, 3, 4].map(|index| lab.node(index));
    let _held = [
        hold(&lab, wire, Some("wire")).await?,
        hold(&lab, gossip, Some("gossip")).await?,
        hold(&lab, background, Some("tokio-rt-worker")).await?,
        // The task of the driver runs on the main thread.
        hold(&lab, driver, None).await?,
    ];
    stopped.pause_speaker(true)?;
    let go_on = async {
        sleep(STOP).await;
        stopped.pause_speaker(false)
    };
    let lost = Cell::new(Duration::ZERO);
    let restarts = async {
        tokio::join!(
            probe.restart(wire, LONGEST),
            probe.restart(gossip, LONGEST),
            probe.restart(background, LONGEST),
            probe.restart(driver, LONGEST),
        )
    };
    let restarts = async {
        tokio::select! {
            restarts = restarts => restarts,
            never = note_lost(&lost) => match never {},
        }
    };
    let (of_hanging, of_stopped, resumed) = tokio::join!(restarts, probe.restart(stopped, 2 * STOP), go_on);
    resumed?;
    let (wire, gossip, background, driver) = of_hanging;
    let lost = lost.get();
    for (name, after) in [
        ("wire", wire),
        ("gossip", gossip),
        ("background", background),
        ("driver", driver),
    ] {
        let after = after.with_context(|| format!("no restart because of {name}"))?;
        // The time in which nothing here ran on time does not count for the speakers either.
        ensure!(
            after <= RESTART + lost,
            "{name}: a restart after {after:?}, {lost:?} lost"
        );
    }
    ensure!(
        of_stopped.is_none(),
        "the speaker that stood still: {of_stopped:?}"
    );
    stopped.ensure_healthy(limit).await
}

/// The speaker that hangs is alive for gossip, and there is no third node to confirm that it does not answer.
async fn hanging_owner(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer = lab.switch().sniff().await?;
    let scene = Scene::set_v4(lab, &sniffer).await?;
    let backup = lab.node(1 - scene.owner);
    wait_for("the owner has answered its backup", DEADLINE, async || {
        let answered = "herald_layer2_probes_total{result=\"answered\"}";
        Ok((backup.metric(answered).await? > 0.0).then_some(()))
    })
    .await?;
    let held = hold(lab, lab.node(scene.owner), Some("wire")).await?;
    wait_for("the backup answers", DEADLINE, async || {
        let owner = lab.learnt_owner(scene.address).await?;
        Ok((owner == Some(1 - scene.owner)).then_some(()))
    })
    .await?;
    scene.ensure_steady(&sniffer, backup.host().mac(), STEADY).await?;
    drop(held);
    // The owner goes on with what it had not received yet.
    let settled = scene.settled(&sniffer, STEADY).await?;
    scene.ensure_steady(&sniffer, settled, STEADY).await
}

/// Makes a thread of the speaker of `node` hang, the main thread if it has no name, until the process that is returned ends.
async fn hold(lab: &Lab, node: &Node, name: Option<&str>) -> anyhow::Result<Process> {
    let process = node.speaker().and_then(Process::id).context("no speaker runs")?;
    let thread = match name {
        None => process,
        Some(name) => thread(process, name)?,
    };
    let role = process::role(&["hold".to_owned(), format!("--thread={thread}")]);
    let held = Process::start(node.host().netns(), "hold", role, lab.logs()).await?;
    wait_for("the thread hangs", DEADLINE, async || {
        let status = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/status"))?;
        Ok(status.contains("State:\tt").then_some(()))
    })
    .await?;
    Ok(held)
}

/// Returns the id of the thread of a process that has this name.
fn thread(process: u32, name: &str) -> anyhow::Result<u32> {
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        if std::fs::read_to_string(thread.path().join("comm"))?.trim() == name {
            let id = thread.file_name();
            return Ok(id.to_str().context("no number")?.parse()?);
        }
    }
    anyhow::bail!("no thread {name}")
}

/// Adds up the sleeps that end late, as the speakers' watch of their threads leaves them out.
async fn note_lost(lost: &Cell<Duration>) -> Infallible {
    loop {
        let begin = Instant::now();
        sleep(SLEEP).await;
        if begin.elapsed() > SLEEP + LATE {
            lost.set(lost.get() + begin.elapsed() - SLEEP);
        }
    }
}
