//! Cost of an answer and of an announcement by the number of active addresses.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use herald_core::Time;
use herald_core::announce::layer2::{Announcement, Command};
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ndp::{Solicitation, solicited_node};
use herald_l2::{Link, LinkIndex, MacAddr, Station};

const ACTIVE: [u32; 3] = [1, 1_000, 10_000];
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(number))
}

fn station(active: u32) -> Station {
    let mut station = Station::new(None, 0);
    let link = Link {
        index: LinkIndex(2),
        name: "eth0".into(),
        mac: OWN,
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    };
    station.set_links(vec![link], Time::ZERO);
    for number in 0..active {
        for address in [v4(number).into(), v6(number).into()] {
            let interfaces = None;
            let announcement = Announcement { address, interfaces };
            station.handle_command(Command::Announce(announcement), Time::ZERO);
        }
    }
    station
}

fn request(target_ip: Ipv4Addr, frame: &mut [u8]) -> usize {
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: ASKER,
        sender_ip: Ipv4Addr::new(192, 0, 2, 9),
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    arp.emit(MacAddr::BROADCAST, ASKER, frame)
}

fn solicitation(target: Ipv6Addr, frame: &mut [u8]) -> usize {
    let destination = solicited_node(target);
    let solicitation = Solicitation {
        source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9),
        destination,
        target,
        link_address: Some(ASKER),
    };
    solicitation.emit(MacAddr::multicast(destination), ASKER, frame)
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    let (mut frame, mut reply) = ([0; MAX_FRAME_LENGTH], [0; MAX_FRAME_LENGTH]);
    for active in ACTIVE {
        let mut station = station(active);
        let length = request(v4(active / 2), &mut frame);
        group.bench_function(BenchmarkId::new("arp", active), |bencher| {
            bencher.iter(|| {
                station.handle_frame(LinkIndex(2), black_box(&frame[..length]), &mut reply, Time::ZERO)
            });
        });
        let length = solicitation(v6(active / 2), &mut frame);
        group.bench_function(BenchmarkId::new("ndp", active), |bencher| {
            bencher.iter(|| {
                station.handle_frame(LinkIndex(2), black_box(&frame[..length]), &mut reply, Time::ZERO)
            });
        });
        let length = request(v4(active), &mut frame);
        group.bench_function(BenchmarkId::new("arp_for_another", active), |bencher| {
            bencher.iter(|| {
                station.handle_frame(LinkIndex(2), black_box(&frame[..length]), &mut reply, Time::ZERO)
            });
        });
    }
    group.finish();
}

fn announcements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("announce");
    let mut frame = [0; MAX_FRAME_LENGTH];
    for active in ACTIVE {
        let mut station = station(active);
        let mut now = Time::ZERO;
        let mut next = 0;
        group.bench_function(BenchmarkId::new("frame", active), |bencher| {
            bencher.iter(|| {
                // Time passes faster than the pace needs, so that there is a frame each time.
                now = now + Duration::from_millis(1);
                next = (next + 1) % active;
                station.handle_command(Command::Reannounce(v4(next).into()), now);
                station.poll_transmit(&mut frame, now)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, answers, announcements);
criterion_main!(benches);
