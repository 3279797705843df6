//! Beside MetalLB's speakers.

use super::*;
use crate::Prefix;

/// A member that is in these subnets, and reports whether it runs beside MetalLB.
fn placed(node: &str, subnets: &[Prefix], is_beside: bool) -> Member {
    let features = if is_beside {
        Features::OF_THIS_VERSION.with(Features::BESIDE_METALLB)
    } else {
        Features::OF_THIS_VERSION
    };
    Member {
        profile: Some(Arc::new(Profile {
            subnets: Some(subnets.to_vec()),
            features,
            ..Profile::default()
        })),
        ..member(node, Liveness::Alive)
    }
}

fn subnet() -> Prefix {
    Prefix {
        address: ip(ADDRESS),
        length: 24,
    }
}

/// MetalLB on this node goes on answering, so the successors need no time.
#[test]
fn a_speaker_that_stops_hands_nothing_over() {
    let mut rig = Rig::announcing(&[ADDRESS]);
    rig.agent.set_beside_metallb(true);
    let features = Features::OF_THIS_VERSION.with(Features::BESIDE_METALLB);
    assert_eq!(rig.reports(), [AgentReport::Features(features)]);
    rig.agent.handle_shutdown(true, rig.now);
    assert_eq!(rig.reports(), [AgentReport::State(NodeState::Draining)]);
    assert!(rig.agent.has_stopped(rig.now));
    assert_eq!(rig.commands(), []);
}

/// Another node has to announce the address, as MetalLB does not answer for it here.
#[test]
fn a_speaker_that_stops_hands_over_if_metallb_does_not_run_on_its_node() {
    let mut rig = Rig::announcing(&[ADDRESS]);
    rig.agent.set_beside_metallb(true);
    rig.agent.handle_shutdown(false, rig.now);
    assert!(!rig.agent.has_stopped(rig.now));
    assert!(rig.agent.has_stopped(rig.now + DRAIN_LIMIT));
}

/// MetalLB elects this node although it is not in the subnet of the address, and the peer is.
#[test]
fn elections_are_those_of_metallb_as_long_as_one_speaker_runs_beside_it() {
    let mut rig = Rig::new(true, &[ADDRESS]);
    let set = |rig: &mut Rig, is_beside| {
        let members = [placed(PEER, &[subnet()], false), placed(OWN, &[], is_beside)];
        rig.agent.set_members(members.into(), rig.now);
    };
    set(&mut rig, true);
    rig.agent.start();
    assert_eq!(rig.commands(), [Command::Probe(announcement(ADDRESS))]);
    let difference = ElectionDifference {
        address: ip(ADDRESS),
        service: key(ADDRESS),
        beside: Some(OWN.into()),
        alone: Some(PEER.into()),
    };
    assert_eq!(
        rig.agent.election_differences(),
        core::slice::from_ref(&difference)
    );
    set(&mut rig, false);
    assert!(!rig.agent.elects_beside_metallb());
    let probes = |command: &Command| matches!(command, Command::Probe(_));
    assert!(!rig.commands().iter().any(probes), "the peer is elected");
    assert_eq!(rig.agent.election_differences(), [difference]);
}

/// A version that does not know the mode elects as usual, so all have to.
#[test]
fn a_usable_speaker_of_a_version_that_does_not_know_the_mode_keeps_all_from_it() {
    let mut rig = Rig::new(true, &[ADDRESS]);
    let set = |rig: &mut Rig, is_known: bool| {
        let mut peer = placed(PEER, &[subnet()], false);
        if !is_known {
            let profile = Arc::make_mut(peer.profile.as_mut().unwrap());
            profile.features = Features::from_bits(0b11);
        }
        let members = [peer, placed(OWN, &[], true)];
        rig.agent.set_members(members.into(), rig.now);
    };
    set(&mut rig, false);
    rig.agent.start();
    let probes = |command: &Command| matches!(command, Command::Probe(_));
    assert!(!rig.commands().iter().any(probes), "the peer is elected");
    assert!(!rig.agent.elects_beside_metallb());
    set(&mut rig, true);
    assert_eq!(rig.commands(), [Command::Probe(announcement(ADDRESS))]);
}

#[test]
fn the_drain_annotation_has_no_effect() {
    let mut rig = Rig::new(true, &[ADDRESS]);
    rig.agent.set_node(Node {
        draining: true,
        ..node(OWN)
    });
    let set = |rig: &mut Rig, is_beside| {
        let members = [PEER, OWN].map(|node| placed(node, &[subnet()], is_beside));
        rig.agent.set_members(members.into(), rig.now);
    };
    set(&mut rig, true);
    rig.agent.start();
    assert_eq!(rig.commands(), [Command::Probe(announcement(ADDRESS))]);
    assert_eq!(rig.agent.election_differences().len(), 1);
    set(&mut rig, false);
    let cancel = Command::CancelProbe(ip(ADDRESS));
    assert!(rig.commands().contains(&cancel), "the peer is elected");
}
