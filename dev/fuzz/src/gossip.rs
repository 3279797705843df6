//! Any datagram of gossip.

use std::net::SocketAddr;
use std::time::Duration;

use herald_core::{NodeName, Time};
use herald_membership::codec::envelope;
use herald_membership::codec::report::SelfReport;
use herald_membership::codec::seal::{Seal, Secret};
use herald_membership::identity::Epoch;
use herald_membership::{Membership, Timings};

/// Gives the bytes to a speaker three times: as they are, where a key is set; as a plain datagram; and sealed by a sender with
/// the key. The first is refused, and after each the member still lists itself; a report that parses is emitted and parsed to
/// the same.
///
/// # Panics
/// If one of these does not hold.
pub fn gossip(bytes: &[u8]) {
    let secret = || Secret::new([7; 32]).expect("long enough");
    let mut sealed = Seal::new(vec![secret()], [1; 8]);
    assert!(sealed.open(bytes).is_err(), "a seal cannot be guessed");
    let mut plain = Seal::new(Vec::new(), [2; 8]);
    let content = plain.open(bytes).ok();
    let mut peer = Seal::new(vec![secret()], [3; 8]);
    let datagram = peer.seal(bytes, [4; 12]);
    assert_eq!(sealed.open(&datagram).as_deref(), Ok(bytes));
    assert!(sealed.open(&datagram).is_err(), "a replay");
    handle_content(bytes);
    if let Some(content) = content {
        handle_content(&content);
    }
}

fn handle_content(content: &[u8]) {
    if let Ok(envelope) = envelope::parse(content) {
        for report in &envelope.reports {
            let again = SelfReport::parse(&report.emit()).expect("an emitted report parses");
            assert_eq!(
                (&again.node, again.started, again.version),
                (&report.node, report.started, report.version)
            );
            assert_eq!((again.state, &again.macs), (report.state, &report.macs));
            let unresponsive = |report: &SelfReport| {
                report
                    .profile
                    .as_ref()
                    .map(|profile| profile.unresponsive.clone())
            };
            assert_eq!(unresponsive(&again), unresponsive(report));
        }
    }
    let (own, peer) = (
        SocketAddr::from(([10, 0, 0, 1], 7946)),
        SocketAddr::from(([10, 0, 0, 2], 7946)),
    );
    let me = NodeName::from("me");
    let mut membership = Membership::new(me.clone(), own, Epoch::first_of(7), Timings::FAST, 1);
    membership.set_expected_peers([(NodeName::from("peer"), peer)].into(), Time::ZERO);
    let _result = membership.handle_datagram(content, peer, Time::ZERO);
    membership.handle_timeout(Time::ZERO + Duration::from_millis(500));
    while membership.poll_transmit().is_some() {}
    assert!(membership.members().iter().any(|member| member.node == me));
}
