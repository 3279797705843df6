//! Liveness of a program: whether the threads that it cannot do without still come round.
//!
//! Each of them has a [`Beat`]. A thread of its own watches the beats. It sleeps for a short time again and again, and
//! counts for how many of its sleeps a beat has not come. A sleep that ended late does not count: then this process had no
//! processor (it was stopped, its CPU limit was used up, the machine is overloaded), and a beat that is late for the same
//! reason is no hang. So the more a process is starved, the longer its threads may take.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// About how long the watching thread sleeps.
const SLEEP: Duration = Duration::from_millis(450);
/// A sleep is up to this much longer. The lengths differ, because the process may get its processor time periodically: a
/// CPU limit is enforced every 100 ms.
const LONGER: u32 = 100;
/// A sleep that ended later than this does not count. A process that may run gets its processor within a few milliseconds.
const LATE: Duration = Duration::from_millis(20);
/// After as many sleeps without it a beat is missed: 3.5 s. The kubelet restarts the container when its probes fail for 35 s
/// (`livenessProbe` in the chart).
const MISSED: u32 = 7;

/// The beats of a program, as `/healthz` shows them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Beats>>);

/// The sign of life of one thread or task. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Beat(Arc<AtomicU64>);

/// All beats, and how long each has not come.
#[derive(Debug, Default)]
struct Beats(Vec<BeatRecord>);

#[derive(Debug)]
struct BeatRecord {
    name: &'static str,
    beat: Beat,
    /// The count of the beat when it was looked at last.
    seen: u64,
    /// The sleeps since it came last, without late ones.
    sleeps: u32,
}

impl Health {
    /// Starts the watching thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let health = Self::default();
        let beats = Arc::downgrade(&health.0);
        let thread = std::thread::Builder::new().name("health".to_owned());
        thread.spawn(move || watch(&beats))?;
        Ok(health)
    }

    /// Returns the beat of a thread or task, which has to come from now on, at least once a second.
    pub fn beat_of(&self, name: &'static str) -> Beat {
        with(&self.0, |beats| beats.add(name))
    }

    /// The names of the beats that are missed.
    pub fn missed(&self) -> Vec<&'static str> {
        with(&self.0, |beats| beats.missed())
    }
}

impl Beat {
    /// Shows that the thread comes round. Costs as much as an addition.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Beats {
    fn add(&mut self, name: &'static str) -> Beat {
        let beat = Beat::default();
        self.0.push(BeatRecord {
            name,
            beat: beat.clone(),
            seen: 0,
            sleeps: 0,
        });
        beat
    }

    /// Takes that a sleep is over, and by how much it was late.
    fn handle_sleep(&mut self, late: Duration) {
        for record in &mut self.0 {
            let count = record.beat.0.load(Ordering::Relaxed);
            let has_come = std::mem::replace(&mut record.seen, count) != count;
            let was_missed = record.is_missed();
            if has_come {
                record.sleeps = 0;
            } else if late <= LATE {
                record.sleeps = record.sleeps.saturating_add(1);
            }
            match (was_missed, record.is_missed()) {
                (false, true) => warn!("no sign of life from: {}", record.name),
                (true, false) => info!("again a sign of life from: {}", record.name),
                (false, false) | (true, true) => {}
            }
        }
    }

    fn missed(&self) -> Vec<&'static str> {
        let missed = self.0.iter().filter(|record| record.is_missed());
        missed.map(|record| record.name).collect()
    }
}

impl BeatRecord {
    const fn is_missed(&self) -> bool {
        self.sleeps >= MISSED
    }
}

/// Watches beats for as long as the program has them.
fn watch(beats: &Weak<Mutex<Beats>>) {
    let mut longer = 0;
    while beats.strong_count() > 0 {
        // Any step that has no factor in common with the range reaches all of it.
        longer = (longer + 37) % LONGER;
        let sleep = SLEEP + Duration::from_millis(longer.into());
        let begin = Instant::now();
        std::thread::sleep(sleep);
        let late = begin.elapsed().saturating_sub(sleep);
        if let Some(beats) = beats.upgrade() {
            with(&beats, |beats| beats.handle_sleep(late));
        }
    }
}

fn with<T>(beats: &Mutex<Beats>, action: impl FnOnce(&mut Beats) -> T) -> T {
    // The beats are whole at any time.
    action(&mut beats.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
impl Health {
    /// Health of which a beat is missed.
    pub(crate) fn of_test(missed: &'static str) -> Self {
        let health = Self::default();
        health.beat_of(missed);
        (0..MISSED).for_each(|_| with(&health.0, |beats| beats.handle_sleep(Duration::ZERO)));
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Duration = Duration::from_micros(100);

    /// What happens to a process, one sleep after the other: how late each ended, and which beats came meanwhile.
    type Course = Vec<(Duration, &'static [&'static str])>;

    fn repeat(n: u32, late: Duration, beats: &'static [&'static str]) -> Course {
        (0..n).map(|_| (late, beats)).collect()
    }

    /// Returns the beats that are missed in the end, of `driver` and `wire`.
    fn missed(course: &Course) -> Vec<&'static str> {
        let mut beats = Beats::default();
        let threads = ["driver", "wire"].map(|name| (name, beats.add(name)));
        for (late, came) in course {
            let came = threads.iter().filter(|(name, _)| came.contains(name));
            came.for_each(|(_, beat)| beat.beat());
            beats.handle_sleep(*late);
        }
        beats.missed()
    }

    #[test]
    fn a_beat_is_missed_only_while_the_process_has_a_processor() {
        let stop = Duration::from_secs(30);
        // Under a CPU limit of a tenth, nine of ten sleeps end in the part of the period in which the process may not run.
        let limited: Course = [repeat(9, Duration::from_millis(45), &[]), repeat(1, PROMPT, &[])].concat();
        let table: [(&str, Course, &[&str]); 9] = [
            ("all beat", repeat(100, PROMPT, &["driver", "wire"]), &[]),
            ("one is blocked", repeat(MISSED, PROMPT, &["wire"]), &["driver"]),
            ("one is late", repeat(MISSED - 1, PROMPT, &["wire"]), &[]),
            (
                "all are blocked",
                repeat(MISSED, PROMPT, &[]),
                &["driver", "wire"],
            ),
            (
                "it comes back",
                [repeat(MISSED, PROMPT, &["wire"]), repeat(1, PROMPT, &["driver"])].concat(),
                &[],
            ),
            ("the process is stopped", repeat(1, stop, &[]), &[]),
            (
                "and stopped again and again",
                [
                    repeat(1, stop, &[]),
                    repeat(MISSED - 1, PROMPT, &[]),
                    repeat(9, stop, &[]),
                ]
                .concat(),
                &[],
            ),
            (
                "it has a small CPU limit, and the threads take 30 s for one round",
                limited.repeat(6),
                &[],
            ),
            (
                "it has a small CPU limit, and one is blocked",
                [limited.repeat(7), repeat(1, PROMPT, &["wire"])].concat(),
                &["driver"],
            ),
        ];
        for (what, course, expected) in table {
            assert_eq!(missed(&course), expected, "{what}");
        }
    }

    #[test]
    fn the_thread_notices_a_beat_that_does_not_come() {
        let health = Health::start().expect("a thread");
        let (_blocked, alive) = (health.beat_of("blocked"), health.beat_of("alive"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while health.missed().is_empty() {
            assert!(Instant::now() < deadline, "it is noticed");
            alive.beat();
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(health.missed(), ["blocked"]);
    }
}
