//! `herald-lab soak`: disturbances that go on for long, while one address has to stay where it is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::clock::Monotonic;
use crate::hostile::{self, HostileHost};
use crate::interrupt::Interrupt;
use crate::scene::Scene;
use crate::sniffer::{Sightings, Sniffer};
use crate::{DEADLINE, Lab};

/// The longest time for which the owner of an address may not be heard: it is asked ten times a second.
const SILENCE: Duration = Duration::from_secs(1);

/// Arguments of a soak run.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// What disturbs the cluster.
    #[arg(value_enum)]
    disturbance: Disturbance,
    /// For how long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// What disturbs the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Disturbance {
    /// Five frames of a hundred are lost between any two machines, and again on the way back.
    LostFrames,
    /// A host announces the address once a second with the MAC address of a peer that lives.
    RareClaims,
    /// The same, a hundred times a second.
    FrequentClaims,
}

/// What was seen.
#[derive(Debug)]
pub struct Outcome {
    /// How often the owner was heard.
    pub heard: usize,
    /// The longest time between two of them.
    pub silence: Duration,
    /// How often a speaker suspected another one.
    pub suspicions: f64,
    /// How many requests of the client were answered.
    pub answered: usize,
    /// Why the others were not, one reason for each.
    pub losses: Vec<String>,
    /// How many requests were under way at a time, at most.
    pub most_open: usize,
    /// How many announcements the owner sent; a defence is two.
    pub announcements: f64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            heard,
            silence,
            suspicions,
            answered,
            losses,
            most_open,
            announcements,
        } = self;
        write!(
            f,
            "the address stayed: heard {heard} times, at most {} ms apart; {answered} requests answered, at most {most_open} at a \
             time, {} lost; {announcements} announcements, {suspicions} suspicions",
            silence.as_millis(),
            losses.len()
        )?;
        let reasons: BTreeSet<_> = losses.iter().collect();
        for reason in reasons {
            let count = losses.iter().filter(|loss| *loss == reason).count();
            write!(f, "\n{count} requests lost: {reason}")?;
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// When the address moved or its owner was silent, and when the lab cannot be made.
pub async fn run(args: SoakArgs, mut interrupt: Interrupt) -> anyhow::Result<()> {
    let mut lab = Lab::builder().start().await?;
    lab.run_app("hello", 8080, &[0, 1, 2]).await?;
    let length = Duration::from_secs(args.seconds);
    let outcome = tokio::select! {
        outcome = disturb(&mut lab, args.disturbance, length) => outcome,
        () = interrupt.requested() => bail!("interrupted"),
    };
    match outcome {
        Ok(outcome) => anstream::println!("{outcome}"),
        Err(error) => bail!("{error:#}\n{}", lab.report().await),
    }
    Ok(())
}

/// Disturbs a lab with pods `hello` for `length`.
///
/// # Errors
/// When the address moved, or its owner was silent for more than a second.
pub async fn disturb(lab: &mut Lab, disturbance: Disturbance, length: Duration) -> anyhow::Result<Outcome> {
    let sniffer = lab.switch().sniff().await?;
    let mut scene = Scene::set_v4(lab, &sniffer).await?;
    match disturbance {
        Disturbance::LostFrames => {
            let switch = lab.switch().netns();
            switch
                .nft("table bridge soak { chain loss { type filter hook forward priority 0; numgen random mod 100 < 5 counter drop; }; }")
                .await?;
            let outcome = observe(lab, &sniffer, &mut scene, None, length).await;
            let rules = switch.output("nft", &["list", "ruleset"]).await?;
            let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
            ensure!(!rules.contains("packets 0 "), "no frame was lost: {rules}");
            outcome
        }
        Disturbance::RareClaims => claims(lab, &sniffer, &mut scene, Duration::from_secs(1), length).await,
        Disturbance::FrequentClaims => {
            let outcome = claims(lab, &sniffer, &mut scene, Duration::from_millis(10), length).await?;
            // On a busy machine the claims pause, and the owner contradicts the last one.
            ensure!(
                outcome.announcements <= 2.0 * (1.0 + length.as_secs_f64()),
                "the owner contradicts a storm of claims: {outcome}"
            );
            Ok(outcome)
        }
    }
}

async fn claims(
    lab: &Lab,
    sniffer: &Sniffer,
    scene: &mut Scene,
    interval: Duration,
    length: Duration,
) -> anyhow::Result<Outcome> {
    let other = (0..lab.nodes().len()).find(|index| *index != scene.owner);
    let peer = lab.node(other.context("no other node")?).host().mac();
    let IpAddr::V4(target) = scene.address else {
        bail!("{} is not an IPv4 address", scene.address);
    };
    let host = HostileHost::attach(lab.switch()).await?;
    let attacker = host
        .send_every(interval, move |_| hostile::claim(peer, target))
        .await?;
    let outcome = observe(lab, sniffer, scene, Some(peer), length).await?;
    ensure!(attacker.sent() > 0, "the host did not attack");
    // The first claim, and each announcement of the owner with the claim that follows it, lead the client to another machine,
    // which does not know the connections that are open.
    let changes = outcome.announcements + 1.0;
    ensure!(
        outcome.losses.len() as f64 <= changes * outcome.most_open as f64,
        "more requests are lost than were under way at a change: {outcome}"
    );
    Ok(outcome)
}

/// Listens for `length`; claims with the MAC address `forged` are the attacker's.
async fn observe(
    lab: &Lab,
    sniffer: &Sniffer,
    scene: &mut Scene,
    forged: Option<herald_netns::MacAddr>,
    length: Duration,
) -> anyhow::Result<Outcome> {
    let announced = format!("metallb_layer2_gratuitous_sent{{ip=\"{}\"}}", scene.address);
    let announced_before = lab.node(scene.owner).metric(&announced).await?;
    let begin = Monotonic::now();
    let history = scene
        .prober
        .wait_for(length + DEADLINE, |_| Monotonic::now().since(begin) >= length);
    let history = history.await?;
    let heard = sniffer.sightings().since(begin).at(scene.address);
    let heard = forged.into_iter().fold(heard, Sightings::without);
    let macs: BTreeSet<_> = heard.owners(scene.address).into_iter().collect();
    ensure!(
        macs == BTreeSet::from([scene.mac]),
        "the address was at {macs:?}, not only at {}",
        scene.mac
    );
    let silence = heard.longest_silence(begin, Monotonic::now());
    ensure!(silence <= SILENCE, "the owner was not heard for {silence:?}");
    let mut suspicions = 0.0;
    for node in lab.nodes() {
        suspicions += node.metric("herald_gossip_suspicions_total").await?;
    }
    let asked = || {
        history
            .outcomes()
            .iter()
            .filter(|outcome| outcome.started > begin)
    };
    let losses: Vec<String> = asked()
        .filter_map(|outcome| outcome.answer.clone().err())
        .collect();
    Ok(Outcome {
        heard: heard.len(),
        silence,
        suspicions,
        answered: asked().count() - losses.len(),
        losses,
        most_open: history.most_open(),
        announcements: lab.node(scene.owner).metric(&announced).await? - announced_before,
    })
}
