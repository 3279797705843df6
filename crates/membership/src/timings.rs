//! How fast death is noticed, and what that costs.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

/// How fast a silent member is suspected and then declared down.
///
/// A dead member is suspected one to two `probe_period`s after its death and declared down `suspicion` later.
/// The idle cost is two datagrams out and two in per `probe_period`, whatever the size of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often a random member is probed.
    pub probe_period: Duration,
    /// How long a suspect has to speak up, in clusters of up to 100 members; larger ones give more, as news
    /// needs more hops.
    pub suspicion: Duration,
    /// How long joining may take before the speaker goes on with whom it has heard of.
    pub join_timeout: Duration,
}

impl Timings {
    /// For a LAN: down after some 0.5 s. Stalls of a process below 200 ms go unpunished.
    pub const FAST: Self = Self {
        probe_period: Duration::from_millis(100),
        suspicion: Duration::from_millis(300),
        join_timeout: Duration::from_secs(1),
    };

    /// For slow or overloaded nodes: down after some 1 s. Stalls of a process below 400 ms go unpunished.
    pub const CALM: Self = Self {
        probe_period: Duration::from_millis(200),
        suspicion: Duration::from_millis(600),
        join_timeout: Duration::from_secs(2),
    };

    /// How long a suspect has to speak up in a cluster of `members`.
    pub(crate) fn suspicion_among(&self, members: usize) -> Duration {
        let hundreds = (members.max(100) as f64).log10() / 2.0;
        self.suspicion.mul_f64(hundreds)
    }

    /// foca's settings for a cluster of `members`.
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
            // A member that is declared down by mistake learns it at once and comes back by a new identity.
            notify_down_members: true,
            // The announcements of `Membership` do both, and know whom to expect.
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

/// How often each piece of news is passed on. With foca's own choice (4 among 10 members) the last member
/// learnt of a death minutes late in one of some hundred cases; with 40 that tail is gone. It costs nothing
/// while there is no news.
pub(crate) const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(40).expect("not zero");

/// How often news is passed on while there is any.
pub(crate) const GOSSIP_PERIOD: Duration = Duration::from_millis(50);

/// How long a dead member's last identity is remembered; longer than any news of it is under way.
const FORGET_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_is_as_set_up_to_a_hundred_members_and_grows_from_there() {
        let timings = Timings::FAST;
        for members in [0, 1, 3, 100] {
            assert_eq!(timings.suspicion_among(members), timings.suspicion);
        }
        assert!(timings.suspicion_among(101) > timings.suspicion);
        assert_eq!(timings.suspicion_among(10_000), timings.suspicion * 2);
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
