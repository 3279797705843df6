//! Any sequence of commands, frames and pauses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use herald_core::Time;
use herald_core::announce::layer2::{Announcement, Command, WireEvent};
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ndp::{ALL_NODES, Advertisement, Solicitation, solicited_node};
use herald_l2::wire::{MAX_FRAME_LENGTH, ethernet};
use herald_l2::{Link, LinkIndex, MacAddr, Prefix, Purpose, Station};

const ADDRESSES: [IpAddr; 4] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 1)),
    // Of the same group as the other.
    IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0x100, 1)),
];

/// Runs the bytes as a series of commands, frames and pauses for a station on three links. Checks that
/// * each frame that is sent is about an address that is active or probed on that link;
/// * nothing is due any more after all outputs were polled;
/// * a received frame only concerns addresses that [`Station::addresses_on`] names.
///
/// # Panics
/// If a check fails.
pub fn announcer(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut scene = Scene::new();
    while let Some(command) = bytes.next() {
        scene.step(command, &mut bytes);
        scene.drain();
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pick(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn address(&mut self) -> IpAddr {
        ADDRESSES[usize::from(self.pick()) % ADDRESSES.len()]
    }

    fn announcement(&mut self) -> Announcement {
        let address = self.address();
        let interfaces = interfaces(self.pick());
        Announcement { address, interfaces }
    }

    /// Of a foreign host, of one of our links, or of no station.
    fn mac(&mut self) -> MacAddr {
        match self.pick() % 4 {
            0 => MacAddr::BROADCAST,
            1 => MacAddr([2, 0, 0, 0, 0, 9]),
            2 => MacAddr::multicast(ALL_NODES),
            _ => mac(1, 0),
        }
    }

    fn frame(&mut self) -> Vec<u8> {
        let mut frame = vec![0; MAX_FRAME_LENGTH];
        let (source, destination) = (self.mac(), self.mac());
        let length = match (self.pick(), self.address(), self.address()) {
            (kind, IpAddr::V4(target), sender) => {
                let arp = Arp {
                    operation: if kind.is_multiple_of(2) {
                        Operation::Request
                    } else {
                        Operation::Reply
                    },
                    sender_mac: source,
                    sender_ip: if let IpAddr::V4(sender) = sender {
                        sender
                    } else {
                        [0; 4].into()
                    },
                    target_mac: MacAddr::ZERO,
                    target_ip: target,
                };
                arp.emit(destination, source, &mut frame)
            }
            (kind, IpAddr::V6(target), sender) if kind.is_multiple_of(2) => {
                let asker = if let IpAddr::V6(sender) = sender {
                    sender
                } else {
                    Ipv6Addr::UNSPECIFIED
                };
                let solicitation = Solicitation {
                    source: asker,
                    destination: solicited_node(target),
                    target,
                    link_address: (!asker.is_unspecified()).then_some(source),
                };
                solicitation.emit(destination, source, &mut frame)
            }
            (kind, IpAddr::V6(target), _) => {
                let advertisement = Advertisement {
                    source: target,
                    destination: ALL_NODES,
                    router: false,
                    solicited: false,
                    overriding: true,
                    target,
                    link_address: (kind > 100).then_some(source),
                };
                advertisement.emit(destination, source, &mut frame)
            }
        };
        frame.truncate(length);
        frame
    }
}

const fn mac(link: u32, generation: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, generation % 2, 0x10 + link as u8])
}

struct Scene {
    station: Station,
    links: BTreeMap<LinkIndex, Link>,
    groups: BTreeSet<(LinkIndex, Ipv6Addr)>,
    now: Time,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            station: Station::new(Some(Duration::from_secs(60)), 1),
            links: BTreeMap::new(),
            groups: BTreeSet::new(),
            now: Time::ZERO,
        };
        scene.set_links(0b111, 0);
        scene
    }

    fn step(&mut self, command: u8, bytes: &mut Bytes<'_>) {
        let now = self.now;
        let command = match command % 11 {
            0 => return self.set_links(bytes.pick(), bytes.pick()),
            1 => Command::Announce(bytes.announcement()),
            2 => Command::Withdraw(bytes.address()),
            3 => Command::Defend(bytes.address()),
            4 => Command::Reannounce(bytes.address()),
            5 => Command::Probe(bytes.announcement()),
            6 => Command::CancelProbe(bytes.address()),
            7 => {
                let pause = u64::from(bytes.pick()).pow(2);
                self.now = now + Duration::from_millis(pause);
                return;
            }
            8 => {
                let link = LinkIndex(u32::from(bytes.pick() % 4));
                let frame = bytes.frame();
                return self.receive(link, &frame);
            }
            9 => Command::DefendAgainstForged(bytes.address()),
            10 => Command::DefendAtOnce(bytes.address()),
            _ => {
                let (link, length) = (LinkIndex(u32::from(bytes.pick() % 4)), usize::from(bytes.pick()));
                let (frame, rest) = bytes.0.split_at(length.min(bytes.0.len()));
                bytes.0 = rest;
                return self.receive(link, frame);
            }
        };
        self.station.handle_command(command, now);
    }

    fn set_links(&mut self, present: u8, generation: u8) {
        let links = (1..=3).filter(|index| present & (1 << (index - 1)) != 0);
        self.links = links
            .map(|index| (LinkIndex(index), link(index, generation)))
            .collect();
        let links: Vec<Link> = self.links.values().cloned().collect();
        self.station.set_links(links, self.now);
    }

    fn is_active_on(&self, address: IpAddr, link: LinkIndex) -> bool {
        let links = self.station.links_of(address);
        links.is_some_and(|links| links.contains(&link))
    }

    fn is_probed_on(&self, address: IpAddr, link: LinkIndex) -> bool {
        let named = self.station.addresses_on(link).filter(|on| *on == address);
        named.count() > usize::from(self.is_active_on(address, link))
    }

    fn probed_on(&self, link: LinkIndex) -> impl Iterator<Item = IpAddr> {
        ADDRESSES
            .into_iter()
            .filter(move |address| self.is_probed_on(*address, link))
    }

    fn receive(&mut self, link: LinkIndex, frame: &[u8]) {
        let mattering: BTreeSet<IpAddr> = self.station.addresses_on(link).collect();
        let probed: Vec<IpAddr> = self.probed_on(link).collect();
        let mut answer = [0; MAX_FRAME_LENGTH];
        if let Ok(answered) = self.station.handle_frame(link, frame, &mut answer, self.now) {
            assert!(mattering.contains(&answered.address));
            assert!(self.is_active_on(answered.address, link));
            self.check_sent(link, answered.address, &answer[..answered.length]);
        }
        let ended = probed
            .into_iter()
            .filter(|probed| !self.is_probed_on(*probed, link));
        assert!(ended.count() <= 1, "a frame answers one probe");
        let (mut results, mut claims) = (0, 0);
        while let Some(event) = self.station.poll_event(self.now) {
            match event {
                WireEvent::Probed(address, _) => {
                    assert!(mattering.contains(&address));
                    results += 1;
                }
                WireEvent::Claimed(address, mac) => {
                    assert!(mattering.contains(&address) && self.is_active_on(address, link));
                    assert!(self.links.values().all(|link| link.mac != mac));
                    claims += 1;
                }
                WireEvent::Announced(_) => {}
            }
        }
        assert!(results <= 1 && claims <= 1, "a frame is one claim");
    }

    /// Everything that is due leaves, and nothing is due then.
    fn drain(&mut self) {
        let mut frame = [0; MAX_FRAME_LENGTH];
        while let Some(sent) = self.station.poll_transmit(&mut frame, self.now) {
            assert!(match sent.purpose {
                Purpose::Question => self.is_probed_on(sent.address, sent.link),
                Purpose::Announcement => self.is_active_on(sent.address, sent.link),
            });
            self.check_sent(sent.link, sent.address, &frame[..sent.length]);
        }
        while let Some(event) = self.station.poll_event(self.now) {
            match event {
                WireEvent::Probed(address, _) => {
                    assert!((1..=3).all(|link| !self.is_probed_on(address, LinkIndex(link))));
                }
                WireEvent::Announced(_) => {}
                WireEvent::Claimed(..) => panic!("{event:?} without a frame"),
            }
        }
        assert!(self.station.poll_timeout().is_none_or(|due| due > self.now));
        self.change_groups();
    }

    fn check_sent(&self, link: LinkIndex, address: IpAddr, frame: &[u8]) {
        let link = &self.links[&link];
        let sent = ethernet::Frame::parse(frame).expect("what we send can be read");
        assert_eq!(sent.source, link.mac);
        assert!(link.resolves(address));
    }

    /// Groups are joined for exactly the active addresses.
    fn change_groups(&mut self) {
        while let Some(change) = self.station.poll_group() {
            let place = (change.link, change.group);
            let changed = if change.member {
                self.groups.insert(place)
            } else {
                self.groups.remove(&place)
            };
            assert!(changed, "{change:?}");
        }
        let wanted = self.links.keys().flat_map(|link| {
            let active = ADDRESSES
                .into_iter()
                .filter(|address| self.is_active_on(*address, *link));
            active.filter_map(|address| {
                if let IpAddr::V6(v6) = address {
                    Some((*link, solicited_node(v6)))
                } else {
                    None
                }
            })
        });
        assert_eq!(self.groups, wanted.collect());
    }
}

fn interfaces(mask: u8) -> Option<BTreeSet<String>> {
    let named = (1..=3).filter(|index| mask & (1 << index) != 0);
    (mask % 2 == 1).then(|| named.map(|index| format!("eth{index}")).collect())
}

fn link(index: u32, generation: u8) -> Link {
    let prefix = |number: usize| Prefix {
        address: ADDRESSES[number],
        length: 24,
    };
    Link {
        index: LinkIndex(index),
        name: format!("eth{index}"),
        mac: mac(index, generation),
        prefixes: if index == 3 {
            Vec::new()
        } else {
            vec![prefix(index as usize - 1), prefix(2)]
        },
        arp: index != 3 || !generation.is_multiple_of(3),
        ndp: index != 2,
    }
}
