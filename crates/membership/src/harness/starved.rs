//! Processes that do not get the processor: they accuse no other member, and those that run find one that failed.

use super::*;

/// How soon members that are all starved find one that failed.
const FOUND: Duration = Duration::from_secs(10);

impl Net {
    /// Runs for `duration`, in which each of `starved` runs for up to a tenth of a second again and again, and then not for 0.2
    /// to 2 seconds.
    fn starve(&mut self, starved: &[usize], duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            for &index in starved {
                let run = millis(self.rng.random_range(10..100));
                let thaws = self.nodes[&index].frozen_until;
                if self.nodes.contains_key(&index) && thaws + run <= self.now {
                    let stall = millis(self.rng.random_range(200..2000));
                    self.freeze(index, stall);
                }
            }
            self.run_for(millis(10));
        }
    }

    fn suspicions(&self, since: Time) -> usize {
        let since = self.events.iter().filter(|(at, ..)| *at >= since);
        let is_suspicion = |event: &MembershipEvent| {
            matches!(
                event,
                MembershipEvent::Liveness {
                    to: Liveness::Suspect,
                    ..
                }
            )
        };
        since.filter(|(.., event)| is_suspicion(event)).count()
    }
}

#[test]
fn members_that_are_all_starved_accuse_nobody() {
    for (size, seeds) in [(2, 10), (3, 10), (5, 5)] {
        for seed in 0..seeds {
            let mut net = Net::cluster(size, seed, 0.0);
            let all: Vec<usize> = (0..size).collect();
            // A machine that becomes slow: each process notices that of itself first.
            net.starve(&all, Duration::from_secs(5));
            let start = net.now;
            net.starve(&all, Duration::from_secs(60));
            assert_eq!(net.declared_down(start), [], "{size} members, seed {seed}");
            let suspicions = net.suspicions(start);
            // A few in a minute, each seen by all members and refuted.
            assert!(
                suspicions <= 4 * size,
                "{size} members, seed {seed}: {suspicions} suspicions"
            );
        }
    }
}

#[test]
fn a_member_that_was_late_once_suspects_nobody_for_it() {
    for seed in 0..20 {
        let mut net = Net::cluster(5, seed, 0.0);
        let start = net.now;
        for index in 0..5 {
            net.freeze(index, millis(1000 + 60 * index as u64));
        }
        net.run_for(Duration::from_secs(5));
        assert_eq!(
            (net.suspicions(start), net.declared_down(start)),
            (0, Vec::new()),
            "seed {seed}"
        );
    }
}

#[test]
fn members_that_run_find_one_that_failed_while_others_are_starved() {
    for seed in 0..20 {
        let mut net = Net::cluster(5, seed, 0.0);
        net.starve(&[3, 4], Duration::from_secs(5));
        net.crash(2);
        net.starve(&[3, 4], Duration::from_secs(2));
        for viewer in [0, 1] {
            let liveness = net.view(viewer, 2).map(|member| member.liveness);
            assert_eq!(liveness, Some(Liveness::Down), "seed {seed}");
        }
        net.run_for(Duration::from_secs(10));
        assert!(
            net.all_see(2, |member| member.liveness == Liveness::Down),
            "seed {seed}"
        );
    }
}

#[test]
fn members_that_are_all_starved_find_one_that_failed_within_ten_seconds() {
    for seed in 0..10 {
        let mut net = Net::cluster(4, seed, 0.0);
        net.starve(&[0, 1, 2, 3], Duration::from_secs(5));
        net.crash(3);
        let crash = net.now;
        while !net.all_see(3, |member| member.liveness == Liveness::Down) {
            assert!(net.now - crash < FOUND, "seed {seed}");
            net.starve(&[0, 1, 2], millis(100));
        }
    }
}
