//! Any datagram of gossip.

use std::net::SocketAddr;
use std::time::Duration;

use herald_core::{NodeName, Time};
use herald_membership::Membership;
use herald_membership::Timings;
use herald_membership::codec::envelope;
use herald_membership::codec::report::Report;
use herald_membership::codec::seal::{Seal, Secret};
use herald_membership::identity::Epoch;

/// The bytes reach a speaker three times: as they are, where a key is set; as a plain datagram; and as what somebody with the
/// key has sealed. The first changes nothing, and no one makes it stumble or forget itself; a report that can be read is
/// written and read again the same.
///
/// # Panics
/// If that is not so.
pub fn gossip(bytes: &[u8]) {
    let secret = || Secret::new([7; 32]).expect("long enough");
    let mut sealed = Seal::new(vec![secret()]).expect("random bytes");
    assert!(sealed.open(bytes).is_err(), "nobody can guess a seal");
    let mut plain = Seal::new(Vec::new()).expect("nothing random is needed");
    let content = plain.open(bytes).ok();
    let mut peer = Seal::new(vec![secret()]).expect("random bytes");
    let datagram = peer.seal(bytes).expect("random bytes");
    assert_eq!(sealed.open(&datagram).as_deref(), Ok(bytes));
    assert!(sealed.open(&datagram).is_err(), "a replay");
    take_in(bytes);
    if let Some(content) = content {
        take_in(&content);
    }
}

fn take_in(content: &[u8]) {
    if let Ok(envelope) = envelope::parse(content) {
        for report in &envelope.reports {
            let again = Report::parse(&report.emit()).expect("what is written can be read");
            assert_eq!(
                (&again.node, again.started, again.version),
                (&report.node, report.started, report.version)
            );
            assert_eq!((again.state, &again.macs), (report.state, &report.macs));
            let unresponsive = |report: &Report| {
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
    let _taken = membership.handle_datagram(content, peer, Time::ZERO);
    membership.handle_timeout(Time::ZERO + Duration::from_millis(500));
    while membership.poll_transmit().is_some() {}
    assert!(membership.members().iter().any(|member| member.node == me));
}
