//! A member asks another one whether it announces an address.

use core::net::IpAddr;

use herald_core::Features;

use super::*;
use crate::codec::query::{OwnershipMessage, OwnershipQuery, OwnershipReply};
use crate::identity::Identity;

fn service(host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    IpAddr::from([192, 0, high, low])
}

impl Net {
    fn query(&mut self, from: usize, to: usize, address: IpAddr) {
        let now = self.now;
        self.node(from).membership.query(name(to), address, now);
        self.collect(from);
    }

    /// Returns how many questions `index` was asked.
    fn questions(&self, index: usize) -> usize {
        let is_question = |event: &MembershipEvent| matches!(event, MembershipEvent::Queried { .. });
        let of_index = self.events.iter().filter(|(_, asked, _)| *asked == index);
        of_index.filter(|(.., event)| is_question(event)).count()
    }

    fn answer(&mut self, from: usize, to: usize, address: IpAddr, announces: bool) {
        let now = self.now;
        self.node(from)
            .membership
            .answer(name(to), address, announces, now);
        self.collect(from);
    }

    fn handle(&mut self, index: usize, message: &OwnershipMessage, from: usize) -> Result<(), Rejection> {
        let now = self.now;
        let membership = &mut self.node(index).membership;
        let result = membership.handle_datagram(&message.emit(), address(from), now);
        self.collect(index);
        result
    }
}

fn identity(index: usize) -> Identity {
    Identity::unknown(name(index), address(index))
}

#[test]
fn a_peer_is_asked_and_its_answer_arrives_once() {
    for announces in [true, false] {
        let mut net = Net::cluster(3, 1, 0.0);
        net.query(0, 1, service(1));
        net.run_for(millis(5));
        assert_eq!((net.questions(1), net.questions(2)), (1, 0));
        for _ in 0..2 {
            net.answer(1, 0, service(1), announces);
            net.run_for(millis(5));
        }
        assert_eq!(net.answers(0), [(name(1), announces)]);
    }
}

#[test]
fn a_peer_that_is_down_and_reachable_answers() {
    let mut net = Net::cluster(3, 1, 0.0);
    net.cut = |from, to| from == 1 || to == 1;
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.view(0, 1).map(|member| member.liveness), Some(Liveness::Down));
    net.query(0, 1, service(1));
    net.run_for(millis(5));
    assert_eq!(net.questions(1), 0);
    net.cut = |_, _| false;
    net.query(0, 1, service(1));
    net.run_for(millis(1));
    net.answer(1, 0, service(1), true);
    net.run_for(millis(1));
    assert_eq!(net.answers(0), [(name(1), true)]);
}

#[test]
fn an_answer_counts_only_for_a_question_of_the_last_second() {
    let mut net = Net::cluster(2, 1, 0.0);
    let reply = |number| {
        OwnershipMessage::Reply(OwnershipReply {
            src: identity(1),
            number,
            address: service(1),
            announces: true,
        })
    };
    for number in [0, 1, u64::MAX] {
        assert_eq!(net.handle(0, &reply(number), 1), Ok(()));
    }
    net.query(0, 1, service(1));
    assert_eq!(net.handle(0, &reply(7), 1), Ok(()));
    net.run_for(Duration::from_secs(1));
    net.answer(1, 0, service(1), true);
    net.run_for(millis(5));
    assert_eq!(net.answers(0), []);
}

#[test]
fn a_version_that_cannot_answer_is_not_asked_and_does_not_answer() {
    let mut net = Net::cluster(2, 1, 0.0);
    let now = net.now;
    net.node(1)
        .membership
        .set_features(Features::ELECTION_PER_ADDRESS, now);
    net.collect(1);
    net.run_for(Duration::from_secs(1));
    net.query(0, 1, service(1));
    net.run_for(millis(5));
    net.query(1, 0, service(1));
    net.run_for(millis(5));
    assert_eq!((net.questions(1), net.questions(0)), (0, 1));
}

#[test]
fn questions_are_limited_in_both_directions_and_for_each_peer() {
    let mut net = Net::cluster(3, 1, 0.0);
    let before = net.delivered;
    for host in 0..1000 {
        net.query(0, 1, service(host));
    }
    assert_eq!(net.delivered - before, 64);
    net.run_for(millis(1));
    assert_eq!(net.questions(1), 64);
    let query = |host| {
        OwnershipMessage::Query(OwnershipQuery {
            src: identity(1),
            dst: name(0).into(),
            number: 7,
            address: service(host),
        })
    };
    let results: Vec<Result<(), Rejection>> = (0..1000).map(|host| net.handle(0, &query(host), 1)).collect();
    assert_eq!(results.iter().filter(|result| **result == Ok(())).count(), 64);
    assert_eq!(results.last(), Some(&Err(Rejection::Flood)));
    assert_eq!(net.questions(0), 64);
    net.query(2, 0, service(1));
    net.run_for(millis(1));
    assert_eq!(net.questions(0), 65);
}

#[test]
fn only_a_known_sender_at_its_own_address_is_answered() {
    let mut net = Net::cluster(2, 1, 0.0);
    let query = |src: usize, dst: usize| {
        OwnershipMessage::Query(OwnershipQuery {
            src: identity(src),
            dst: name(dst).into(),
            number: 7,
            address: service(1),
        })
    };
    assert_eq!(net.handle(0, &query(1, 0), 5), Err(Rejection::Address));
    assert_eq!(net.handle(0, &query(5, 0), 5), Ok(()));
    assert_eq!(net.handle(0, &query(1, 9), 1), Ok(()));
    assert_eq!(net.questions(0), 0);
    assert_eq!(net.handle(0, &query(1, 0), 1), Ok(()));
    assert_eq!(net.questions(0), 1);
}
