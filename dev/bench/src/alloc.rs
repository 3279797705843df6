//! Decisions of the allocator per second, beside the least work that finds a free address.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use herald_core::{AllocationOutcome, Allocator, Catalog, RawPool, Service, ServiceKey, Time};

use super::Figure;

/// Services that have an address already: 99.9 % of a /16.
const IN_USE: u32 = (1 << 16) - (1 << 16) / 1000;
/// Decisions that one sample takes, enough to outweigh the reading of the clock.
const DECISIONS: u32 = 10_000;
/// The scan is slower by orders of magnitude.
const SCANS: u32 = 100;
/// Services that come at once.
const BURST: u32 = 10_000;

/// Measures everything `runs` times, subjects in turn. In each step but the burst's a Service comes, gets the
/// lowest free address and leaves again.
pub fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let four = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
    let six = IpAddr::from(Ipv6Addr::LOCALHOST);
    for (case, pool, cluster_ip) in [
        ("/16, 99.9 % in use", "10.0.0.0/16", four),
        ("IPv6 /64", "fc00::/64", six),
    ] {
        let mut herald = allocator(pool)?;
        for number in 0..IN_USE {
            give(&mut herald, service(&format!("service-{number}"), cluster_ip))?;
        }
        let newcomer = service("newcomer", cluster_ip);
        let mut bare = FreeSet::new(IN_USE, 1 << 16);
        let used: BTreeSet<u128> = (0..u128::from(IN_USE)).collect();
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..runs {
            samples[0].push(rate(DECISIONS, || come_and_go(&mut herald, &newcomer))?);
            samples[1].push(rate(DECISIONS, || bare.come_and_go())?);
            samples[2].push(rate(SCANS, || scan(&used))?);
        }
        for (subject, samples) in ["herald", "bare", "scan"].into_iter().zip(&samples) {
            emit_rate(subject, case, samples, emit);
        }
    }
    burst(runs, four, emit)
}

/// Ten thousand Services that come at once.
fn burst(runs: usize, cluster_ip: IpAddr, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let services: Vec<Service> = (0..BURST)
        .map(|number| service(&format!("service-{number}"), cluster_ip))
        .collect();
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        let mut herald = allocator("10.0.0.0/16")?;
        let mut arriving = services.clone().into_iter();
        samples[0].push(rate(BURST, || {
            give(&mut herald, arriving.next().context("one for each step")?)
        })?);
        let mut bare = FreeSet::new(0, 1 << 16);
        samples[1].push(rate(BURST, || bare.take())?);
    }
    for (subject, samples) in ["herald", "bare"].into_iter().zip(&samples) {
        emit_rate(subject, "10000 Services at once", samples, emit);
    }
    Ok(())
}

fn emit_rate(subject: &'static str, case: &str, samples: &[f64], emit: &mut dyn FnMut(Figure)) {
    let figure = Figure::of("alloc", subject, "decisions_per_second", "1/s", samples);
    figure
        .map(|figure| figure.in_case(case))
        .into_iter()
        .for_each(emit);
}

/// Steps a second.
fn rate<T>(steps: u32, mut step: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<f64> {
    let begin = Instant::now();
    for _ in 0..steps {
        black_box(step()?);
    }
    Ok(f64::from(steps) / begin.elapsed().as_secs_f64())
}

fn allocator(addresses: &str) -> anyhow::Result<Allocator> {
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".into(),
        addresses: vec![addresses.into()],
        ..RawPool::default()
    }]);
    ensure!(catalog.problems().is_empty(), "{:?}", catalog.problems());
    let mut allocator = Allocator::new();
    allocator.set_catalog(&catalog, Time::ZERO);
    allocator.activate(Time::ZERO);
    Ok(allocator)
}

fn service(name: &str, cluster_ip: IpAddr) -> Service {
    Service {
        cluster_ips: [cluster_ip].into_iter().collect(),
        ..Service::new(ServiceKey::new("default", name))
    }
}

fn come_and_go(allocator: &mut Allocator, service: &Service) -> anyhow::Result<IpAddr> {
    let address = give(allocator, service.clone())?;
    allocator.remove_service(&service.key, Time::ZERO);
    Ok(address)
}

fn give(allocator: &mut Allocator, service: Service) -> anyhow::Result<IpAddr> {
    allocator.set_service(service, Time::ZERO);
    match allocator
        .poll_decision()
        .context("a new Service was not decided on")?
        .outcome
    {
        AllocationOutcome::Assigned(assignment) => {
            assignment.addresses.first().copied().context("no address")
        }
        AllocationOutcome::Unassigned(refusal) => bail!("no address: {refusal}"),
    }
}

/// The least work that finds the lowest free address: a sorted set of free addresses, without any rule.
struct FreeSet(BTreeSet<u32>);

impl FreeSet {
    fn new(first: u32, end: u32) -> Self {
        Self((first..end).collect())
    }

    fn take(&mut self) -> anyhow::Result<u32> {
        self.0.pop_first().context("nothing is free")
    }

    fn come_and_go(&mut self) -> anyhow::Result<u32> {
        let address = self.take()?;
        self.0.insert(address);
        Ok(address)
    }
}

/// A scan that checks for each address whether it is in use. It needs no set of free addresses, so it works for a /64.
fn scan(used: &BTreeSet<u128>) -> anyhow::Result<u128> {
    (0..)
        .find(|address| !used.contains(address))
        .context("nothing is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_finds_the_lowest_free_address() {
        let cluster_ip = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
        let mut herald = allocator("10.0.0.0/16").unwrap();
        for number in 0..3 {
            give(&mut herald, service(&number.to_string(), cluster_ip)).unwrap();
        }
        let newcomer = service("newcomer", cluster_ip);
        let third = come_and_go(&mut herald, &newcomer).unwrap();
        assert_eq!(third, IpAddr::from([10, 0, 0, 3]));
        assert_eq!(FreeSet::new(3, 10).come_and_go().unwrap(), 3);
        assert_eq!(scan(&(0..3).collect()).unwrap(), 3);
    }
}
