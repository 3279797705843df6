//! One election for all Services on an address.

use super::*;

const NODES: [&str; 4] = ["node-0", "node-1", "node-2", "node-3"];
const V4: [[u8; 4]; 2] = [[10, 20, 30, 1], [10, 20, 30, 2]];

fn v6() -> IpAddr {
    "fc00::1".parse().unwrap()
}

/// A Service with policy Local, its age, its addresses, and the nodes with an endpoint.
fn local(name: &str, created: i64, addresses: &[IpAddr], nodes: &[&str]) -> (Exposure, Endpoints) {
    let exposure = Exposure {
        key: ServiceKey::new("default", name),
        created,
        addresses: addresses.to_vec(),
        ..web(TrafficPolicy::Local)
    };
    (exposure, endpoints(nodes))
}

/// Returns the owners by address as each node decides, with the Services that it announces.
fn owners(services: &[(Exposure, Endpoints)]) -> Vec<(IpAddr, &'static str, Vec<String>)> {
    let mut owners = Vec::new();
    for name in NODES {
        let machine = decided(name, services);
        for (address, decided) in &machine.ownership.decided {
            let owned = decided
                .roles
                .iter()
                .filter(|(_, role)| matches!(role, Role::Owner(_)));
            let services: Vec<String> = owned.map(|(key, _)| key.name.to_string()).collect();
            if !services.is_empty() {
                owners.push((*address, name, services));
            }
        }
    }
    owners.sort();
    owners
}

fn decided(name: &str, services: &[(Exposure, Endpoints)]) -> OwnNode {
    let machine = OwnNode::new(name.into(), false, false);
    let mut machine = iris_with(machine, vec![everywhere()], TrafficPolicy::Cluster);
    machine.remove_service(&key());
    for name in [IRIS1, IRIS2] {
        machine.remove_node(&name.into());
    }
    for name in NODES {
        machine.set_node(node(name, &[]));
    }
    for (service, endpoints) in services {
        machine.set_service(service.clone());
        machine.set_endpoints(service.key.clone(), Some(endpoints.clone()));
    }
    drain(&mut machine);
    machine
}

fn reason(services: &[(Exposure, Endpoints)], name: &str, address: IpAddr) -> Exclusion {
    let machine = decided("node-0", services);
    match machine.role(&ServiceKey::new("default", name), address) {
        Some(Role::Unowned(exclusion)) => exclusion.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_all_sharers_may_use_owns_the_address() {
    // Neither node-1 nor node-3 may announce it for both.
    let services = [
        local("old", 1, &[address()], &["node-1", "node-2"]),
        local("young", 2, &[address()], &["node-2", "node-3"]),
    ];
    let both = vec!["old".to_string(), "young".to_string()];
    assert_eq!(owners(&services), [(address(), "node-2", both)]);
    let machine = decided("node-0", &services);
    let explained = machine.explain(&services[0].0.key, address()).expect("nodes");
    let expected = [
        ("node-0", Err(Exclusion::NoLocalEndpoint)),
        ("node-1", Err(Exclusion::ExcludedBySharer)),
        ("node-2", Ok(0)),
        ("node-3", Err(Exclusion::NoLocalEndpoint)),
    ];
    let explained = explained.into_iter().map(|(node, score)| (node.as_str(), score));
    assert_eq!(explained.collect::<Vec<_>>(), expected);
}

#[test]
fn without_a_common_node_the_oldest_sharer_is_served_and_the_others_have_the_reason() {
    // The backends are written by hand, or one of the Services publishes addresses that are not ready.
    let services = [
        local("young", 2, &[address()], &["node-1"]),
        local("old", 1, &[address()], &["node-2"]),
    ];
    assert_eq!(
        owners(&services),
        [(address(), "node-2", vec!["old".to_string()])]
    );
    assert_eq!(reason(&services, "young", address()), Exclusion::NoCommonNode);
    let machine = decided("node-1", &services);
    let explained = machine.explain(&services[0].0.key, address()).expect("nodes");
    assert_eq!(explained[&NodeName::from("node-1")], Err(Exclusion::NoCommonNode));
}

#[test]
fn a_sharer_without_a_common_node_does_not_keep_the_older_ones_apart() {
    let services = [
        local("a", 1, &[address()], &["node-0", "node-1"]),
        local("b", 2, &[address()], &["node-1"]),
        local("c", 3, &[address()], &["node-3"]),
    ];
    let served = vec!["a".to_string(), "b".to_string()];
    assert_eq!(owners(&services), [(address(), "node-1", served)]);
    assert_eq!(reason(&services, "c", address()), Exclusion::NoCommonNode);
}

#[test]
fn a_sharer_without_a_candidate_does_not_count_but_the_oldest_keeps_the_key() {
    let v4 = V4.map(IpAddr::from);
    let alone = owners(&[local("old", 1, &[v4[1], v6()], &NODES)]);
    let idle = |addresses: &[IpAddr]| local("old", 1, addresses, &[]);
    let young = local("young", 2, &[v6()], &NODES);
    let (_, owner, _) = &alone[1];
    // The key of the IPv6 address is the first address of the Service without endpoints.
    let expected = (v6(), *owner, vec!["young".to_string()]);
    assert_eq!(owners(&[idle(&[v4[1], v6()]), young.clone()]), [expected]);
    let gone = local("old", 1, &[v4[1], v6()], &["elsewhere"]);
    assert_eq!(reason(&[gone, young], "old", v6()), Exclusion::NoCandidate);
}

#[test]
fn a_younger_sharer_moves_neither_address_of_a_dual_stack_service() {
    for last in 0..50 {
        let addresses = [IpAddr::from([10, 20, 30, last]), v6()];
        let both = local("both", 1, &addresses, &NODES);
        let alone = owners(core::slice::from_ref(&both));
        assert_eq!(alone[0].1, alone[1].1, "one node has both addresses");
        let shared = owners(&[local("single", 2, &[v6()], &NODES), both]);
        let nodes = |owners: &[(IpAddr, &'static str, Vec<String>)]| {
            owners
                .iter()
                .map(|(address, node, _)| (*address, *node))
                .collect::<Vec<_>>()
        };
        assert_eq!(nodes(&shared), nodes(&alone));
    }
}

#[test]
fn a_node_with_a_ready_endpoint_comes_before_nodes_whose_endpoints_all_terminate() {
    for ready in ["node-1", "node-2"] {
        let (service, mut endpoints) = local("web", 1, &[address()], &["node-1", "node-2"]);
        let all = endpoints.nodes.clone();
        endpoints.terminating = all
            .iter()
            .filter(|node| node.as_str() != ready)
            .cloned()
            .collect();
        let services = [(service.clone(), endpoints.clone())];
        assert_eq!(owners(&services), [(address(), ready, vec!["web".to_string()])]);
        let machine = decided("node-0", &services);
        let explained = machine.explain(&service.key, address()).expect("nodes");
        let other = all.iter().find(|node| node.as_str() != ready).expect("the other");
        assert_eq!(explained[other], Err(Exclusion::OnlyTerminatingEndpoints));
        // They are the last resort.
        endpoints.terminating = all;
        assert_eq!(owners(&[(service, endpoints)]).len(), 1);
    }
}

/// A Service: age, number of its addresses (of which the last may be the IPv6 one), policy, and the nodes with an endpoint, of
/// which some terminate.
type AnyService = (u8, u8, bool, u8, u8);

fn any_service() -> impl Strategy<Value = AnyService> {
    (0_u8..4, 0_u8..6, any::<bool>(), 0_u8..16, 0_u8..16)
}

fn build(services: &[AnyService]) -> Vec<(Exposure, Endpoints)> {
    let [a, b] = V4.map(IpAddr::from);
    let addresses = [
        vec![a],
        vec![b],
        vec![v6()],
        vec![a, v6()],
        vec![b, v6()],
        vec![v6(), a],
    ];
    let nodes = |bits: u8| -> Vec<&str> {
        let nodes = NODES.iter().enumerate();
        nodes
            .filter(|(i, _)| bits & (1 << i) != 0)
            .map(|(_, node)| *node)
            .collect()
    };
    let build = |(i, (created, which, is_local, with, stopping)): (usize, &AnyService)| {
        let addresses = &addresses[usize::from(*which)];
        let (mut service, mut endpoints) =
            local(&format!("s{i}"), i64::from(*created), addresses, &nodes(*with));
        if !is_local {
            service.traffic_policy = TrafficPolicy::Cluster;
        }
        endpoints.terminating = super::endpoints(&nodes(*with & *stopping)).nodes;
        (service, endpoints)
    };
    services.iter().enumerate().map(build).collect()
}

proptest! {
    #[test]
    fn an_address_has_one_owner_if_a_service_has_a_candidate_and_never_two(
        services in prop::collection::vec(any_service(), 1..6),
    ) {
        let services = build(&services);
        let owners = owners(&services);
        let owned: BTreeSet<IpAddr> = owners.iter().map(|(address, ..)| *address).collect();
        prop_assert_eq!(owned.len(), owners.len(), "{:?}", &owners);
        // Without gossip each node with an endpoint is a candidate, and for policy Cluster all nodes are.
        let with_candidate = services.iter().filter(|(_, endpoints)| endpoints.any);
        let expected: BTreeSet<IpAddr> = with_candidate.flat_map(|(service, _)| service.addresses.clone()).collect();
        prop_assert_eq!(owned, expected);
        // A Service that is announced is announced where it has an endpoint.
        for (_, owner, served) in &owners {
            for (service, endpoints) in services.iter().filter(|(service, _)| served.contains(&service.key.name.to_string())) {
                let is_cluster = service.traffic_policy == TrafficPolicy::Cluster;
                prop_assert!(is_cluster || endpoints.nodes.contains(&NodeName::from(*owner)));
            }
        }
    }

    #[test]
    fn all_nodes_agree_on_the_owner_and_the_reasons(services in prop::collection::vec(any_service(), 1..6)) {
        let services = build(&services);
        let machines: Vec<OwnNode> = NODES.iter().map(|name| decided(name, &services)).collect();
        for (service, _) in &services {
            for address in &service.addresses {
                let seen = machines.iter().map(|machine| match machine.role(&service.key, *address) {
                    Some(Role::Owner(_)) => Ok(machine.name().to_string()),
                    Some(Role::Unowned(exclusion)) => Err(exclusion.clone()),
                    Some(other) => Ok(other.owner().expect("an owner").to_string()),
                    None => panic!("no role"),
                });
                let seen: Vec<Result<String, Exclusion>> = seen.collect();
                prop_assert!(seen.iter().all(|one| *one == seen[0]), "{:?}", seen);
            }
        }
    }
}
