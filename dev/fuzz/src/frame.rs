//! Any frame from the network.

use std::net::IpAddr;

use herald_core::Time;
use herald_l2::announcer::Announcer;
use herald_l2::wire::{MAX_FRAME_LENGTH, ethernet};
use herald_l2::{Link, MacAddr, Prefix};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The bytes are a frame that reaches a link whose announcer holds an address of each family. An answer is a whole frame
/// from our Ethernet address for an address that is held.
///
/// # Panics
/// If that is not so.
pub fn frame(bytes: &[u8]) {
    let held: [IpAddr; 2] = [
        IpAddr::from([192, 0, 2, 1]),
        IpAddr::from([0xfc00, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let mut announcer = Announcer::new(None, 1);
    let prefixes = held.map(|address| Prefix { address, length: 24 });
    let link = Link {
        index: 1,
        name: "eth0".to_owned(),
        mac: MacAddr(MAC),
        prefixes: prefixes.to_vec(),
        arp: true,
        ndp: true,
    };
    announcer.set_links(vec![link], Time::ZERO);
    for address in held {
        announcer.announce(address, None, Time::ZERO);
    }
    let mut answer = [0; MAX_FRAME_LENGTH];
    if let Ok(answered) = announcer.handle_frame(1, bytes, &mut answer, Time::ZERO) {
        assert!(held.contains(&answered.address));
        let sent = ethernet::Frame::parse(&answer[..answered.length]).expect("what we send can be read");
        assert_eq!(sent.source, MacAddr(MAC));
    }
}
