//! Cost of a question of the prober and of a received frame, by the number of probed addresses.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use herald_core::Time;
use herald_l2::prober::ProbeTiming;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::{Link, LinkIndex, MacAddr, Prober, ReceivedFrame};

/// So many that one of them is always due.
const PROBED: [u32; 3] = [100, 1_000, 10_000];
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn prober(probed: u32) -> Prober {
    let mut prober = Prober::new(ProbeTiming::default());
    let link = Link {
        index: LinkIndex(2),
        name: "eth0".into(),
        mac: OWN,
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    };
    prober.set_links(vec![link], Time::ZERO);
    for number in 0..probed {
        prober.probe(address(number).into(), None, Time::ZERO);
    }
    prober
}

fn questions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("probe");
    let mut frame = [0; MAX_FRAME_LENGTH];
    for probed in PROBED {
        let mut prober = prober(probed);
        let mut now = Time::ZERO;
        group.bench_function(BenchmarkId::new("frame", probed), |bencher| {
            bencher.iter(|| {
                // Time passes faster than the pace needs, so that there is a frame each time. A probe that has ended starts again.
                now = now + Duration::from_millis(1);
                while let Some((address, _)) = prober.poll_result(now) {
                    prober.probe(address, None, now);
                }
                prober.poll_transmit(&mut frame, now)
            });
        });
    }
    group.finish();
}

fn received(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    let mut frame = [0; MAX_FRAME_LENGTH];
    let unrelated = Arp {
        operation: Operation::Request,
        sender_mac: OTHER,
        sender_ip: Ipv4Addr::new(192, 0, 2, 9),
        target_mac: MacAddr::ZERO,
        target_ip: Ipv4Addr::new(192, 0, 2, 1),
    };
    let length = unrelated.emit(MacAddr::BROADCAST, OTHER, &mut frame);
    for probed in [0].into_iter().chain(PROBED) {
        let mut prober = prober(probed);
        group.bench_function(BenchmarkId::new("arp_of_others", probed), |bencher| {
            bencher.iter(|| {
                let frame = black_box(&frame[..length]);
                prober.handle_arrival(LinkIndex(2), frame, Time::ZERO);
                if let Ok(received) = ReceivedFrame::parse(frame) {
                    prober.handle_received(LinkIndex(2), &received);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, questions, received);
criterion_main!(benches);
