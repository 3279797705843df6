//! Any frame from the network.

use std::net::IpAddr;

use herald_core::Time;
use herald_core::announce::layer2::{Announcement, Command};
use herald_l2::wire::{MAX_FRAME_LENGTH, ethernet};
use herald_l2::{Link, LinkIndex, MacAddr, Prefix, Station};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Handles the bytes as a frame that arrives at a station with an active address of each family. Checks that an answer
/// is a whole frame from the station's MAC address for an active address.
///
/// # Panics
/// If a check fails.
pub fn frame(bytes: &[u8]) {
    let active: [IpAddr; 2] = [
        IpAddr::from([192, 0, 2, 1]),
        IpAddr::from([0xfc00, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let mut station = Station::new(None, 1);
    let prefixes = active.map(|address| Prefix { address, length: 24 });
    let link = Link {
        index: LinkIndex(1),
        name: "eth0".to_owned(),
        mac: MacAddr(MAC),
        prefixes: prefixes.to_vec(),
        arp: true,
        ndp: true,
    };
    station.set_links(vec![link], Time::ZERO);
    for address in active {
        let interfaces = None;
        let announcement = Announcement { address, interfaces };
        station.handle_command(Command::Announce(announcement), Time::ZERO);
    }
    let mut answer = [0; MAX_FRAME_LENGTH];
    if let Ok(answered) = station.handle_frame(LinkIndex(1), bytes, &mut answer, Time::ZERO) {
        assert!(active.contains(&answered.address));
        let sent = ethernet::Frame::parse(&answer[..answered.length]).expect("what we send can be read");
        assert_eq!(sent.source, MacAddr(MAC));
    }
}
