//! What an answer costs, by the number of addresses held, and what an announcement costs.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use herald_core::Time;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ndp::{Solicitation, solicited_node};
use herald_l2::{Announcer, Link, MacAddr};

const HELD: [u32; 3] = [1, 1_000, 10_000];
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(number))
}

fn announcer(held: u32) -> Announcer {
    let mut announcer = Announcer::new(None, 0);
    let link = Link {
        index: 2,
        name: "eth0".into(),
        mac: OWN,
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    };
    announcer.set_links(vec![link], Time::ZERO);
    for number in 0..held {
        announcer.announce(v4(number).into(), None, Time::ZERO);
        announcer.announce(v6(number).into(), None, Time::ZERO);
    }
    announcer
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
    for held in HELD {
        let mut announcer = announcer(held);
        let length = request(v4(held / 2), &mut frame);
        group.bench_function(BenchmarkId::new("arp", held), |bencher| {
            bencher.iter(|| announcer.handle_frame(2, black_box(&frame[..length]), &mut reply, Time::ZERO));
        });
        let length = solicitation(v6(held / 2), &mut frame);
        group.bench_function(BenchmarkId::new("ndp", held), |bencher| {
            bencher.iter(|| announcer.handle_frame(2, black_box(&frame[..length]), &mut reply, Time::ZERO));
        });
        let length = request(v4(held), &mut frame);
        group.bench_function(BenchmarkId::new("arp_for_another", held), |bencher| {
            bencher.iter(|| announcer.handle_frame(2, black_box(&frame[..length]), &mut reply, Time::ZERO));
        });
    }
    group.finish();
}

fn announcements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("announce");
    let mut frame = [0; MAX_FRAME_LENGTH];
    for held in HELD {
        let mut announcer = announcer(held);
        let mut now = Time::ZERO;
        let mut next = 0;
        group.bench_function(BenchmarkId::new("frame", held), |bencher| {
            bencher.iter(|| {
                // Time passes faster than the pace needs, so that there is a frame each time.
                now = now + Duration::from_millis(1);
                next = (next + 1) % held;
                announcer.reannounce(v4(next).into(), now);
                announcer.poll_transmit(&mut frame, now)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, answers, announcements);
criterion_main!(benches);
