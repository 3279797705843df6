//! Foreign hosts have an address, or claim it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, ensure};
use herald_api::crd::ANNOUNCED;
use herald_l2::wire::arp::{Arp, Operation};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::keepalived::{self, Member};
use herald_lab::plan;
use herald_lab::process::Process;
use herald_lab::sniffer::Sniffer;
use herald_lab::switch::{Host, LINK};
use herald_netio::{Frames, PacketSocket, Traffic};
use herald_netns::{MacAddr, wait_for};
use libtest_mimic::Trial;

use crate::{in_lab, with};
use herald_lab::scene::{STREAK, Scene};
use herald_lab::{DEADLINE, QUICKSTART};

/// The first address of the quickstart's pool.
const TAKEN: Ipv4Addr = Ipv4Addr::new(192, 168, 67, 120);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "an_address_that_a_foreign_host_has_is_not_announced_until_it_is_gone",
            foreign_host,
        ),
        with(
            keepalived::PROGRAM,
            in_lab(
                "an_address_that_keepalived_has_is_not_announced_until_it_stops",
                router,
            ),
        ),
        in_lab("an_owned_address_is_defended_against_a_foreign_host", claimant),
    ]
}

/// Waits for a warning about Service `name` with this reason that names `mac`.
async fn wait_for_warning(lab: &Lab, name: &str, reason: &str, mac: MacAddr) -> anyhow::Result<()> {
    let (about, mac) = (format!("Warning Service/{name} {reason}: "), mac.to_string());
    wait_for("an event names the foreign host", DEADLINE, async || {
        let events = lab.cluster().events("default").await?;
        let is_it = |event: &String| event.starts_with(&about) && event.contains(&mac);
        Ok(events.iter().any(is_it).then_some(()))
    })
    .await
}

/// No node announces Service `hello`, whose address a foreign host has. The other Service is not affected.
async fn expect_conflict(lab: &mut Lab, mac: MacAddr) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    ensure!(addresses == [IpAddr::V4(TAKEN)], "{addresses:?}");
    wait_for_warning(lab, "hello", "AddressConflict", mac).await?;
    let announcer = lab.cluster().announcer("hello").await?;
    ensure!(announcer.is_none(), "{announcer:?} announces it nevertheless");
    wait_for("the Service says so, too", DEADLINE, async || {
        let condition = lab.cluster().condition("hello", ANNOUNCED).await?;
        Ok(condition.filter(|[status, reason, message]| {
            status == "False" && reason == "AddressConflict" && message.contains(&mac.to_string())
        }))
    })
    .await?;
    wait_for("the other Service is announced", DEADLINE, async || {
        lab.cluster().announcer("hello-dual").await
    })
    .await?;
    Ok(())
}

async fn expect_resolution(lab: &Lab) -> anyhow::Result<()> {
    wait_for("the address is announced", DEADLINE, async || {
        lab.cluster().announcer("hello").await
    })
    .await?;
    wait_for("the Service says so, too", DEADLINE, async || {
        let condition = lab.cluster().condition("hello", ANNOUNCED).await?;
        Ok(condition.filter(|[status, ..]| status == "True"))
    })
    .await?;
    wait_for("an event tells that it is over", DEADLINE, async || {
        let events = lab.cluster().events("default").await?;
        let is_it = |event: &String| event.contains(" Service/hello AddressConflictResolved: ");
        Ok(events.iter().any(is_it).then_some(()))
    })
    .await?;
    lab.owner(TAKEN.into(), DEADLINE).await?;
    Ok(())
}

/// A machine that was configured by hand.
async fn foreign_host(lab: &mut Lab) -> anyhow::Result<()> {
    let [addresses, _] = plan::observers();
    let host = lab.switch().attach("foreign", addresses).await?;
    host.links().add_address(LINK, TAKEN.into(), 24).await?;
    expect_conflict(lab, host.mac()).await?;
    host.set_plugged(false).await?;
    expect_resolution(lab).await
}

async fn router(lab: &mut Lab) -> anyhow::Result<()> {
    let [addresses, _] = plan::observers();
    let host = lab.switch().attach("router", addresses).await?;
    let member = Member {
        name: "router",
        priority: 100,
        advert_int: "0.1",
        address: TAKEN,
    };
    let directory = tempfile::tempdir()?;
    let command = member.command(directory.path())?;
    let mut keepalived = Process::start(host.netns(), keepalived::PROGRAM, command, lab.logs()).await?;
    wait_for("keepalived has the address", DEADLINE, async || {
        let mac = lab.resolve(TAKEN.into(), DEADLINE).await?;
        Ok((mac == host.mac()).then_some(()))
    })
    .await?;
    expect_conflict(lab, host.mac()).await?;
    keepalived.stop(DEADLINE).await?;
    expect_resolution(lab).await
}

/// No machine asks for the address here, so that each frame of the owner after the claim is its defence.
async fn claimant(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer: Sniffer = lab.switch().sniff().await?;
    let mut scene = Scene::set_v4(lab, &sniffer).await?;
    sniffer.watch_none();
    let [addresses, _] = plan::observers();
    let host = lab.switch().attach("claimant", addresses).await?;
    let begin = Monotonic::now();
    announce(&host, scene.address).await?;
    let owners = wait_for("the address is defended", DEADLINE, async || {
        let owners = sniffer.sightings().since(begin).owners(scene.address);
        Ok((owners.last() == Some(&scene.mac)).then_some(owners))
    })
    .await?;
    ensure!(owners == [host.mac(), scene.mac], "{owners:?}");
    wait_for_warning(lab, "hello-dual", "AddressChallenged", host.mac()).await?;
    let learnt = lab.learnt_owner(scene.address).await?;
    ensure!(learnt == Some(scene.owner), "the client goes to {learnt:?}");
    let now = Monotonic::now();
    scene.prober.wait_until_served(now, STREAK, DEADLINE).await?;
    Ok(())
}

/// Announces `address` once from `host`, as a machine that got it would (RFC 5227 section 2.3).
async fn announce(host: &Host, address: IpAddr) -> anyhow::Result<()> {
    let IpAddr::V4(address) = address else {
        anyhow::bail!("{address} is not an IPv4 address");
    };
    let mac = host.mac();
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: address,
        target_mac: MacAddr::ZERO,
        target_ip: address,
    };
    let index = host.links().index(LINK).await?;
    let socket = host
        .netns()
        .run(move || PacketSocket::open(index, Traffic::Arp))
        .await?;
    let mut frames = Frames::default();
    frames.push(|frame| anyhow::Ok(((), arp.emit(MacAddr::BROADCAST, mac, frame))))?;
    let mut refused = None;
    socket.send(&frames, |_, error| refused = Some(error));
    refused.map_or(Ok(()), |error| Err(error).context("cannot announce"))
}
