//! The rule for each Service, which holds as long as a usable speaker does not know the rule for each address.

use super::*;
use crate::Features;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sha2::{Digest, Sha256};

const NODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const BOTH: Features = Features::ELECTION_PER_ADDRESS.with(Features::IPV6, true);

fn knowing(features: Features, member: Member) -> Member {
    let profile = member.profile.as_deref().cloned().unwrap_or_default();
    Member {
        profile: Some(Arc::new(Profile { features, ..profile })),
        ..member
    }
}

/// A node: its liveness, state, flaps and subnets (IPv4, IPv6), and whether it is excluded, drained, selected, preferred, and has
/// an endpoint.
type AnyNode = ((u8, u8, u8), (bool, bool), (bool, bool, bool, bool, bool));

fn any_node() -> impl Strategy<Value = AnyNode> {
    let seldom = || prop::bool::weighted(0.1);
    let mostly = || prop::bool::weighted(0.8);
    let alive = prop_oneof![6 => Just(0_u8), 1 => 1_u8..3];
    let ready = prop_oneof![6 => Just(1_u8), 1 => 0_u8..3];
    let flaps = prop_oneof![6 => Just(0_u8), 1 => 0_u8..4];
    (
        (alive, ready, flaps),
        (mostly(), mostly()),
        (seldom(), seldom(), mostly(), any::<bool>(), mostly()),
    )
}

/// The election of version c4ff57c for a Service that shares no address: MetalLB's order among the fittest of the eligible nodes.
fn reference(nodes: &[AnyNode], addresses: &[IpAddr], is_local: bool) -> Option<usize> {
    let is_usable = |((liveness, state, _), ..): &&AnyNode| *liveness != 2 && *state == 1;
    let mut flaps: Vec<u8> = nodes
        .iter()
        .filter(is_usable)
        .map(|((.., flaps), ..)| *flaps)
        .collect();
    flaps.sort_unstable();
    let median = flaps.get(flaps.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    let candidates = || {
        nodes.iter().enumerate().filter(|(_, node)| {
            let (.., (excluded, drained, selected, _, has_endpoint)) = node;
            is_usable(node) && !excluded && !drained && *selected && (!is_local || *has_endpoint)
        })
    };
    let subnets = |(_, (v4, v6), _): &AnyNode| {
        addresses
            .iter()
            .filter(|address| if address.is_ipv4() { *v4 } else { *v6 })
            .count()
    };
    let most = candidates().map(|(_, node)| subnets(node)).max()?;
    let fittest = candidates().filter(|(_, node)| subnets(node) == most);
    let order = |(index, node): &(usize, &AnyNode)| {
        let ((.., flaps), _, (.., preferred, _)) = node;
        let hash = Sha256::digest(format!("{}#{}", NODES[*index], addresses[0]));
        (*flaps >= median + 2, !*preferred, hash)
    };
    fittest.min_by_key(order).map(|(index, _)| index)
}

fn set(machine: &mut OwnNode, nodes: &[AnyNode], features: Features) {
    let states = [NodeState::Starting, NodeState::Ready, NodeState::Draining];
    let mut members = Vec::new();
    for (name, ((liveness, state, flaps), (v4, v6), flags)) in NODES.iter().zip(nodes) {
        let (excluded, draining, selected, preferred, _) = *flags;
        let mut labels = vec![];
        labels.extend(excluded.then_some((EXCLUDE_LABEL, "")));
        labels.extend(selected.then_some(("selected", "yes")));
        labels.extend(preferred.then_some(("preferred", "yes")));
        machine.set_node(Node {
            draining,
            ..node(name, &labels)
        });
        let v4 = v4.then_some("10.20.30.200");
        let subnets: Vec<&str> = v4.into_iter().chain(v6.then_some("fc00::200")).collect();
        members.push(Member {
            liveness: Liveness::ALL[usize::from(*liveness)],
            state: states[usize::from(*state)],
            ..knowing(features, reporting(name, &subnets, *flaps))
        });
    }
    for name in &NODES[nodes.len()..] {
        machine.remove_node(&(*name).into());
    }
    machine.set_members(&members);
}

#[test]
fn a_service_alone_elects_the_same_node_by_either_rule_in_ten_thousand_cases() {
    let selecting = RawL2Advertisement {
        node_selectors: vec![selector(&[("selected", "yes")])],
        preferred_nodes: vec![(5, selector(&[("preferred", "yes")]))],
        ..everywhere()
    };
    let machine = OwnNode::new(NODES[0].into(), true, false);
    let mut machine = iris_with(machine, vec![selecting], TrafficPolicy::Cluster);
    for name in [IRIS1, IRIS2] {
        machine.remove_node(&name.into());
    }
    let mut runner = TestRunner::deterministic();
    let nodes = prop::collection::vec(any_node(), 1..=NODES.len());
    let cases = (nodes, any::<(u8, bool, bool, bool, bool)>());
    let mut dual_stack = 0;
    for _ in 0..10_000 {
        let case = cases.new_tree(&mut runner).expect("a case").current();
        let (nodes, (last, is_dual, is_v6_first, is_local, knows)) = case;
        let mut addresses = vec![
            IpAddr::from([10, 20, 30, last]),
            format!("fc00::{last:x}").parse().unwrap(),
        ];
        if is_v6_first {
            addresses.reverse();
        }
        addresses.truncate(1 + usize::from(is_dual));
        set(&mut machine, &nodes, if knows { BOTH } else { Features::IPV6 });
        let policy = if is_local {
            TrafficPolicy::Local
        } else {
            TrafficPolicy::Cluster
        };
        machine.set_service(Exposure {
            addresses: addresses.clone(),
            ..web(policy)
        });
        let with_endpoint = NODES.iter().zip(&nodes).filter(|(_, (.., flags))| flags.4);
        let with_endpoint: Vec<&str> = with_endpoint.map(|(name, _)| *name).collect();
        machine.set_endpoints(
            key(),
            Some(Endpoints {
                any: true,
                ..endpoints(&with_endpoint)
            }),
        );
        let expected = reference(&nodes, &addresses, is_local);
        for address in &addresses {
            let is_near = |(_, (v4, v6), _): &AnyNode| if address.is_ipv4() { *v4 } else { *v6 };
            let owner = machine.elected(*address);
            let owner = owner.map(|owner| {
                NODES
                    .iter()
                    .position(|name| *name == owner.as_str())
                    .expect("a node")
            });
            // Only a node that is not in the subnet of one of the addresses loses that address to another.
            let has_other = owner
                .zip(expected)
                .is_some_and(|(owner, expected)| is_near(&nodes[owner]) && !is_near(&nodes[expected]));
            if !(knows && is_dual && has_other) {
                assert_eq!(owner, expected, "{nodes:?} {addresses:?} {is_local}");
                dual_stack += usize::from(is_dual && owner.is_some());
            }
        }
    }
    assert!(
        dual_stack > 5000,
        "{dual_stack} of 10 000 addresses of dual-stack Services had an owner"
    );
}

#[test]
fn one_usable_speaker_that_does_not_know_the_rule_makes_each_service_elect_alone() {
    let alone = |name: &str, address: &str, nodes: &[&str]| {
        let key = ServiceKey::new("default", name);
        let addresses = vec![address.parse().unwrap()];
        let service = Exposure {
            key,
            addresses,
            ..web(TrafficPolicy::Local)
        };
        (service, endpoints(nodes))
    };
    let mut machine = gossiping(IRIS1);
    for (service, endpoints) in [
        alone("old", "10.20.30.9", &[IRIS1]),
        alone("young", "10.20.30.9", &[IRIS2]),
    ] {
        machine.set_endpoints(service.key.clone(), Some(endpoints));
        machine.set_service(service);
    }
    let young = ServiceKey::new("default", "young");
    let role = |machine: &mut OwnNode, other: Member| {
        machine.set_members(&[knowing(BOTH, reporting(IRIS1, &[], 0)), other]);
        drain(machine);
        machine.role(&young, IpAddr::from([10, 20, 30, 9])).cloned()
    };
    let by_service = Some(Role::Standby {
        owner: IRIS2.into(),
        backup: None,
    });
    let by_address = Some(Role::Unowned(Exclusion::NoCommonNode));
    let other = || reporting(IRIS2, &[], 0);
    assert_eq!(role(&mut machine, other()), by_service);
    assert_eq!(role(&mut machine, knowing(BOTH, other())), by_address);
    assert_eq!(role(&mut machine, ready(IRIS2)), by_service);
    // A speaker that is gone, or owns nothing, does not matter.
    let without = Some(Role::Unowned(Exclusion::NoCandidate));
    let starting = Member {
        state: NodeState::Starting,
        ..other()
    };
    let down = Member {
        liveness: Liveness::Down,
        ..other()
    };
    assert_eq!(role(&mut machine, starting), without);
    assert_eq!(role(&mut machine, down), without);
}

#[test]
fn only_a_node_without_ipv6_splits_a_dual_stack_service_and_it_has_the_reason() {
    let v6: IpAddr = "fc00::1".parse().unwrap();
    let mut machine = gossiping(IRIS1);
    machine.set_service(Exposure {
        addresses: vec![address(), v6],
        ..web(TrafficPolicy::Cluster)
    });
    let mut owners = |other: Features| {
        let members = [(IRIS1, BOTH), (IRIS2, other)]
            .map(|(name, features)| knowing(features, reporting(name, &[], 0)));
        machine.set_members(&members);
        let owners = [address(), v6].map(|address| machine.elected(address));
        (
            owners,
            machine.explain(&key(), v6).expect("nodes")[&NodeName::from(IRIS2)].clone(),
        )
    };
    let both = |v6: &str| [Some(IRIS2.into()), Some(v6.into())];
    assert_eq!(owners(BOTH), (both(IRIS2), Ok(0)));
    assert_eq!(
        owners(Features::ELECTION_PER_ADDRESS),
        (both(IRIS1), Err(Exclusion::NoLinkLocalAddress))
    );
    assert_eq!(owners(Features::NONE), (both(IRIS2), Ok(0)));
}

#[test]
fn an_elected_node_that_loses_ipv6_stops_owning_before_gossip_reports_it_and_says_so_if_no_node_has_it() {
    let v6: IpAddr = "fc00::1".parse().unwrap();
    // iris2 has the first rank for this address.
    let mut machine = gossiping(IRIS2);
    machine.set_service(Exposure {
        addresses: vec![address(), v6],
        ..web(TrafficPolicy::Cluster)
    });
    machine.set_interfaces(&["eth0"], &["eth0"]);
    machine.set_members(&[IRIS1, IRIS2].map(|name| knowing(BOTH, reporting(name, &[], 0))));
    drain(&mut machine);
    assert!(matches!(machine.role(&key(), v6), Some(Role::Owner(_))));
    machine.set_interfaces(&["eth0"], &[]);
    drain(&mut machine);
    assert_eq!(
        machine.role(&key(), v6).and_then(Role::owner),
        Some(&IRIS1.into())
    );
    assert!(matches!(machine.role(&key(), address()), Some(Role::Owner(_))));
    let unable = Features::ELECTION_PER_ADDRESS;
    machine.set_members(&[IRIS1, IRIS2].map(|name| knowing(unable, reporting(name, &[], 0))));
    drain(&mut machine);
    let unowned = Role::Unowned(Exclusion::NoLinkLocalAddress);
    assert_eq!(machine.role(&key(), v6), Some(&unowned));
}
