//! How fast a failure is detected, and what that costs.

use core::f64::consts::LOG10_2;
use core::num::{NonZeroU8, NonZeroUsize};
use core::time::Duration;

/// How fast a member that does not answer is suspected and then declared down.
///
/// A failed member is suspected one to two `probe_period`s after its failure and declared down `suspicion` later.
/// An idle cluster costs each member two datagrams out and two in per `probe_period`, whatever the size of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often a random member is probed.
    pub probe_period: Duration,
    /// How long a suspect member has to refute the suspicion, in clusters of up to 100 members. Larger clusters give it
    /// more time, as news needs more hops there.
    pub suspicion: Duration,
    /// How long joining may take before the speaker goes on with the peers that answered so far.
    pub join_timeout: Duration,
}

impl Timings {
    /// For a LAN: down after some 0.5 s. A process may stall for up to 200 ms without being declared down.
    pub const FAST: Self = Self {
        probe_period: Duration::from_millis(100),
        suspicion: Duration::from_millis(300),
        join_timeout: Duration::from_secs(1),
    };

    /// For slow or overloaded nodes: down after some 1 s. A process may stall for up to 400 ms without being declared
    /// down.
    pub const CALM: Self = Self {
        probe_period: Duration::from_millis(200),
        suspicion: Duration::from_millis(600),
        join_timeout: Duration::from_secs(2),
    };

    /// Returns how late timers may be before this process counts as one that did not run.
    pub(crate) fn tolerance(&self) -> Duration {
        self.probe_period / 4
    }

    /// Returns how long a suspect member has to refute the suspicion in a cluster of `members`: grows with their logarithm.
    pub(crate) fn suspicion_among(&self, members: usize) -> Duration {
        if members <= 100 {
            return self.suspicion;
        }
        self.suspicion.mul_f64(log10(members) / 2.0)
    }

    /// Returns foca's settings for a cluster of `members`.
    pub(crate) fn config(&self, members: usize) -> foca::Config {
        foca::Config {
            probe_period: self.probe_period,
            // Leaves two thirds of the period to the indirect probes; far above a LAN's round trip.
            probe_rtt: self.probe_period.mul_f64(0.3),
            num_indirect_probes: FANOUT,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: self.suspicion_among(members),
            remove_down_after: Some(FORGET_AFTER),
            max_packet_size: crate::codec::SWIM_MAX,
            // A member that is declared down by mistake learns it at once and comes back with a new identity.
            notify_down_members: true,
            // `JoinRounds` does both, and knows the expected peers.
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            // `Membership` gossips while there is news, and sleeps otherwise.
            periodic_gossip: None,
        }
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self::FAST
    }
}

/// Members asked for an indirect probe.
const FANOUT: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");

/// How often each piece of news is transmitted. With foca's own choice (4 among 10 members) the last member
/// learnt of a failure minutes late in one of some hundred cases; with 40 that tail is gone. It costs nothing
/// while there is no news.
pub(crate) const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(40).expect("not zero");

/// How often news is transmitted while there is any.
pub(crate) const GOSSIP_PERIOD: Duration = Duration::from_millis(50);

/// How long the last identity of a member that is down is remembered; longer than any news of it is under way.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Returns the decimal logarithm of a number above zero, which `core` does not have for floats: one binary digit for each
/// squaring of what is left.
fn log10(number: usize) -> f64 {
    let whole = number.ilog2();
    let mut rest = number as f64 / (1_u64 << whole) as f64;
    let mut log2 = f64::from(whole);
    let mut digit = 0.5;
    while digit > f64::EPSILON {
        rest *= rest;
        if rest >= 2.0 {
            rest /= 2.0;
            log2 += digit;
        }
        digit /= 2.0;
    }
    log2 * LOG10_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suspicion_is_as_set_for_up_to_a_hundred_members_and_longer_for_more() {
        let timings = Timings::FAST;
        for members in [0, 1, 3, 100] {
            assert_eq!(timings.suspicion_among(members), timings.suspicion);
        }
        assert!(timings.suspicion_among(101) > timings.suspicion);
        assert_eq!(timings.suspicion_among(10_000), timings.suspicion * 2);
    }

    #[test]
    fn the_logarithm_is_that_of_the_standard_library() {
        for number in (1..10_000).chain([123_456, 1 << 40, usize::MAX]) {
            let expected = (number as f64).log10();
            assert!((log10(number) - expected).abs() < 1e-13, "{number}");
        }
    }

    #[test]
    fn both_profiles_leave_time_for_indirect_probes() {
        for timings in [Timings::FAST, Timings::CALM] {
            let config = timings.config(3);
            assert!(config.probe_rtt * 3 <= config.probe_period);
            assert!(config.suspect_to_down_after > config.probe_period);
        }
    }
}
