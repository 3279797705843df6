//! Elections by the profiles of nodes: subnets, interfaces and flaps.

use super::*;

#[test]
fn a_node_outside_the_subnet_is_no_candidate_while_others_are_inside() {
    const INSIDE: &[&str] = &["10.20.30.200"];
    const OUTSIDE: &[&str] = &["192.0.2.1"];
    let mut machine = gossiping(IRIS1);
    machine.set_members(&[reporting(IRIS1, INSIDE, 0), reporting(IRIS2, INSIDE, 0)]);
    assert_eq!(drain(&mut machine)[0].after, Some(backup_of(IRIS2)));
    machine.set_members(&[reporting(IRIS1, INSIDE, 0), reporting(IRIS2, OUTSIDE, 0)]);
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
    let candidates = machine.explain(&key(), address()).expect("candidates");
    assert_eq!(candidates[&NodeName::from(IRIS2)], Err(Exclusion::NotInSubnet));
    // If no node is in the subnet, as for routed addresses, all nodes are equally fit.
    machine.set_members(&[reporting(IRIS1, OUTSIDE, 0), reporting(IRIS2, OUTSIDE, 0)]);
    assert_eq!(drain(&mut machine)[0].after, Some(backup_of(IRIS2)));
    // While a node reports no profile, subnets do not count: that node could not come to the same result.
    machine.set_members(&[reporting(IRIS1, INSIDE, 0), ready(IRIS2)]);
    assert_eq!(drain(&mut machine), []);
}

/// A speaker with the interface eth9, which the advertisement names.
fn with_selected_interface(me: &str) -> OwnNode {
    let eth9 = RawL2Advertisement {
        interfaces: vec!["eth9".into()],
        ..everywhere()
    };
    let machine = OwnNode::new(me.into(), true, false);
    let mut machine = iris_with(machine, vec![eth9], TrafficPolicy::Cluster);
    machine.set_interfaces(&["eth0", "eth9"], &[]);
    machine
}

fn profile(member: &mut Member) -> &mut Profile {
    Arc::make_mut(member.profile.as_mut().expect("a profile"))
}

fn having(name: &str, interfaces: Option<&[&str]>) -> Member {
    // Regardless of its subnets: an interface that is not selected does not answer.
    let subnets: &[&str] = if name == IRIS1 { &[] } else { &["10.20.30.200"] };
    let mut member = reporting(name, subnets, 0);
    let tags = interfaces.map(|names| names.iter().map(|name| tag(name)).collect());
    profile(&mut member).interfaces = tags;
    member
}

/// Returns the peer that owns the address now.
fn other_owner(machine: &mut OwnNode) -> Option<NodeName> {
    let after = drain(machine)[0].after.clone();
    after.as_ref().and_then(Role::owner).cloned()
}

const NINE: Option<&[&str]> = Some(&["eth9"]);

#[test]
fn a_node_without_the_interface_is_no_candidate_while_others_have_it() {
    let mut machine = with_selected_interface(IRIS1);
    machine.set_members(&[having(IRIS1, NINE), having(IRIS2, Some(&["eth0"]))]);
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
    let candidates = machine.explain(&key(), address()).expect("candidates");
    let missing = Exclusion::NoInterface(["eth9".into()].into());
    assert_eq!(candidates[&NodeName::from(IRIS2)], Err(missing));
    // More interfaces than a profile holds count as all interfaces.
    machine.set_members(&[having(IRIS1, NINE), having(IRIS2, None)]);
    assert_eq!(other_owner(&mut machine), Some(IRIS2.into()));
}

#[test]
fn a_node_that_loses_the_interface_stops_owning_before_gossip_reports_it() {
    let mut machine = with_selected_interface(IRIS2);
    let mut one = having(IRIS1, NINE);
    profile(&mut one).subnets = having(IRIS2, NINE).profile.expect("a profile").subnets.clone();
    machine.set_members(&[one.clone(), having(IRIS2, NINE)]);
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
    machine.set_interfaces(&["eth0"], &[]);
    assert_eq!(other_owner(&mut machine), Some(IRIS1.into()));
    // If no node has it, the elected node reports that.
    profile(&mut one).interfaces = Some(vec![]);
    machine.set_members(&[one, having(IRIS2, NINE)]);
    let missing = Exclusion::NoInterface(["eth9".into()].into());
    assert_eq!(drain(&mut machine)[0].after, Some(Role::Unowned(missing)));
}

#[test]
fn a_flapping_node_ranks_last_and_is_no_backup_but_the_only_node_is_the_owner() {
    let mut machine = gossiping(IRIS1);
    machine.set_members(&[reporting(IRIS1, &[], 0), reporting(IRIS2, &[], 1)]);
    assert_eq!(drain(&mut machine)[0].after, Some(backup_of(IRIS2)));
    machine.set_members(&[reporting(IRIS1, &[], 0), reporting(IRIS2, &[], 2)]);
    assert!(matches!(drain(&mut machine)[0].after, Some(Role::Owner(_))));
    let mut other = gossiping(IRIS2);
    other.set_members(&[reporting(IRIS1, &[], 0), reporting(IRIS2, &[], 2)]);
    let standby = Role::Standby {
        owner: IRIS1.into(),
        backup: None,
    };
    assert_eq!(drain(&mut other)[0].after, Some(standby));
    let gone = Member {
        liveness: Liveness::Down,
        ..reporting(IRIS1, &[], 0)
    };
    other.set_members(&[gone, reporting(IRIS2, &[], 2)]);
    assert!(matches!(drain(&mut other)[0].after, Some(Role::Owner(_))));
}
