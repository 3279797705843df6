//! When each address is announced.

use alloc::collections::BTreeSet;
use core::net::IpAddr;
use core::time::Duration;

use herald_core::Time;

/// When the rounds of a burst are sent, counted from its start. The first moves the traffic, the second repeats it in
/// case the first was lost. Linux ignores changes of an entry that is younger than a second (`locktime`), and bridges
/// may still be learning, hence the others until 5 s as MetalLB sends them.
const ROUNDS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(1100),
    Duration::from_millis(2200),
    Duration::from_millis(3300),
    Duration::from_millis(4400),
];

/// Progress of the burst of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst {
    start: Time,
    /// How many of its rounds were sent.
    sent: usize,
    due: Option<Time>,
}

impl Burst {
    /// The burst of an address without links: nothing is sent.
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

/// Refreshes are sent at multiples of this time, so that thousands of addresses do not each wake sender and receivers.
const TICK: Duration = Duration::from_millis(250);

/// The next round of each address, ordered by time.
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

    /// Removes and returns the address that has waited longest, if it is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<IpAddr> {
        let (_, address) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        Some(address)
    }

    /// Returns the burst after one of its rounds is sent at `now`.
    pub(super) fn following(&mut self, burst: Burst, now: Time) -> Burst {
        let sent = burst.sent + 1;
        let due = match ROUNDS.get(sent) {
            Some(offset) => Some(burst.start + *offset),
            None => self.refresh.map(|refresh| at_a_tick(now + self.jitter(refresh))),
        };
        Burst { sent, due, ..burst }
    }

    /// Returns between nine and eleven tenths of `interval`.
    fn jitter(&mut self, interval: Duration) -> Duration {
        let share = (self.next_random() >> 32) as u32;
        interval * 9 / 10 + (interval / 5).mul_f64(f64::from(share) / f64::from(u32::MAX))
    }

    /// splitmix64 (Steele, Lea, Flood 2014): good enough to spread refreshes.
    const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Returns the next multiple of [`TICK`].
fn at_a_tick(due: Time) -> Time {
    let ticks = due.elapsed().as_nanos().div_ceil(TICK.as_nanos());
    Time::ZERO + TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}
