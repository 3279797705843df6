//! Candidates with clocks of their own before one API server that is slow, loses requests and answers, and whose watch
//! lags; candidates that are paused and resume.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

/// Resolution of the simulated time.
const STEP: Duration = Duration::from_millis(50);

/// All versions of the Lease, the current one last.
struct Server {
    history: Vec<Option<LeaseRecord>>,
}

impl Server {
    fn current(&self) -> Option<&LeaseRecord> {
        self.history.last()?.as_ref()
    }

    /// Optimistic concurrency, as the API server does it.
    fn write(&mut self, wanted: &Attempt) -> AttemptResult {
        if self.current().map(|record| &record.version) != wanted.version.as_ref() {
            return AttemptResult::Outdated(self.current().cloned());
        }
        let record = LeaseRecord {
            spec: wanted.spec.clone(),
            version: (self.history.len() + 1).to_string(),
        };
        self.history.push(Some(record.clone()));
        AttemptResult::Written(record)
    }
}

struct Node {
    candidate: LeaseCandidate,
    /// The clock at the start, and its speed in thousandths.
    epoch: Duration,
    rate: u32,
    paused_until: Duration,
    /// How much of the history it has seen.
    seen: usize,
    /// When the request in flight reaches the server, and when the answer arrives.
    request: Option<(Duration, Attempt)>,
    answer: Option<(Duration, AttemptResult)>,
}

impl Node {
    fn clock(&self, now: Duration) -> Duration {
        self.epoch + now * self.rate / 1000
    }

    /// Whether this node would send a write.
    fn may_write(&self, now: Duration) -> bool {
        let until = self.candidate.held_until();
        until.is_some_and(|until| self.clock(now) < until)
    }
}

/// The randomness of a run: a linear congruential generator, so that a seed reproduces the run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn steps(&mut self, most: u64) -> Duration {
        STEP * u32::try_from(self.roll(most)).unwrap()
    }
}

struct Sim {
    dice: Dice,
    server: Server,
    nodes: Vec<Node>,
    now: Duration,
    is_calm: bool,
}

impl Sim {
    fn new(seed: u64, nodes: usize) -> Self {
        let mut dice = Dice(seed);
        let nodes = (0..nodes).map(|index| Node {
            candidate: candidate(&format!("node-{index}")),
            epoch: at(dice.roll(100_000)),
            // Clocks of computers differ by far less than a hundredth.
            rate: u32::try_from(990 + dice.roll(21)).unwrap(),
            paused_until: Duration::ZERO,
            seen: 0,
            request: None,
            answer: None,
        });
        Self {
            nodes: nodes.collect(),
            dice,
            server: Server { history: vec![None] },
            now: Duration::ZERO,
            is_calm: false,
        }
    }

    fn run(&mut self, until: Duration) {
        while self.now < until {
            self.now += STEP;
            for node in &mut self.nodes {
                advance(node, &mut self.server, &mut self.dice, self.now, self.is_calm);
            }
            let holders = self.nodes.iter().filter(|node| node.may_write(self.now)).count();
            assert!(holders <= 1, "{holders} hold the lease at {:?}", self.now);
        }
    }

    fn holder(&self) -> Option<&str> {
        let holder = self.nodes.iter().find(|node| node.may_write(self.now))?;
        Some(&holder.candidate.identity)
    }
}

/// Requests in flight continue while a node is paused.
fn advance(node: &mut Node, server: &mut Server, dice: &mut Dice, now: Duration, is_calm: bool) {
    if node.request.as_ref().is_some_and(|(arrives, _)| *arrives <= now) {
        let (_, wanted) = node.request.take().expect("just looked at");
        let result = match if is_calm { 0 } else { dice.roll(10) } {
            8 => AttemptResult::Failed,
            9 => {
                // Written, but the answer is lost.
                server.write(&wanted);
                AttemptResult::Failed
            }
            _ => server.write(&wanted),
        };
        node.answer = Some((now + dice.steps(20), result));
    }
    if !is_calm && dice.roll(400) == 0 {
        node.paused_until = now + at(dice.roll(40));
    }
    if node.paused_until > now {
        return;
    }
    let clock = node.clock(now);
    if node.answer.as_ref().is_some_and(|(arrives, _)| *arrives <= now) {
        let (_, result) = node.answer.take().expect("just looked at");
        node.candidate.handle_result(result, clock);
    }
    while node.seen < server.history.len() && dice.roll(4) == 0 {
        let version = server.history[node.seen].clone();
        match node.seen {
            0 => node.candidate.handle_listed(version, clock),
            _ => node.candidate.handle_shown(version, clock),
        }
        node.seen += 1;
    }
    if !is_calm && dice.roll(1000) == 0 {
        node.candidate.handle_listed(server.current().cloned(), clock);
    }
    if let CandidateStep::Attempt(wanted) = node.candidate.poll(clock, Timestamp::UNIX_EPOCH) {
        node.request = Some((now + dice.steps(40), wanted));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn never_do_two_hold_the_lease_and_without_faults_one_does(seed: u64, nodes in 1_usize..5) {
        let mut sim = Sim::new(seed, nodes);
        sim.run(at(300));
        sim.is_calm = true;
        // The longest pause, a Lease that has to expire, and two exchanges with the server.
        sim.run(at(300 + 40 + 17 + 8));
        let mut holders = BTreeSet::new();
        for _ in 0..30 {
            sim.run(sim.now + at(1));
            holders.insert(sim.holder().map(str::to_owned));
        }
        prop_assert_eq!(holders.len(), 1, "the same all the time: {:?}", holders);
        prop_assert!(!holders.contains(&None));
    }
}
