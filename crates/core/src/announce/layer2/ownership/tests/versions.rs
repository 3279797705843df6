//! The rule for each Service, which holds as long as a usable speaker does not know the rule for each address.

use super::*;
use crate::Features;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sha2::{Digest, Sha256};

const NODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const PER_ADDRESS: Features = Features::ELECTION_PER_ADDRESS;

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
            addresses: Vec::new(),
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
        set(
            &mut machine,
            &nodes,
            if knows { PER_ADDRESS } else { Features::NONE },
        );
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
        machine.set_members(&[knowing(PER_ADDRESS, reporting(IRIS1, &[], 0)), other]);
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
    assert_eq!(role(&mut machine, knowing(PER_ADDRESS, other())), by_address);
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

/// Returns a member that has eth0 and eth1, and of these a link-local IPv6 address on `ipv6`; `None` is too many for a report.
fn resolving(features: Features, name: &str, ipv6: Option<&[&str]>) -> Member {
    let tags = |names: &[&str]| names.iter().map(|name| tag(name)).collect();
    let mut member = knowing(features, reporting(name, &[], 0));
    let profile = Arc::make_mut(member.profile.as_mut().expect("a profile"));
    profile.interfaces = Some(tags(&["eth0", "eth1"]));
    profile.ipv6_interfaces = ipv6.map(tags);
    member
}

#[test]
fn only_a_node_without_ipv6_splits_a_dual_stack_service_and_it_has_the_reason() {
    let v6: IpAddr = "fc00::1".parse().unwrap();
    let mut machine = gossiping(IRIS1);
    machine.set_service(Exposure {
        addresses: vec![address(), v6],
        ..web(TrafficPolicy::Cluster)
    });
    let mut owners = |features, ipv6: &[&str]| {
        let one = resolving(PER_ADDRESS, IRIS1, Some(&["eth0"]));
        machine.set_members(&[one, resolving(features, IRIS2, Some(ipv6))]);
        let owners = [address(), v6].map(|address| machine.elected(address));
        (
            owners,
            machine.explain(&key(), v6).expect("nodes")[&NodeName::from(IRIS2)].clone(),
        )
    };
    let both = |v6: &str| [Some(IRIS2.into()), Some(v6.into())];
    assert_eq!(owners(PER_ADDRESS, &["eth1"]), (both(IRIS2), Ok(0)));
    let unable = Err(Exclusion::NoLinkLocalAddress);
    assert_eq!(owners(PER_ADDRESS, &[]), (both(IRIS1), unable));
    assert_eq!(owners(Features::NONE, &[]), (both(IRIS2), Ok(0)));
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
    let reporting = |ipv6| [IRIS1, IRIS2].map(|name| resolving(PER_ADDRESS, name, Some(ipv6)));
    machine.set_members(&reporting(&["eth0"]));
    drain(&mut machine);
    assert!(matches!(machine.role(&key(), v6), Some(Role::Owner(_))));
    machine.set_interfaces(&["eth0"], &[]);
    drain(&mut machine);
    assert_eq!(
        machine.role(&key(), v6).and_then(Role::owner),
        Some(&IRIS1.into())
    );
    assert!(matches!(machine.role(&key(), address()), Some(Role::Owner(_))));
    machine.set_members(&reporting(&[]));
    drain(&mut machine);
    let unowned = Role::Unowned(Exclusion::NoLinkLocalAddress);
    assert_eq!(machine.role(&key(), v6), Some(&unowned));
}

#[test]
fn all_nodes_agree_which_of_them_announces_ipv6_on_the_selected_interface() {
    const BOTH: &[&str] = &["eth0", "eth1"];
    let v6: IpAddr = "fc00::1".parse().unwrap();
    let eth1 = RawL2Advertisement {
        interfaces: vec!["eth1".into()],
        ..everywhere()
    };
    let nodes = || {
        [IRIS1, IRIS2].map(|me| {
            let machine = OwnNode::new(me.into(), true, false);
            let mut machine = iris_with(machine, vec![eth1.clone()], TrafficPolicy::Cluster);
            machine.set_service(Exposure {
                addresses: vec![address(), v6],
                ..web(TrafficPolicy::Cluster)
            });
            machine
        })
    };
    let standby = Role::Standby {
        owner: IRIS1.into(),
        backup: None,
    };
    let no_address = Exclusion::NoLinkLocalAddress;
    let no_interface = Exclusion::NoInterface(["eth1".into()].into());
    // What iris2 has and what it reports of it, the owner, the role of iris2, and why it is not elected. What a report has no
    // room for counts as all, on the node itself too: it is elected and says why the address has no owner.
    let cases = [
        (
            BOTH,
            Some(BOTH),
            &["eth0"][..],
            Some(&["eth0"][..]),
            IRIS1,
            standby,
            Err(no_address.clone()),
        ),
        (
            BOTH,
            Some(BOTH),
            &["eth0"],
            None,
            IRIS2,
            Role::Unowned(no_address),
            Ok(0),
        ),
        (
            &["eth0"],
            None,
            &["eth0"],
            None,
            IRIS2,
            Role::Unowned(no_interface),
            Ok(0),
        ),
    ];
    for (names, reported, ipv6, reported_ipv6, owner, role, explained) in cases {
        let mut members = [(IRIS1, Some(BOTH)), (IRIS2, reported_ipv6)]
            .map(|(name, ipv6)| resolving(PER_ADDRESS, name, ipv6));
        if reported.is_none() {
            let profile = members[1].profile.as_mut().expect("a profile");
            Arc::make_mut(profile).interfaces = None;
        }
        let mut nodes = nodes();
        nodes[0].set_interfaces(BOTH, BOTH);
        nodes[1].set_interfaces(names, ipv6);
        for machine in &mut nodes {
            machine.set_members(&members);
            drain(machine);
            assert_eq!(machine.elected(v6), Some(owner.into()), "{}", machine.name());
            let nodes = machine.explain(&key(), v6).expect("nodes");
            assert_eq!(nodes[&NodeName::from(IRIS2)], explained, "{}", machine.name());
        }
        assert_eq!(nodes[1].role(&key(), v6), Some(&role));
        let is_owner = matches!(nodes[0].role(&key(), v6), Some(Role::Owner(_)));
        assert_eq!(is_owner, owner == IRIS1);
    }
}
