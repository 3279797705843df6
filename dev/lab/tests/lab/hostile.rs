//! A hostile host on the segment: what it sends delays a take-over by a second at most, and moves nothing that works.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::hostile::HostileHost;
use herald_lab::scene::Scene;
use herald_lab::sniffer::Sniffer;
use herald_lab::soak::{Disturbance, disturb};
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt;

use crate::{in_lab, soak_length, under_watch};

/// What an attack may add to a failover. The test compares with a failover without attack in the same lab, because a loaded
/// machine slows both.
const ADDED: Duration = Duration::from_secs(1);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
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

/// Cuts the owner's link; returns how long the client was not served. The owner stays away.
async fn fail_over(lab: &Lab, scene: &mut Scene) -> anyhow::Result<Duration> {
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    let outage = scene.prober.history().outage(fault).context("no outage")?;
    Ok(outage.gap)
}

/// Five hundred connections that never finish a request are open on the ports of each speaker.
async fn http_connections(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let calm = fail_over(lab, &mut scene).await?;
    lab.node(scene.owner).plug_in().await?;
    scene.returned(lab).await?;
    let mut held = Vec::new();
    for node in lab.nodes() {
        let port = SocketAddr::new(node.host().addresses()[0], 9120);
        for _ in 0..500 {
            // The speaker may refuse one: that is its defence.
            let Ok(mut stream) = lab.client().connect(port).await else {
                continue;
            };
            if stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await.is_ok() {
                held.push(stream);
            }
        }
    }
    for node in lab.nodes() {
        node.ensure_healthy().await?;
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
