//! The owner of an address fails or leaves; a client is served again, and its cache is never flushed by hand.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use herald_api::crd::ANNOUNCED;
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::prober::{Pace, Prober};
use herald_lab::wait::eventually;
use libtest_mimic::Trial;

use crate::{PATIENCE, QUICKSTART, in_lab};

/// Requests answered in a row that count as "served".
const STREAK: usize = 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab("a_cut_link_moves_the_address", cut_link),
        in_lab("a_killed_speaker_loses_the_address", killed_speaker),
        in_lab("a_stopped_speaker_hands_the_address_over", stopped_speaker),
        in_lab("a_drained_node_hands_the_address_over", drained_node),
        in_lab("a_paused_speaker_loses_the_address", paused_speaker),
        in_lab("an_ipv6_address_moves_as_well", ipv6),
        in_lab("an_address_moves_while_the_api_server_is_away", api_away),
        in_lab(
            "an_address_that_a_stranger_has_is_not_announced_until_it_is_gone",
            stranger,
        ),
    ]
}

/// A Service that a client is being served by.
struct Scene {
    address: IpAddr,
    owner: usize,
    prober: Prober,
}

/// The pods are on the other nodes: an endpoint that is dead although the API server says it is ready would be kube-proxy's
/// concern.
async fn scene(lab: &mut Lab, pick: fn(&IpAddr) -> bool) -> anyhow::Result<Scene> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello-dual", 2, PATIENCE).await?;
    let address = addresses
        .into_iter()
        .find(pick)
        .context("no address of the family")?;
    let owner = settled_owner(lab, address).await?;
    lab.end_pod("hello", owner).await?;
    let gone = format!("hello-{}", lab.node(owner).name());
    let mut others = 0;
    eventually("the other pods answer", PATIENCE, async || {
        let answer = lab.client().ask(SocketAddr::new(address, 80)).await;
        others = if answer?.pod == gone { 0 } else { others + 1 };
        Ok((others == STREAK).then_some(()))
    })
    .await?;
    let mut prober = lab.probe(address, 80, Pace::default(), PATIENCE).await?;
    prober
        .wait_until_served(Monotonic::from_nanos(0), STREAK, PATIENCE)
        .await?;
    Ok(Scene {
        address,
        owner,
        prober,
    })
}

/// The owner, once its speaker has said so in the API, too: then nothing is moving any more.
async fn settled_owner(lab: &Lab, address: IpAddr) -> anyhow::Result<usize> {
    eventually("wire and status agree on the owner", PATIENCE, async || {
        let owner = lab.owner(address, PATIENCE).await?;
        let announcer = lab.cluster().announcer("hello-dual").await?;
        Ok((announcer.as_deref() == Some(lab.node(owner).name())).then_some(owner))
    })
    .await
}

impl Scene {
    /// Waits until the client's kernel has learnt another owner and the client is served.
    async fn moved(&mut self, lab: &Lab, since: Monotonic) -> anyhow::Result<usize> {
        let heir = eventually("the client learns a new owner", PATIENCE, async || {
            Ok(lab
                .learnt_owner(self.address)
                .await?
                .filter(|&node| node != self.owner))
        })
        .await?;
        self.prober.wait_until_served(since, STREAK, PATIENCE).await?;
        Ok(heir)
    }
}

async fn cut_link(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv4).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;

    lab.node(scene.owner).plug_in().await?;
    eventually(
        "the address returns to the node that ranks first",
        PATIENCE,
        async || Ok((lab.learnt_owner(scene.address).await? == Some(scene.owner)).then_some(())),
    )
    .await?;
    scene
        .prober
        .wait_until_served(Monotonic::now(), STREAK, PATIENCE)
        .await?;
    Ok(())
}

async fn killed_speaker(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv4).await?;
    let fault = Monotonic::now();
    lab.node_mut(scene.owner).kill_speaker().await?;
    scene.moved(lab, fault).await?;
    Ok(())
}

async fn stopped_speaker(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv4).await?;
    let fault = Monotonic::now();
    let status = lab.node_mut(scene.owner).stop_speaker().await?;
    ensure!(status.success(), "the speaker ended with {status}");
    scene.moved(lab, fault).await?;
    ensure_planned(&scene, fault)
}

/// Nobody may have gone without an answer since `start`.
fn ensure_planned(scene: &Scene, start: Monotonic) -> anyhow::Result<()> {
    let outage = scene.prober.history().outage(start).context("no outage")?;
    let unserved: Vec<&String> = outage.unserved().collect();
    ensure!(
        unserved.is_empty(),
        "during a planned stop nobody answered: {unserved:?}"
    );
    Ok(())
}

async fn drained_node(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv4).await?;
    let name = lab.node(scene.owner).name().to_owned();
    let start = Monotonic::now();
    lab.cluster()
        .annotate_node(&name, "herald.io/drain", Some("true"))
        .await?;
    scene.moved(lab, start).await?;
    lab.cluster()
        .annotate_node(&name, "herald.io/drain", None)
        .await?;
    eventually(
        "the address returns to the node that ranks first",
        PATIENCE,
        async || Ok((lab.learnt_owner(scene.address).await? == Some(scene.owner)).then_some(())),
    )
    .await?;
    scene
        .prober
        .wait_until_served(Monotonic::now(), STREAK, PATIENCE)
        .await?;
    ensure_planned(&scene, start)
}

async fn paused_speaker(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv4).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).pause_speaker(true)?;
    scene.moved(lab, fault).await?;
    lab.node(scene.owner).pause_speaker(false)
}

async fn ipv6(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv6).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    Ok(())
}

async fn api_away(lab: &mut Lab) -> anyhow::Result<()> {
    let mut scene = scene(lab, IpAddr::is_ipv4).await?;
    lab.set_api_away(true).await?;
    let away = Monotonic::now();
    let history = scene.prober.wait_until_served(away, 100, PATIENCE).await?;
    let outage = history.outage(away).context("no answers")?;
    ensure!(
        outage.losses.is_empty(),
        "requests were lost because the API server went away: {outage:?}"
    );
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    let heir = scene.moved(lab, fault).await?;
    lab.set_api_away(false).await?;
    eventually("the API server learns what happened", PATIENCE, async || {
        let announcer = lab.cluster().announcer("hello-dual").await?;
        Ok((announcer.as_deref() == Some(lab.node(heir).name())).then_some(()))
    })
    .await
}

/// The client takes the address for itself, as a machine would that somebody has configured by hand.
async fn stranger(lab: &mut Lab) -> anyhow::Result<()> {
    let address: IpAddr = "192.168.67.120".parse()?;
    lab.client().links().add_address("eth0", address, 24).await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello", 1, PATIENCE).await?;
    ensure!(addresses == [address], "{addresses:?}");
    let mac = lab.client().mac().to_string();
    eventually("an event names the stranger", PATIENCE, async || {
        let events = lab.cluster().events("default").await?;
        let about = |event: &String| {
            event.starts_with("Warning Service/hello ")
                && event.contains("another machine")
                && event.contains(&mac)
        };
        Ok(events.iter().any(about).then_some(()))
    })
    .await?;
    let announcer = lab.cluster().announcer("hello").await?;
    ensure!(announcer.is_none(), "{announcer:?} announces it all the same");
    eventually("the Service says so, too", PATIENCE, async || {
        let condition = lab.cluster().condition("hello", ANNOUNCED).await?;
        Ok(condition.filter(|[status, reason, message]| {
            status == "False" && reason == "AddressConflict" && message.contains(&mac)
        }))
    })
    .await?;
    // The other Service has nothing to do with it.
    eventually("the other Service is announced", PATIENCE, async || {
        lab.cluster().announcer("hello-dual").await
    })
    .await?;
    lab.client().set_plugged(false).await?;
    eventually("the address is announced", PATIENCE, async || {
        lab.cluster().announcer("hello").await
    })
    .await?;
    eventually("the Service says so, too", PATIENCE, async || {
        let condition = lab.cluster().condition("hello", ANNOUNCED).await?;
        Ok(condition.filter(|[status, ..]| status == "True"))
    })
    .await?;
    Ok(())
}
