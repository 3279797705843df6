//! The kernel of a node, which answers for the node's own address, whatever the speaker does.

use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};

use crate::catalog::{endpoint, mac};

/// Returns the answer of node `index` to an ARP request for its own address.
pub(crate) fn answer(index: usize, frame: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::parse(frame).ok()?;
    if frame.ether_type != EtherType::Arp {
        return None;
    }
    let request = Arp::parse(frame.payload).ok()?;
    if request.operation != Operation::Request || request.target_ip != endpoint(index).ip() {
        return None;
    }
    let answer = Arp {
        operation: Operation::Reply,
        sender_mac: mac(index),
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
    };
    let mut bytes = [0; MAX_FRAME_LENGTH];
    let length = answer.emit(request.sender_mac, mac(index), &mut bytes);
    Some(bytes[..length].to_vec())
}
