//! Speakers that get too little processor time: no address moves that no other node has taken, and answers go on.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::join_all;
use herald_lab::clock::Monotonic;
use herald_lab::cpu_limit::CpuLimit;
use herald_lab::kubelet::LivenessProbe;
use herald_lab::process::{self, Process};
use herald_lab::sniffer::Sniffer;
use herald_lab::{DEADLINE, Lab, QUICKSTART};
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::{in_lab, soak_length};

/// Answers that show that all is as it should be: those of two seconds.
const STEADY: usize = 20;

/// Services of the test with a CPU limit, beside the quickstart's.
const SERVICES: usize = 40;

/// Probes that ended without an answer: one at least for each address that a speaker takes.
const TAKEN: &str = "herald_layer2_probes_total{result=\"silence\"}";

/// The name of the process beside the speakers that tells how late they get the processor.
const REFERENCE: &str = "reference";

/// A speaker that runs so late is suspected by its peers, and its addresses are probed.
const LATE: Duration = Duration::from_millis(200);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "overload::a_speaker_that_was_paused_keeps_the_addresses_that_no_other_took",
            paused,
        ),
        in_lab(
            "overload::the_threads_that_answer_and_gossip_run_before_the_others",
            async |lab| priorities(lab),
        ),
        limited(in_lab(
            "overload::under_a_cpu_limit_all_addresses_stay_and_are_answered_for",
            cpu_limit,
        )),
    ]
}

/// A test that limits processor time. In CI (`CI` is set) it fails where that is not permitted, elsewhere it shows as ignored.
fn limited(trial: Trial) -> Trial {
    match CpuLimit::new(100) {
        Err(error) if std::env::var_os("CI").is_none() => {
            let name = format!("{} ({error:#}: needs root)", trial.name());
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
        Ok(_) | Err(_) => trial,
    }
}

/// Waits until each address was answered for [`STEADY`] times from now on; returns since when.
async fn wait_until_steady(sniffer: &Sniffer, addresses: &[IpAddr]) -> anyhow::Result<Monotonic> {
    let begin = Monotonic::now();
    wait_for("all addresses are answered for", DEADLINE, async || {
        let heard = sniffer.sightings().since(begin);
        let is_heard = |address: &IpAddr| heard.clone().at(*address).len() >= STEADY;
        Ok(addresses.iter().all(is_heard).then_some(()))
    })
    .await?;
    Ok(begin)
}

/// The other speakers live, but they may not announce.
async fn paused(lab: &mut Lab) -> anyhow::Result<()> {
    let selected = "spec:\n  ipAddressPools:\n  - first-pool\n";
    let to_node_1 = "  nodeSelectors:\n  - matchLabels: {kubernetes.io/hostname: node-1}\n";
    let manifests = QUICKSTART.replace(selected, &format!("{selected}{to_node_1}"));
    ensure!(
        manifests != QUICKSTART,
        "the quickstart has another advertisement"
    );
    lab.apply("node-1.yaml", &manifests).await?;
    let addresses = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    let sniffer = lab.switch().sniff().await?;
    sniffer.watch(&addresses);
    wait_until_steady(&sniffer, &addresses).await?;
    let node = lab.node(0);
    let before = node.metric(TAKEN).await?;
    for pause in [Duration::from_millis(700), Duration::from_secs(6)] {
        node.pause_speaker(true)?;
        tokio::time::sleep(pause).await;
        node.pause_speaker(false)?;
        let resumed = wait_until_steady(&sniffer, &addresses).await?;
        node.ensure_healthy(Duration::from_secs(1)).await?;
        for address in &addresses {
            let owners = sniffer.sightings().since(resumed).owners(*address);
            ensure!(owners == [node.host().mac()], "{address} is at {owners:?}");
        }
        let taken = node.metric(TAKEN).await? - before;
        ensure!(
            taken < 0.5,
            "it withdrew {taken} addresses after a pause of {pause:?}"
        );
    }
    Ok(())
}

/// Returns the names of a process' threads with their nice values (proc(5)).
fn nice_values(process: u32) -> anyhow::Result<Vec<(String, i32)>> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"))?;
    let values = threads.map(|thread| {
        let thread = thread?.path();
        let name = std::fs::read_to_string(thread.join("comm"))?;
        let stat = std::fs::read_to_string(thread.join("stat"))?;
        // The field 19; the name, which is the field 2, may have spaces.
        let (_, behind_name) = stat.rsplit_once(") ").context("no name")?;
        let value = behind_name.split(' ').nth(16).context("no nice value")?;
        Ok((name.trim().to_owned(), value.parse()?))
    });
    values.collect()
}

fn priorities(lab: &Lab) -> anyhow::Result<()> {
    let speaker = lab.node(0).speaker().and_then(|speaker| speaker.id());
    let threads = nice_values(speaker.context("no speaker runs")?)?;
    // The thread that watches their beats has to know how long they wait for the processor. The one that returns free memory has each
    // heap for a moment, also theirs.
    let first = ["wire", "gossip", "health", "trim"];
    let (first, others): (Vec<_>, Vec<_>) = threads
        .iter()
        .partition(|(name, _)| first.contains(&name.as_str()));
    let highest = first
        .iter()
        .map(|(_, nice)| *nice)
        .max()
        .context("no such thread")?;
    ensure!(first.len() == 4, "{threads:?}");
    ensure!(others.iter().all(|(_, nice)| *nice > highest), "{threads:?}");
    Ok(())
}

fn services() -> String {
    let service = |number| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: more-{number}}}\n\
             spec: {{type: LoadBalancer, selector: {{app: hello}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        )
    };
    (0..SERVICES).map(service).collect()
}

/// A process that lives like a speaker with a CPU limit: the same limit, beside the same other process.
struct Reference {
    late: Process,
    _busy: Process,
    _limit: CpuLimit,
}

impl Reference {
    async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let netns = lab.node(0).host().netns();
        let late = process::role(&["late".to_owned()]);
        let late = Process::start(netns, REFERENCE, late, lab.logs()).await?;
        let (limit, busy) = limit(lab, 0, late.id()).await?;
        Ok(Self {
            late,
            _busy: busy,
            _limit: limit,
        })
    }

    /// Returns how late it got the processor at most.
    async fn latest(mut self, lab: &Lab) -> anyhow::Result<Duration> {
        self.late.kill().await?;
        let output = std::fs::read_to_string(lab.logs().join(format!("{REFERENCE}.log")))?;
        let latest = output.lines().last().context("the reference has never run")?;
        Ok(Duration::from_millis(latest.parse()?))
    }
}

/// Limits a process to a tenth of a processor, and starts another one beside it that uses all that it gets.
async fn limit(lab: &Lab, node: usize, process: Option<u32>) -> anyhow::Result<(CpuLimit, Process)> {
    let limit = CpuLimit::new(100)?;
    limit.add(process.context("a process has ended")?)?;
    let busy = process::role(&["exec", "sh", "-c", "while :; do :; done"].map(str::to_owned));
    let busy = Process::start(lab.node(node).host().netns(), "busy", busy, lab.logs()).await?;
    limit.add(busy.id().context("the other process has ended")?)?;
    Ok((limit, busy))
}

/// Each speaker has a tenth of a processor, as a container with `limits: {cpu: 100m}`, and shares it with a process that uses all
/// that it gets.
async fn cpu_limit(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("more.yaml", &services()).await?;
    let mut addresses = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    for number in 0..SERVICES {
        let service = format!("more-{number}");
        addresses.extend(lab.wait_for_addresses(&service, 1, DEADLINE).await?);
    }
    let sniffer = lab.switch().sniff().await?;
    sniffer.watch(&addresses);
    wait_until_steady(&sniffer, &addresses).await?;
    let heard_in = async |length: Duration| {
        let begin = Monotonic::now();
        tokio::time::sleep(length).await;
        anyhow::Ok(sniffer.sightings().since(begin))
    };
    let unlimited = heard_in(soak_length()).await?;
    let mut limits = Vec::new();
    for (index, node) in lab.nodes().iter().enumerate() {
        let speaker = node.speaker().and_then(|speaker| speaker.id());
        limits.push(limit(lab, index, speaker).await?);
    }
    let reference = Reference::start(lab).await?;
    let probe = LivenessProbe::of_speaker()?;
    let probed = lab.nodes().iter().map(|node| probe.restart(node, soak_length()));
    let (limited, restarts) = tokio::join!(heard_in(soak_length()), join_all(probed));
    let (limited, latest) = (limited?, reference.latest(lab).await?);
    ensure!(
        restarts.iter().all(Option::is_none),
        "a kubelet restarts a speaker after {restarts:?}"
    );
    for (node, (_, busy)) in limits.iter_mut().enumerate() {
        busy.kill().await?;
        lab.node_mut(node).kill_speaker().await?;
    }
    ensure!(
        2 * limited.len() >= unlimited.len(),
        "{} answers with a limit, {} without",
        limited.len(),
        unlimited.len()
    );
    let (moved, silent) = addresses
        .iter()
        .fold((0, Vec::new()), |(moved, mut silent), address| {
            let owners = limited.owners(*address).len();
            silent.extend((owners == 0).then_some(*address));
            (moved + usize::from(owners > 1), silent)
        });
    ensure!(silent.is_empty(), "silent: {silent:?}");
    // Where even a process that only sleeps gets no processor for so long, a speaker looks like one that failed.
    let most = if latest < LATE { 0 } else { addresses.len() / 4 };
    ensure!(
        moved <= most,
        "{moved} of {} addresses moved without need; the reference was late by {latest:?}",
        addresses.len()
    );
    Ok(())
}
