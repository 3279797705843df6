//! What the kernel of a node answers, whatever its speaker does.

use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};

use crate::catalog::{endpoint, mac};

/// The answer of node `index` to a question for its own address.
pub(crate) fn answer(index: usize, frame: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::parse(frame).ok()?;
    if frame.ether_type != EtherType::Arp {
        return None;
    }
    let question = Arp::parse(frame.payload).ok()?;
    if question.operation != Operation::Request || question.target_ip != endpoint(index).ip() {
        return None;
    }
    let answer = Arp {
        operation: Operation::Reply,
        sender_mac: mac(index),
        sender_ip: question.target_ip,
        target_mac: question.sender_mac,
        target_ip: question.sender_ip,
    };
    let mut bytes = [0; MAX_FRAME_LENGTH];
    let length = answer.emit(question.sender_mac, mac(index), &mut bytes);
    Some(bytes[..length].to_vec())
}
