//! A hostile host on the segment: what it sends delays a take-over by a second at most, and moves nothing that works.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::hostile::{HostileHost, claim, probe};
use herald_lab::process::Process;
use herald_lab::scene::Scene;
use herald_lab::sniffer::Sniffer;
use herald_lab::soak::{Disturbance, disturb};
use herald_lab::{DEADLINE, Lab};
use herald_netns::{MacAddr, wait_for};
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt;

use crate::{in_lab, soak_length, under_watch};

/// What an attack may add to a failover. The test compares with a failover without attack in the same lab, because a loaded
/// machine slows both. The attack lasts until the address is taken over.
const ADDED: Duration = Duration::from_secs(1);
/// How long the answer of `/healthz` may take.
const ANSWER: Duration = Duration::from_secs(1);
/// The MAC address of a host that does not exist.
const MADE_UP: MacAddr = MacAddr([0x02, 0xaa, 0, 0, 0, 1]);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        under_watch(
            "hostile::probes_of_a_foreign_host_do_not_stall_a_takeover",
            async |lab, sniffer| takeover_under(lab, sniffer, Attack::Probes).await,
        ),
        under_watch(
            "hostile::answers_of_a_foreign_host_do_not_stall_a_takeover",
            async |lab, sniffer| takeover_under(lab, sniffer, Attack::Answers).await,
        ),
        under_watch(
            "hostile::answers_from_changing_addresses_do_not_stall_a_takeover",
            async |lab, sniffer| takeover_under(lab, sniffer, Attack::ChangingAnswers).await,
        ),
        in_lab(
            "hostile::the_mac_address_of_a_dead_node_does_not_stop_its_successor",
            dead_node,
        ),
        in_lab(
            "hostile::rare_claims_with_the_mac_address_of_a_living_peer_move_nothing",
            async |lab| {
                disturb(lab, Disturbance::RareClaims, soak_length())
                    .await
                    .map(drop)
            },
        ),
        in_lab(
            "hostile::frequent_claims_with_the_mac_address_of_a_living_peer_move_nothing",
            async |lab| {
                disturb(lab, Disturbance::FrequentClaims, soak_length())
                    .await
                    .map(drop)
            },
        ),
        under_watch(
            "hostile::idle_http_connections_cost_no_failover",
            http_connections,
        ),
        in_lab("hostile::a_flood_of_datagrams_moves_nothing", datagrams),
    ]
}

/// What a hostile host sends while the owner of an address fails.
#[derive(Debug, Clone, Copy)]
enum Attack {
    /// An ARP probe (RFC 5227 section 2.1.1) every 40 ms.
    Probes,
    /// An answer to each probe, always from [`MADE_UP`].
    Answers,
    /// An answer to each probe, each from another MAC address.
    ChangingAnswers,
}

/// The owner fails twice, first without the attack and then under it.
async fn takeover_under(lab: &mut Lab, sniffer: &Sniffer, attack: Attack) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let calm = fail_over(lab, &mut scene).await?;
    lab.node(scene.owner).plug_in().await?;
    scene.returned(lab).await?;

    let host = HostileHost::attach(lab.switch()).await?;
    let target = v4(scene.address)?;
    let attacker = match attack {
        Attack::Probes => {
            let interval = Duration::from_millis(40);
            host.send_every(interval, move |_| probe(MADE_UP, target)).await?
        }
        Attack::Answers => host.answer(target, |_| MADE_UP).await?,
        Attack::ChangingAnswers => {
            let mac = |count: u64| {
                let [.., high, low] = count.to_be_bytes();
                MacAddr([0x02, 0xbb, 0, 0, high, low])
            };
            host.answer(target, mac).await?
        }
    };
    let attacked = fail_over(lab, &mut scene).await?;
    ensure!(attacker.sent() > 0, "the host did not attack");
    drop(attacker);
    ensure!(
        attacked <= 2 * calm + ADDED,
        "an outage of {attacked:?} under {attack:?}, of {calm:?} without"
    );
    Ok(())
}

/// Cuts the owner's link; returns how long the client was not served. The owner stays away.
async fn fail_over(lab: &Lab, scene: &mut Scene) -> anyhow::Result<Duration> {
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    let outage = scene.prober.history().outage(fault).context("no outage")?;
    Ok(outage.gap)
}

/// A host shows the MAC address of the node that has died: it claims the address, and answers the probes of the successor.
async fn dead_node(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer = lab.switch().sniff().await?;
    let mut scene = Scene::set_v4(lab, &sniffer).await?;
    let calm = fail_over(lab, &mut scene).await?;
    // The peers have to take the node for down: before, the host could be the node.
    let alive = lab.nodes().iter().enumerate();
    for (_, node) in alive.filter(|(index, _)| *index != scene.owner) {
        wait_for("the owner is down by gossip", DEADLINE, async || {
            let down = node.metric("herald_gossip_members{state=\"down\"}").await?;
            Ok((down == 1.0).then_some(()))
        })
        .await?;
    }
    let host = HostileHost::attach(lab.switch()).await?;
    let (target, mac) = (v4(scene.address)?, scene.mac);
    let begin = Monotonic::now();
    let claims = host.send_every(Duration::from_millis(200), move |_| claim(mac, target));
    let claims = claims.await?;
    let answers = host.answer(target, move |_| mac).await?;
    let asked = scene.prober.wait_for(DEADLINE, |history| {
        let asked = history.outcomes().iter();
        asked.filter(|outcome| outcome.started > begin).count() >= 600
    });
    asked.await?;
    let end = Monotonic::now();
    ensure!(claims.sent() > 0, "the host did not attack");
    drop((claims, answers));
    // The host answers clients, too, so the client's kernel may go to the host. What counts is that the successor goes on.
    let successor = sniffer.sightings().since(begin).at(scene.address).without(mac);
    let silence = successor.longest_silence(begin, end);
    let owner = successor.owners(scene.address).last().copied();
    let owner = owner
        .and_then(|mac| lab.node_with(mac))
        .context("it is no node")?;
    let yields = lab
        .node(owner)
        .metric("herald_wire_reports_total{reason=\"AddressYielded\"}");
    let yields = yields.await.unwrap_or_default();
    ensure!(
        silence <= 2 * calm + ADDED && yields <= 1.0,
        "the successor yielded {yields} times and was silent for {silence:?}"
    );
    Ok(())
}

/// Five hundred connections that never finish a request are open on the ports of each speaker. They cost it less memory than
/// this.
const MEMORY_OF_CONNECTIONS: u64 = 10 << 20;

/// See [`MEMORY_OF_CONNECTIONS`]; nor do they make a failover longer, or keep other clients from health and metrics.
async fn http_connections(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let calm = fail_over(lab, &mut scene).await?;
    lab.node(scene.owner).plug_in().await?;
    scene.returned(lab).await?;
    let resident = |lab: &Lab| -> anyhow::Result<Vec<u64>> {
        let speakers = lab.nodes().iter().filter_map(|node| node.speaker());
        speakers.map(Process::resident_memory).collect()
    };
    let before = resident(lab)?;
    let mut held = Vec::new();
    for node in lab.nodes() {
        let port = SocketAddr::new(node.host().addresses()[0], 9120);
        for _ in 0..500 {
            // The speaker may refuse one: that is its defence.
            let Ok(mut stream) = lab.client().connect(port).await else {
                continue;
            };
            let header = [&b"GET /metrics HTTP/1.1\r\nx: "[..], &[b'x'; 15 * 1024]].concat();
            if stream.write_all(&header).await.is_ok() {
                held.push(stream);
            }
        }
    }
    for node in lab.nodes() {
        node.ensure_healthy(ANSWER).await?;
        node.metric("herald_gossip_blocked")
            .await
            .context("no scrape under attack")?;
    }
    for (before, after) in before.into_iter().zip(resident(lab)?) {
        ensure!(
            after <= before + MEMORY_OF_CONNECTIONS,
            "{before} bytes before the attack, {after} under it"
        );
    }
    let attacked = fail_over(lab, &mut scene).await?;
    ensure!(
        attacked <= 2 * calm + ADDED,
        "an outage of {attacked:?} under {} connections, of {calm:?} without",
        held.len()
    );
    Ok(())
}

/// Datagrams that no speaker sent arrive at each gossip port as fast as a thread can send them.
async fn datagrams(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer = lab.switch().sniff().await?;
    let scene = Scene::set_v4(lab, &sniffer).await?;
    let host = HostileHost::attach(lab.switch()).await?;
    let targets: Vec<SocketAddr> = lab
        .nodes()
        .iter()
        .map(|node| SocketAddr::new(node.host().addresses()[0], 7946))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&stop);
    let flood = host.host.netns().run(move || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        anyhow::Ok(std::thread::spawn(move || {
            let mut sent = 0_u64;
            let mut datagram = [0_u8; 1200];
            while !is_over.load(Ordering::Relaxed) {
                for target in &targets {
                    sent += 1;
                    datagram[..8].copy_from_slice(&sent.to_be_bytes());
                    // A full socket buffer is no failure of the attack.
                    let _ = socket.send_to(&datagram[..200 + (sent % 1000) as usize], target);
                }
                if sent.is_multiple_of(30) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            sent
        }))
    });
    let flood = flood.await?;
    let begin = Monotonic::now();
    let steady = scene.ensure_steady(&sniffer, scene.mac, 40).await;
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?;
    steady?;
    ensure!(sent > 1000, "only {sent} datagrams");
    let owners = sniffer.sightings().since(begin).owners(scene.address);
    ensure!(owners == [scene.mac], "it moved: {owners:?}");
    Ok(())
}

fn v4(address: IpAddr) -> anyhow::Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => anyhow::bail!("{address} is not an IPv4 address"),
    }
}
