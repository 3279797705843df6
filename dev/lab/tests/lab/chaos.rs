//! Gossip and wire fail independently: every address keeps one owner, and nothing moves without need.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use herald_api::ConfigurationState;
use herald_core::announce::layer2::takeover::{DOWN_PEER_GRACE, REPLY_LIMIT};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::objects::NAMESPACE;
use herald_lab::plan;
use herald_lab::sniffer::Sniffer;
use herald_lab::soak::{Disturbance, disturb};
use herald_lab::switch::LINK;
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::{in_lab, soak_length, under_watch, with};
use herald_lab::DEADLINE;
use herald_lab::scene::Scene;

/// Answers in a row that show that nothing moves: those of two seconds.
const STEADY: usize = 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        with(
            "nft",
            under_watch("an_address_has_one_owner_while_gossip_is_blocked", gossip_blocked),
        ),
        with(
            "nft",
            under_watch("speakers_that_start_without_gossip_know_each_other", unintroduced),
        ),
        under_watch("a_speaker_with_another_key_disturbs_no_other", another_key),
        in_lab("a_rotation_of_the_gossip_key_moves_nothing", rotated_key),
        in_lab(
            "a_proxy_that_answers_for_the_dead_delays_a_takeover_by_a_bounded_time",
            proxy,
        ),
        with(
            "nft",
            in_lab("lost_frames_move_nothing", async |lab| {
                disturb(lab, Disturbance::LostFrames, soak_length())
                    .await
                    .map(drop)
            }),
        ),
        under_watch("a_divided_segment_heals_to_one_owner", divided),
        with(
            "nft",
            under_watch(
                "a_backup_acts_for_an_owner_that_does_not_answer",
                unresponsive_owner,
            ),
        ),
    ]
}

/// Blocks gossip on every node or unblocks it, and waits until every speaker has noticed.
async fn set_gossip_blocked(lab: &Lab, blocked: bool) -> anyhow::Result<()> {
    let command = if blocked {
        "table inet chaos { chain gossip { type filter hook input priority 0; udp dport 7946 drop; }; }"
    } else {
        "delete table inet chaos"
    };
    for node in lab.nodes() {
        node.host().netns().nft(command).await?;
    }
    let down = if blocked { lab.nodes().len() - 1 } else { 0 };
    for node in lab.nodes() {
        wait_for_members(node, "down", down).await?;
    }
    Ok(())
}

async fn wait_for_members(node: &herald_lab::node::Node, state: &str, count: usize) -> anyhow::Result<()> {
    let series = format!("herald_gossip_members{{state=\"{state}\"}}");
    let what = format!("the speaker of {} sees {count} of {state}", node.name());
    wait_for(&what, DEADLINE, async || {
        #[expect(clippy::cast_precision_loss, reason = "three nodes")]
        let expected = count as f64;
        let members = node.metric(&series).await?;
        Ok(((members - expected).abs() < 0.5).then_some(()))
    })
    .await
}

async fn gossip_blocked(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let begin = Monotonic::now();
    set_gossip_blocked(lab, true).await?;
    scene.ensure_steady(sniffer, scene.mac, STEADY).await?;
    set_gossip_blocked(lab, false).await?;
    scene.ensure_steady(sniffer, scene.mac, STEADY).await?;
    let owners = sniffer.sightings().since(begin).owners(scene.address);
    ensure!(owners == [scene.mac], "it moved without need: {owners:?}");

    set_gossip_blocked(lab, true).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    // No message tells the first owner that it was replaced: it probes again, or its announcement preempts the acting owner.
    lab.node(scene.owner).plug_in().await?;
    scene.settled(sniffer, STEADY).await?;
    set_gossip_blocked(lab, false).await?;
    scene.returned(lab).await
}

/// Gossip has never introduced the speakers to each other.
async fn unintroduced(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    set_gossip_blocked(lab, true).await?;
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).kill_speaker().await?;
        lab.node_mut(index).start_speaker().await?;
    }
    for node in lab.nodes() {
        wait_for_members(node, "down", lab.nodes().len() - 1).await?;
    }
    scene.mac = scene.settled(sniffer, STEADY).await?;
    let owner = lab.node_with(scene.mac).context("it is no node")?;
    if std::mem::replace(&mut scene.owner, owner) != owner {
        // As when the scene was set: no pod on the machine that is about to go.
        lab.end_pod("hello", owner).await?;
    }
    for index in (0..lab.nodes().len()).filter(|index| *index != scene.owner) {
        let deferred = "herald_wire_reports_total{reason=\"TakeoverDeferred\"}";
        ensure!(
            lab.node(index).metric(deferred).await? > 0.0,
            "node {index} knows no peer"
        );
    }
    for index in (0..lab.nodes().len()).filter(|index| *index != scene.owner) {
        wait_for_gossip(lab, index, "False").await?;
    }
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    scene.moved(lab, fault).await?;
    let events = lab.cluster().events("default").await?;
    let conflict = events.iter().find(|event| event.contains("AddressConflict"));
    ensure!(
        conflict.is_none(),
        "a peer was taken for a foreign host: {conflict:?}"
    );
    lab.node(scene.owner).plug_in().await?;
    scene.settled(sniffer, STEADY).await?;
    set_gossip_blocked(lab, false).await?;
    scene.settled(sniffer, STEADY).await?;
    for index in 0..lab.nodes().len() {
        wait_for_gossip(lab, index, "True").await?;
    }
    Ok(())
}

/// Waits until state and metrics of node `index` report that gossip is reachable or not.
async fn wait_for_gossip(lab: &Lab, index: usize, status: &str) -> anyhow::Result<()> {
    let node = lab.node(index);
    let what = format!(
        "the state of {} says that gossip is reachable: {status}",
        node.name()
    );
    wait_for(&what, DEADLINE, async || {
        let states = lab.cluster().list::<ConfigurationState>(NAMESPACE).await?;
        let own = |state: &&ConfigurationState| {
            let labels = state.metadata.labels.iter().flatten();
            labels
                .into_iter()
                .any(|(key, value)| key == "metallb.io/node-name" && value == node.name())
        };
        let conditions = states.iter().find(own).and_then(|state| state.status.as_ref());
        let mut conditions = conditions.into_iter().flat_map(|status| &status.conditions);
        let is_told = conditions.any(|c| c.type_ == "herald.io/GossipReachable" && c.status == status);
        let is_blocked = node.metric("herald_gossip_blocked").await? > 0.0;
        Ok((is_told && is_blocked == (status == "False")).then_some(()))
    })
    .await
}

async fn another_key(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let fault = Monotonic::now();
    lab.node_mut(scene.owner).stop_speaker().await?;
    let successor = scene.moved(lab, fault).await?;
    let wrong = BTreeMap::from([("secretkey".to_owned(), vec![b'x'; 16])]);
    let right = lab.keys(scene.owner)?;
    lab.set_keys(scene.owner, &wrong)?;
    lab.node_mut(scene.owner).start_speaker().await?;
    let dropped = "herald_gossip_dropped_total{reason=\"unauthentic\"}";
    wait_for("the speaker receives what it cannot open", DEADLINE, async || {
        Ok((lab.node(scene.owner).metric(dropped).await? > 0.0).then_some(()))
    })
    .await?;
    let mac = lab.node(successor).host().mac();
    scene.ensure_steady(sniffer, mac, 2 * STEADY).await?;

    // Of the two nodes that are left, one has the wrong key, so neither relies on the other.
    let fault = Monotonic::now();
    lab.node(successor).unplug().await?;
    lab.lose_pods(successor).await?;
    wait_for("another node has the address", DEADLINE, async || {
        let owner = lab.learnt_owner(scene.address).await?;
        Ok(owner.filter(|owner| *owner != successor))
    })
    .await?;
    scene.prober.wait_until_served(fault, 20, DEADLINE).await?;
    lab.node(successor).plug_in().await?;
    lab.node_mut(scene.owner).stop_speaker().await?;
    lab.set_keys(scene.owner, &right)?;
    lab.node_mut(scene.owner).start_speaker().await?;
    scene.returned(lab).await
}

/// The three steps of a rotation, in another order of the nodes each.
async fn rotated_key(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer = lab.switch().sniff().await?;
    let scene = Scene::set_v4(lab, &sniffer).await?;
    let [own, next, previous] = ["secretkey", "secretkey.next", "secretkey.previous"];
    let old = lab.keys(0)?.remove(own).context("no key")?;
    let new = vec![b'n'; 32];
    let steps = [
        ([0, 1, 2], [Some((own, &old)), Some((next, &new))]),
        ([2, 0, 1], [Some((own, &new)), Some((previous, &old))]),
        ([1, 2, 0], [Some((own, &new)), None]),
    ];
    for (read_before, (order, files)) in steps.into_iter().enumerate() {
        let files = files.into_iter().flatten();
        let files = files.map(|(name, key)| (name.to_owned(), key.clone())).collect();
        for index in order {
            lab.set_keys(index, &files)?;
            wait_for("the speaker has read its keys again", DEADLINE, async || {
                let log = lab.logs().join(format!("speaker-{}.log", lab.node(index).name()));
                let log = std::fs::read_to_string(log)?;
                let replaced = log.matches("gossip keys were replaced").count();
                Ok((replaced > read_before).then_some(()))
            })
            .await?;
            scene.ensure_steady(&sniffer, scene.mac, STEADY).await?;
        }
    }
    for node in lab.nodes() {
        for (metric, expected) in [
            ("herald_gossip_members{state=\"alive\"}", 3.0),
            ("herald_gossip_dropped_total{reason=\"unauthentic\"}", 0.0),
        ] {
            let value = node.metric(metric).await?;
            ensure!(value == expected, "{metric} of {} is {value}", node.name());
        }
    }
    Ok(())
}

/// A machine with the address and with the dead owner's Ethernet address answers, as a switch with ARP suppression does.
async fn proxy(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer = lab.switch().sniff().await?;
    let mut scene = Scene::set_v4(lab, &sniffer).await?;
    let [addresses, _] = plan::observers();
    let proxy = lab.switch().attach_as("proxy", scene.mac, addresses).await?;
    proxy.set_plugged(false).await?;
    proxy.links().add_address(LINK, scene.address, 24).await?;
    let fault = Monotonic::now();
    lab.node(scene.owner).unplug().await?;
    proxy.set_plugged(true).await?;
    let mut successor = None;
    wait_for("another node has the address", DEADLINE, async || {
        successor = lab.learnt_owner(scene.address).await?;
        Ok(successor.filter(|successor| *successor != scene.owner))
    })
    .await?;
    let delay = Monotonic::now().since(fault);
    ensure!(
        delay >= REPLY_LIMIT,
        "the proxy was not asked: moved after {delay:?}"
    );
    ensure!(delay <= 2 * DOWN_PEER_GRACE, "moved only after {delay:?}");
    let successor = successor.context("no successor")?;
    let forced = "herald_wire_reports_total{reason=\"TakeoverForced\"}";
    ensure!(
        lab.node(successor).metric(forced).await? > 0.0,
        "the successor did not report it"
    );
    proxy.set_plugged(false).await?;
    scene.moved(lab, fault).await?;
    let living = sniffer.sightings().since(fault).without(scene.mac);
    let longest = living.longest_contention();
    ensure!(longest.is_none(), "two owners: {longest:?}");
    Ok(())
}

/// The owner's speaker lives and gossip works, but none of its answers passes the switch.
async fn unresponsive_owner(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let scene = Scene::set_v4(lab, sniffer).await?;
    let backups = (0..lab.nodes().len()).filter(|index| *index != scene.owner);
    let answered = "herald_layer2_probes_total{result=\"answered\"}";
    wait_for("the owner has answered its backup", DEADLINE, async || {
        for backup in backups.clone() {
            if lab.node(backup).metric(answered).await? > 0.0 {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
    .await?;
    let filter = format!(
        "table bridge chaos {{ chain silence {{ type filter hook prerouting priority 0; ether saddr {} arp operation reply drop; }}; }}",
        scene.mac
    );
    lab.switch().netns().nft(&filter).await?;
    let successor = wait_for("another node has the address", DEADLINE, async || {
        let owner = lab.learnt_owner(scene.address).await?;
        Ok(owner.filter(|owner| *owner != scene.owner))
    })
    .await?;
    let mac = lab.node(successor).host().mac();
    // The owner answers the claim once, until it learns from gossip that it is unresponsive.
    let settled = scene.settled(sniffer, STEADY).await?;
    ensure!(settled == mac, "it is at {settled}, not at {mac}");
    for (node, series) in [
        (successor, "herald_wire_reports_total{reason=\"OwnerSilent\"}"),
        (scene.owner, "herald_silenced_total"),
    ] {
        ensure!(lab.node(node).metric(series).await? > 0.0, "{series} is zero");
    }
    // It answers again, and ranks last for a while.
    lab.switch().netns().nft("delete table bridge chaos").await?;
    scene.ensure_steady(sniffer, mac, STEADY).await
}

/// First the owner alone is cut off, then the others: each side has an owner, and together they have one again.
async fn divided(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<()> {
    let mut scene = Scene::set_v4(lab, sniffer).await?;
    let fault = Monotonic::now();
    let switch = lab.switch();
    switch.set_cut_off(lab.node(scene.owner).host(), true).await?;
    scene.moved(lab, fault).await?;
    switch.set_cut_off(lab.node(scene.owner).host(), false).await?;
    scene.returned(lab).await?;
    scene.settled(sniffer, STEADY).await?;

    let division = Monotonic::now();
    let others = || (0..lab.nodes().len()).filter(|index| *index != scene.owner);
    for index in others() {
        switch.set_cut_off(lab.node(index).host(), true).await?;
    }
    wait_for("the others have the address, too", DEADLINE, async || {
        let owners = sniffer.sightings().since(division).owners(scene.address);
        Ok((owners.iter().any(|mac| *mac != scene.mac)).then_some(()))
    })
    .await?;
    for index in others() {
        switch.set_cut_off(lab.node(index).host(), false).await?;
    }
    for node in lab.nodes() {
        wait_for_members(node, "down", 0).await?;
    }
    let owner = scene.settled(sniffer, STEADY).await?;
    ensure!(owner == scene.mac, "it is at {owner}, which does not rank first");
    scene.returned(lab).await
}
