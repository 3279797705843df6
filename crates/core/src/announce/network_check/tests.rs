//! What answers mean.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::{Liveness, NodeState};

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// Nodes `node-1` and so on, of which each has the MAC address of its number and that number plus 100.
fn members(count: u8) -> Vec<Member> {
    let member = |number: u8| Member {
        macs: Arc::new([mac(number), mac(100 + number)]),
        ..Member::new(node(number), Liveness::Alive, NodeState::Ready)
    };
    (1..=count).map(member).collect()
}

fn node(number: u8) -> NodeName {
    NodeName::new(alloc::format!("node-{number}"))
}

/// A machine that reports no node.
const FOREIGN: u8 = 77;

/// What is found by node-1 if these machines answer for an address of this kind.
fn found(kind: TargetKind, machines: &[u8]) -> Option<(NetworkFault, Vec<MacAddr>)> {
    let target = CheckTarget { address: ip(9), kind };
    let answers = BTreeMap::from([(ip(9), machines.iter().map(|number| mac(*number)).collect())]);
    let findings = judge([target].iter(), &answers, &node(1), &members(3));
    assert!(findings.len() <= 1, "{findings:?}");
    let finding = findings.into_iter().next()?;
    Some((
        finding.fault,
        finding.machines.iter().map(|(mac, _)| *mac).collect(),
    ))
}

#[test]
fn only_who_should_answer_is_no_fault() {
    use NetworkFault as Fault;
    let free = || TargetKind::Free("pool".into());
    let announced = || TargetKind::Announced(node(2));
    let of_node = || TargetKind::Node(node(2));
    type Case = (TargetKind, &'static [u8], Option<(Fault, &'static [u8])>);
    let table: Vec<Case> = vec![
        (free(), &[], None),
        (free(), &[FOREIGN], Some((Fault::FreeAddressAnswered, &[FOREIGN]))),
        (free(), &[3], Some((Fault::FreeAddressAnswered, &[3]))),
        (TargetKind::Own, &[], None),
        (TargetKind::Own, &[2], Some((Fault::OtherNodeAnswers, &[2]))),
        (
            TargetKind::Own,
            &[FOREIGN],
            Some((Fault::ForeignHostAnswers, &[FOREIGN])),
        ),
        (announced(), &[2], None),
        (announced(), &[2, 102], None),
        (announced(), &[], Some((Fault::OwnerSilent, &[]))),
        (announced(), &[3], Some((Fault::OtherNodeAnswers, &[3]))),
        (announced(), &[2, 3], Some((Fault::OtherNodeAnswers, &[3]))),
        (
            announced(),
            &[2, 3, FOREIGN],
            Some((Fault::ForeignHostAnswers, &[3, FOREIGN])),
        ),
        (of_node(), &[], None),
        (of_node(), &[2], None),
        // An interface that never announces.
        (of_node(), &[FOREIGN], None),
        (
            of_node(),
            &[2, FOREIGN],
            Some((Fault::NodeAddressTaken, &[FOREIGN])),
        ),
        (of_node(), &[3], Some((Fault::NodeAddressTaken, &[3]))),
    ];
    for (kind, machines, expected) in table {
        let expected =
            expected.map(|(fault, macs)| (fault, macs.iter().map(|number| mac(*number)).collect()));
        assert_eq!(found(kind.clone(), machines), expected, "{kind:?} {machines:?}");
    }
}

#[test]
fn a_machine_that_answers_for_most_free_addresses_of_a_pool_is_one_proxy() {
    let target = |last| CheckTarget {
        address: ip(last),
        kind: TargetKind::Free("pool".into()),
    };
    let targets: Vec<CheckTarget> = (1..=5).map(target).collect();
    let faults = |asked: u8, answers: &dyn Fn(u8) -> Vec<u8>| -> Vec<(NetworkFault, IpAddr, usize)> {
        let machines = |last| answers(last).into_iter().map(mac).collect();
        let answers = (1..=asked).map(|last| (ip(last), machines(last))).collect();
        let findings = judge(targets.iter(), &answers, &node(1), &members(3));
        let fault = |found: &NetworkFinding| (found.fault, found.address.expect("one"), found.machines.len());
        findings.iter().map(fault).collect()
    };
    let proxy = (NetworkFault::ProxyAnswers, ip(1), 1);
    assert_eq!(faults(5, &|_| vec![FOREIGN]), [proxy]);
    let host = |last| (NetworkFault::FreeAddressAnswered, ip(last), 1);
    assert_eq!(
        faults(3, &|_| vec![FOREIGN]),
        [host(1), host(2), host(3)],
        "too few"
    );
    // A host beside the proxy is found, too.
    let beside = |last| {
        if last == 2 {
            vec![FOREIGN, 78]
        } else {
            vec![FOREIGN]
        }
    };
    assert_eq!(faults(5, &beside), [host(2), proxy]);
    let but_one = |last| if last == 4 { vec![] } else { vec![FOREIGN] };
    assert_eq!(faults(5, &but_one), [proxy]);
    let three = |last| if last > 3 { vec![] } else { vec![FOREIGN] };
    assert_eq!(faults(5, &three), [host(1), host(2), host(3)]);
}

#[test]
fn an_address_that_was_not_asked_for_is_no_fault() {
    let target = CheckTarget {
        address: ip(9),
        kind: TargetKind::Announced(node(2)),
    };
    assert_eq!(
        judge([target].iter(), &BTreeMap::new(), &node(1), &members(3)),
        []
    );
}

#[test]
fn each_fault_has_a_word_of_its_own() {
    for fault in NetworkFault::ALL {
        assert_eq!(alloc::format!("{fault:?}"), fault.reason().to_string());
    }
}
