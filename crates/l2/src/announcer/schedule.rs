//! When which address is announced, and how fast frames may leave.

use alloc::collections::BTreeSet;
use core::net::IpAddr;
use core::time::Duration;

use herald_core::Time;

/// When the rounds of a burst are sent, after its start. The first is what moves the traffic and the second
/// repeats it should a lossy link have eaten it. Linux ignores changes of an entry that is younger than a second
/// (`locktime`), and bridges may be learning still, hence the others until 5 s as MetalLB sends them.
const ROUNDS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(1100),
    Duration::from_millis(2200),
    Duration::from_millis(3300),
    Duration::from_millis(4400),
];

/// Where an address stands in its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst {
    start: Time,
    /// How many rounds of it were sent.
    sent: usize,
    due: Option<Time>,
}

impl Burst {
    /// Announced nowhere, nothing to send.
    pub(super) const fn idle() -> Self {
        Self {
            start: Time::ZERO,
            sent: 0,
            due: None,
        }
    }

    pub(super) const fn starting(now: Time) -> Self {
        Self {
            start: now,
            sent: 0,
            due: Some(now),
        }
    }
}

/// Refreshes wait for the next of these, so that thousands of addresses do not wake sender and receivers for each.
const BEAT: Duration = Duration::from_millis(250);

/// The next round of each address, in order of time.
#[derive(Debug)]
pub(super) struct BurstSchedule {
    due: BTreeSet<(Time, IpAddr)>,
    refresh: Option<Duration>,
    random: u64,
}

impl BurstSchedule {
    pub(super) const fn new(refresh: Option<Duration>, seed: u64) -> Self {
        Self {
            due: BTreeSet::new(),
            refresh,
            random: seed,
        }
    }

    pub(super) fn add(&mut self, address: IpAddr, burst: &Burst) {
        self.due.extend(burst.due.map(|due| (due, address)));
    }

    pub(super) fn cancel(&mut self, address: IpAddr, burst: &Burst) {
        if let Some(due) = burst.due {
            self.due.remove(&(due, address));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes out the address that has waited longest, if it is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<IpAddr> {
        let (_, address) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        Some(address)
    }

    /// What follows after a round of `burst` is sent at `now`.
    pub(super) fn following(&mut self, burst: Burst, now: Time) -> Burst {
        let sent = burst.sent + 1;
        let due = match ROUNDS.get(sent) {
            Some(offset) => Some(burst.start + *offset),
            None => self.refresh.map(|refresh| at_a_beat(now + self.jitter(refresh))),
        };
        Burst { sent, due, ..burst }
    }

    /// Between nine and eleven tenths of `interval`.
    fn jitter(&mut self, interval: Duration) -> Duration {
        let share = (self.next_random() >> 32) as u32;
        interval * 9 / 10 + (interval / 5).mul_f64(f64::from(share) / f64::from(u32::MAX))
    }

    /// splitmix64 (Steele, Lea, Flood 2014): spreads refreshes, nothing more is asked of it.
    const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The next full [`BEAT`].
fn at_a_beat(due: Time) -> Time {
    let beats = due.elapsed().as_nanos().div_ceil(BEAT.as_nanos());
    Time::ZERO + BEAT * u32::try_from(beats).unwrap_or(u32::MAX)
}
