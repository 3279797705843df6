use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use core::net::IpAddr;
use proptest::prelude::*;

use crate::announce::eligibility::{EXCLUDE_LABEL, Endpoints, Node, TrafficPolicy};
use crate::config::{Catalog, ConflictDetection, RawL2Advertisement, RawPool};
use crate::{Features, Labels, Profile, RawSelector};

mod own_node;
mod placement;
mod shared;
mod versions;

use own_node::OwnNode;

const IRIS1: &str = "iris1";
const IRIS2: &str = "iris2";

fn selector(pairs: &[(&str, &str)]) -> RawSelector {
    RawSelector {
        match_labels: labels(pairs),
        ..RawSelector::default()
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

fn node(name: &str, extra: &[(&str, &str)]) -> Node {
    let mut all = labels(extra);
    all.insert("kubernetes.io/hostname".into(), name.into());
    Node {
        name: name.into(),
        labels: all,
        network_unavailable: false,
        draining: false,
        addresses: Vec::new(),
    }
}

fn on(name: &str) -> RawL2Advertisement {
    RawL2Advertisement {
        name: format!("on-{name}"),
        node_selectors: vec![selector(&[("kubernetes.io/hostname", name)])],
        ..RawL2Advertisement::default()
    }
}

fn everywhere() -> RawL2Advertisement {
    RawL2Advertisement {
        name: "everywhere".into(),
        ..RawL2Advertisement::default()
    }
}

fn key() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn address() -> IpAddr {
    IpAddr::from([10, 20, 30, 1])
}

fn web(policy: TrafficPolicy) -> Exposure {
    Exposure {
        key: key(),
        created: 0,
        labels: Labels::new(),
        addresses: vec![address()],
        foreign_ingress: false,
        traffic_policy: policy,
        shares: false,
    }
}

fn endpoints(nodes: &[&str]) -> Endpoints {
    Endpoints {
        any: !nodes.is_empty(),
        nodes: nodes.iter().map(|n| NodeName::from(*n)).collect(),
        terminating: BTreeSet::new(),
    }
}

/// Two nodes, of which iris2 has the first rank for 10.20.30.1; the endpoint is on iris1.
fn iris(me: &str, advertisements: Vec<RawL2Advertisement>, policy: TrafficPolicy) -> OwnNode {
    iris_with(OwnNode::new(me.into(), false, false), advertisements, policy)
}

fn iris_with(
    mut machine: OwnNode,
    advertisements: Vec<RawL2Advertisement>,
    policy: TrafficPolicy,
) -> OwnNode {
    let mut catalog = Catalog::new();
    catalog.set_pool(&RawPool {
        name: "pool".into(),
        addresses: vec!["10.20.30.0/24".into(), "fc00::/120".into()],
        ..RawPool::default()
    });
    for advertisement in advertisements {
        catalog.set_l2_advertisement(&advertisement);
    }
    assert_eq!(catalog.problems(), []);
    machine.set_config(catalog.pools(), catalog.l2_advertisements());
    machine.set_node(node(IRIS1, &[]));
    machine.set_node(node(IRIS2, &[]));
    machine.set_service(web(policy));
    machine.set_endpoints(key(), Some(endpoints(&[IRIS1])));
    machine
}

fn drain(machine: &mut OwnNode) -> Vec<RoleChange> {
    core::iter::from_fn(|| machine.poll_change()).collect()
}

fn role(mut machine: OwnNode) -> Role {
    drain(&mut machine);
    machine.role(&key(), address()).expect("a known Service").clone()
}

/// Returns the role of the backup of `owner`.
fn backup_of(owner: &str) -> Role {
    let grant = Grant {
        address: address(),
        interfaces: None,
        conflict_detection: ConflictDetection::Enforce,
    };
    Role::Backup {
        of: owner.into(),
        grant,
    }
}

fn owns(machine: OwnNode) -> bool {
    matches!(role(machine), Role::Owner(_))
}

fn ready(name: &str) -> Member {
    Member::new(name.into(), Liveness::Alive, NodeState::Ready)
}

#[test]
fn the_layer_2_vectors_of_metallb_hold() {
    use TrafficPolicy::{Cluster, Local};
    assert!(owns(iris(IRIS2, vec![everywhere()], Cluster)));
    assert_eq!(role(iris(IRIS1, vec![everywhere()], Cluster)), backup_of(IRIS2));

    let excluded = [(EXCLUDE_LABEL, "")];
    let mut one_out = iris(IRIS1, vec![everywhere()], Cluster);
    one_out.set_node(node(IRIS2, &excluded));
    assert!(owns(one_out));

    let mut both_out = iris(IRIS1, vec![everywhere()], Cluster);
    both_out.set_node(node(IRIS1, &excluded));
    both_out.set_node(node(IRIS2, &excluded));
    assert_eq!(role(both_out), Role::Unowned(Exclusion::NoCandidate));

    let ignoring = OwnNode::new(IRIS1.into(), false, true);
    let mut ignored = iris_with(ignoring, vec![everywhere()], Local);
    ignored.set_node(node(IRIS1, &excluded));
    assert!(owns(ignored));

    for me in [IRIS1, IRIS2] {
        let unowned = iris(me, vec![on(IRIS2)], Local);
        assert_eq!(role(unowned), Role::Unowned(Exclusion::NoCandidate), "{me}");
    }
}

#[test]
fn a_drained_node_hands_its_services_over_and_gets_them_back() {
    let mut machine = iris(IRIS1, vec![everywhere()], TrafficPolicy::Cluster);
    drain(&mut machine);
    let draining = |name| Node {
        draining: true,
        ..node(name, &[])
    };
    machine.set_node(draining(IRIS2));
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
    // If every node is drained, no node announces.
    machine.set_node(draining(IRIS1));
    assert_eq!(
        drain(&mut machine)[0].after,
        Some(Role::Unowned(Exclusion::NoCandidate))
    );
    machine.set_node(node(IRIS2, &[]));
    let standby = Role::Standby {
        owner: IRIS2.into(),
        backup: None,
    };
    assert_eq!(drain(&mut machine)[0].after, Some(standby));
}

#[test]
fn an_unavailable_network_moves_the_service_and_back() {
    let mut machine = iris(IRIS1, vec![everywhere()], TrafficPolicy::Cluster);
    drain(&mut machine);
    let down = Node {
        network_unavailable: true,
        ..node(IRIS2, &[])
    };
    machine.set_node(down);
    let moved = drain(&mut machine);
    assert_eq!(moved[0].before, Some(backup_of(IRIS2)));
    assert!(matches!(moved[0].after, Some(Role::Owner(_))));
    machine.set_node(node(IRIS2, &[]));
    assert_eq!(drain(&mut machine)[0].after, Some(backup_of(IRIS2)));
}

#[test]
fn a_service_that_no_node_may_announce_has_its_reason() {
    let base = || web(TrafficPolicy::Cluster);
    let by_service = || RawL2Advertisement {
        service_selectors: vec![selector(&[("app", "other")])],
        ..everywhere()
    };
    let matching = || RawL2Advertisement {
        service_selectors: vec![RawSelector::default()],
        ..everywhere()
    };
    let hostname = Exposure {
        foreign_ingress: true,
        ..base()
    };
    let outside = Exposure {
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..base()
    };
    let shared = Exposure {
        shares: true,
        ..base()
    };
    let table = [
        (hostname, everywhere(), true, Exclusion::InvalidAddress),
        (outside, everywhere(), true, Exclusion::AddressOutsidePools),
        (base(), everywhere(), false, Exclusion::NoEndpoints),
        (base(), by_service(), true, Exclusion::NoAdvertisement),
        (
            shared,
            matching(),
            true,
            Exclusion::SharedAddressWithServiceSelector,
        ),
    ];
    for (service, advertisement, served, expected) in table {
        let mut machine = iris(IRIS2, vec![advertisement], TrafficPolicy::Cluster);
        let address = service.addresses[0];
        machine.set_service(service);
        if !served {
            machine.set_endpoints(key(), None);
        }
        drain(&mut machine);
        assert_eq!(machine.role(&key(), address), Some(&Role::Unowned(expected)));
    }
}

#[test]
fn no_node_announces_an_address_that_a_node_has_itself() {
    let with_addresses = |name: &str, addresses: &[IpAddr]| {
        let labels = [(EXCLUDE_LABEL, "")];
        let count = usize::from(name == "elsewhere");
        Node {
            addresses: addresses.to_vec(),
            ..node(name, &labels[..count])
        }
    };
    let of_node = |name: &str| Some(Role::Unowned(Exclusion::AddressOfNode(name.into())));
    let six: IpAddr = "fc00::1".parse().unwrap();
    let mut machine = iris(IRIS2, vec![everywhere()], TrafficPolicy::Cluster);
    machine.set_service(Exposure {
        addresses: vec![address(), six],
        ..web(TrafficPolicy::Cluster)
    });
    drain(&mut machine);
    let owned = machine.role(&key(), six).cloned();
    assert!(matches!(machine.role(&key(), address()), Some(Role::Owner(_))));
    // Also a node without a speaker, and this one.
    for name in ["elsewhere", IRIS2] {
        machine.set_node(with_addresses(name, &[address()]));
        drain(&mut machine);
        assert_eq!(machine.role(&key(), address()).cloned(), of_node(name));
        assert_eq!(
            machine.role(&key(), six).cloned(),
            owned,
            "the other address is not concerned"
        );
        machine.set_node(with_addresses(name, &[]));
        drain(&mut machine);
        assert!(matches!(machine.role(&key(), address()), Some(Role::Owner(_))));
    }
    machine.set_node(with_addresses("elsewhere", &[address()]));
    drain(&mut machine);
    assert_eq!(machine.role(&key(), address()).cloned(), of_node("elsewhere"));
    machine.remove_node(&"elsewhere".into());
    drain(&mut machine);
    assert!(matches!(machine.role(&key(), address()), Some(Role::Owner(_))));
}

#[test]
fn every_excluded_node_has_its_reason() {
    let mut machine = OwnNode::new(IRIS1.into(), true, false);
    machine = iris_with(
        machine,
        vec![on("gone"), on("starting"), on("far"), on("cut"), on("ok")],
        TrafficPolicy::Local,
    );
    let cut = Node {
        network_unavailable: true,
        ..node("cut", &[])
    };
    for node in [
        node("gone", &[]),
        node("starting", &[]),
        node("far", &[]),
        cut,
        node("ok", &[]),
    ] {
        machine.set_node(node);
    }
    machine.set_endpoints(key(), Some(endpoints(&["gone", "starting", "cut", "ok"])));
    let starting = Member::new("starting".into(), Liveness::Alive, NodeState::Starting);
    let gone = Member::new("gone".into(), Liveness::Down, NodeState::Ready);
    machine.set_members(&[gone, starting, ready("far"), ready("cut"), ready("ok")]);
    let expected = [
        ("cut", Err(Exclusion::NetworkUnavailable)),
        ("far", Err(Exclusion::NoLocalEndpoint)),
        ("gone", Err(Exclusion::NoSpeaker)),
        (IRIS1, Err(Exclusion::NodeNotSelected)),
        (IRIS2, Err(Exclusion::NodeNotSelected)),
        ("ok", Ok(0)),
        ("starting", Err(Exclusion::SpeakerNotReady(NodeState::Starting))),
    ];
    let candidates = machine.explain(&key(), address()).expect("candidates");
    let seen: Vec<_> = candidates
        .into_iter()
        .map(|(node, score)| (node.as_str(), score))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn interfaces_are_the_union_unless_one_advertisement_names_none() {
    let named = |name: &str, interfaces: &[&str]| RawL2Advertisement {
        name: name.into(),
        interfaces: interfaces.iter().map(ToString::to_string).collect(),
        ..RawL2Advertisement::default()
    };
    let granted = |advertisements| match role(iris(IRIS2, advertisements, TrafficPolicy::Cluster)) {
        Role::Owner(grant) => grant.interfaces,
        other @ (Role::Successor { .. } | Role::Backup { .. } | Role::Standby { .. } | Role::Unowned(_)) => {
            panic!("{other:?}")
        }
    };
    let both: BTreeSet<String> = ["eth0".into(), "eth1".into()].into();
    assert_eq!(
        granted(vec![named("a", &["eth0"]), named("b", &["eth1"])]),
        Some(both)
    );
    assert_eq!(granted(vec![named("a", &["eth0"]), named("b", &[])]), None);
    // The other advertisement selects another node, so its interfaces do not count here.
    assert_eq!(
        granted(vec![named("a", &["eth0"]), on(IRIS1)]),
        Some(["eth0".into()].into())
    );
}

#[test]
fn a_node_without_the_interface_owns_nothing_until_it_has_the_interface() {
    let eth9 = RawL2Advertisement {
        interfaces: vec!["eth9".into()],
        ..everywhere()
    };
    let mut machine = iris(IRIS2, vec![eth9], TrafficPolicy::Cluster);
    machine.set_interfaces(&["eth0"], &[]);
    let missing = Role::Unowned(Exclusion::NoInterface(["eth9".into()].into()));
    assert_eq!(drain(&mut machine)[0].after, Some(missing));
    machine.set_interfaces(&["eth0", "eth9"], &[]);
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
}

#[test]
fn a_preference_outweighs_the_hash_but_makes_no_excluded_node_a_candidate() {
    let preferring = |name: &str| RawL2Advertisement {
        preferred_nodes: vec![(50, selector(&[("kubernetes.io/hostname", name)]))],
        ..everywhere()
    };
    assert!(owns(iris(IRIS1, vec![preferring(IRIS1)], TrafficPolicy::Cluster)));
    let mut machine = iris(IRIS1, vec![preferring(IRIS1)], TrafficPolicy::Local);
    machine.set_endpoints(key(), Some(endpoints(&[IRIS2])));
    let standby = Role::Standby {
        owner: IRIS2.into(),
        backup: None,
    };
    assert_eq!(role(machine), standby);
}

#[test]
fn rank_does_not_depend_on_liveness() {
    let mut machine = iris_with(
        OwnNode::new(IRIS1.into(), true, false),
        vec![everywhere()],
        TrafficPolicy::Cluster,
    );
    let down = Member::new(IRIS2.into(), Liveness::Down, NodeState::Ready);
    machine.set_members(&[ready(IRIS1), down]);
    assert!(machine.outranks(&IRIS2.into(), &key()));
    assert!(!machine.outranks(&IRIS1.into(), &key()));
    assert!(!machine.outranks(&"unknown".into(), &key()));
    let elsewhere = ServiceKey::new("default", "other");
    assert!(!machine.outranks(&IRIS2.into(), &elsewhere));
    machine.set_node(node(IRIS1, &[(EXCLUDE_LABEL, "")]));
    machine.set_node(node(IRIS2, &[(EXCLUDE_LABEL, "")]));
    assert!(!machine.outranks(&IRIS2.into(), &key()));
}

#[test]
fn the_removal_of_a_service_is_reported_once() {
    let mut machine = iris(IRIS2, vec![everywhere()], TrafficPolicy::Cluster);
    drain(&mut machine);
    machine.remove_service(&key());
    let changes = drain(&mut machine);
    assert_eq!((changes.len(), &changes[0].after), (1, &None));
    assert!(matches!(changes[0].before, Some(Role::Owner(_))));
    machine.remove_service(&key());
    assert_eq!(drain(&mut machine), []);
}

#[test]
fn a_service_without_an_address_has_no_role_and_the_reason_explains_it() {
    let mut machine = iris(IRIS2, vec![everywhere()], TrafficPolicy::Cluster);
    drain(&mut machine);
    machine.set_service(Exposure {
        addresses: vec![],
        ..web(TrafficPolicy::Cluster)
    });
    let changes = drain(&mut machine);
    assert_eq!((changes.len(), &changes[0].after), (1, &None));
    assert_eq!(machine.explain(&key(), address()), Err(Exclusion::NoAddress));
}

#[test]
fn a_suspect_owner_has_a_successor_and_an_owner_that_is_down_is_replaced() {
    let mut machine = iris_with(
        OwnNode::new(IRIS1.into(), true, false),
        vec![everywhere()],
        TrafficPolicy::Cluster,
    );
    machine.set_members(&[ready(IRIS1), ready(IRIS2)]);
    assert_eq!(drain(&mut machine)[0].after, Some(backup_of(IRIS2)));
    let suspect = Member::new(IRIS2.into(), Liveness::Suspect, NodeState::Ready);
    machine.set_members(&[ready(IRIS1), suspect.clone()]);
    let successor = |change: &RoleChange| matches!(&change.after, Some(Role::Successor { of, .. }) if of.as_str() == IRIS2);
    assert!(successor(&drain(&mut machine)[0]));
    machine.set_members(&[ready(IRIS1), ready(IRIS2)]);
    assert_eq!(drain(&mut machine)[0].after, Some(backup_of(IRIS2)));
    machine.set_members(&[ready(IRIS1), suspect]);
    assert!(successor(&drain(&mut machine)[0]));
    let down = Member::new(IRIS2.into(), Liveness::Down, NodeState::Ready);
    machine.set_members(&[ready(IRIS1), down]);
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
}

fn reporting(name: &str, subnets: &[&str], flaps: u8) -> Member {
    let subnet = |address: &&str| crate::Prefix {
        address: address.parse().unwrap(),
        length: 24,
    };
    Member {
        profile: Some(Arc::new(Profile {
            subnets: Some(subnets.iter().map(subnet).collect()),
            flaps,
            ..Profile::default()
        })),
        ..ready(name)
    }
}

fn roles(machine: &OwnNode) -> Vec<(IpAddr, &ServiceKey, &Role)> {
    let decided = machine.ownership.decided.iter();
    let roles = decided.flat_map(|(address, decided)| {
        let roles = decided.roles.iter();
        roles.map(|(key, role)| (*address, key, role))
    });
    roles.collect()
}

fn gossiping(me: &str) -> OwnNode {
    iris_with(
        OwnNode::new(me.into(), true, false),
        vec![everywhere()],
        TrafficPolicy::Cluster,
    )
}

/// A node at one step: liveness and state of its speaker, its flaps, and whether it is in the subnet, exists, is drained and
/// is preferred.
type NodeStep = (u8, u8, u8, bool, bool, bool, bool);

fn any_node_step() -> impl Strategy<Value = NodeStep> {
    (
        0_u8..3,
        prop_oneof![4 => Just(1_u8), 1 => 0_u8..3],
        prop_oneof![4 => Just(0_u8), 1 => 0_u8..4],
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.2),
        any::<bool>(),
    )
}

proptest! {
    /// A machine that decides only the affected Services again comes to the result of a fresh machine.
    #[test]
    fn changes_of_nodes_and_members_lead_where_a_fresh_start_leads(
        steps in prop::collection::vec((prop::collection::vec(any_node_step(), 5), any::<(bool, bool)>()), 1..8),
        // Of each Service the address, and with policy Local the nodes with an endpoint.
        services in prop::collection::vec((0_u8..4, proptest::option::of(0_u8..32)), 1..12),
    ) {
        let names: Vec<String> = (0..5).map(|i| format!("node-{i}")).collect();
        let preferring = RawL2Advertisement {
            preferred_nodes: vec![(5, selector(&[("preferred", "yes")]))],
            ..everywhere()
        };
        let build = || {
            let machine = OwnNode::new(NodeName::from("node-0"), true, false);
            let mut machine = iris_with(machine, vec![preferring.clone()], TrafficPolicy::Cluster);
            for (i, (address, local)) in services.iter().enumerate() {
                let key = ServiceKey::new("default", format!("s{i}"));
                let addresses = vec![IpAddr::from([10, 20, 30, *address])];
                let policy = local.map_or(TrafficPolicy::Cluster, |_| TrafficPolicy::Local);
                machine.set_service(Exposure { key: key.clone(), addresses, ..web(policy) });
                let with_endpoint = names.iter().enumerate().filter(|(i, _)| local.unwrap_or(1) & (1 << i) != 0);
                let nodes: Vec<&str> = with_endpoint.map(|(_, name)| name.as_str()).collect();
                machine.set_endpoints(key, Some(endpoints(&nodes)));
            }
            machine
        };
        let set_nodes = |machine: &mut OwnNode, step: &[NodeStep]| {
            for (name, (.., is_there, draining, preferred)) in names.iter().zip(step) {
                let preferred = if *preferred { "yes" } else { "no" };
                if *is_there {
                    machine.set_node(Node { draining: *draining, ..node(name, &[("preferred", preferred)]) });
                } else {
                    machine.remove_node(&name.as_str().into());
                }
                drain(machine);
            }
        };
        let set_members = |machine: &mut OwnNode, step: &[NodeStep], all_know: bool| {
            let states = [NodeState::Starting, NodeState::Ready, NodeState::Draining];
            let members: Vec<Member> = names.iter().zip(step).map(|(name, (liveness, state, flaps, is_in_subnet, ..))| Member {
                liveness: Liveness::ALL[usize::from(*liveness)],
                state: states[usize::from(*state)],
                ..reporting(name, if *is_in_subnet { &["10.20.30.200"] } else { &[] }, *flaps)
            }).collect();
            let know = |member: Member| {
                let profile = member.profile.as_deref().cloned().unwrap_or_default();
                let knows = all_know || member.node.as_str() != "node-1";
                let features = if knows { Features::ELECTION_PER_ADDRESS } else { Features::NONE };
                Member { profile: Some(Arc::new(Profile { features, ..profile })), ..member }
            };
            let members: Vec<Member> = members.into_iter().map(know).collect();
            machine.set_members(&members);
            drain(machine);
        };
        let mut stepped = build();
        for (step, (nodes_first, all_know)) in &steps {
            if *nodes_first {
                set_nodes(&mut stepped, step);
            }
            set_members(&mut stepped, step, *all_know);
            set_nodes(&mut stepped, step);
        }
        let mut fresh = build();
        let (last, (_, all_know)) = steps.last().expect("a step");
        set_nodes(&mut fresh, last);
        set_members(&mut fresh, last, *all_know);
        prop_assert_eq!(roles(&stepped), roles(&fresh));
    }
}
