//! Conclusions from the frames.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use herald_netns::MacAddr;

use crate::clock::Monotonic;

/// A machine that is asked ten times a second and has the address answers at least once within this time, one lost frame or a
/// busy machine notwithstanding.
const HEARD: Duration = Duration::from_millis(500);

/// A machine has said that it has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at: Monotonic,
    /// On which segment: machines on different segments do not receive each other's frames.
    pub segment: usize,
    /// The address.
    pub address: IpAddr,
    /// Where it is said to be.
    pub mac: MacAddr,
}

/// Sightings in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings(Vec<Sighting>);

/// Machines said by turns that they have an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contention {
    /// The address.
    pub address: IpAddr,
    /// Each time that another machine than before said so.
    pub changes: Vec<(Monotonic, MacAddr)>,
}

impl Contention {
    /// From the first change to the last.
    pub fn lasted(&self) -> Duration {
        match &self.changes[..] {
            [(first, _), .., (last, _)] => last.since(*first),
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Contention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} moved", self.address)?;
        let start = self.changes.first().map(|(at, _)| *at);
        for (at, mac) in &self.changes {
            let after = at.since(start.unwrap_or(*at));
            write!(f, ", after {} ms to {mac}", after.as_millis())?;
        }
        Ok(())
    }
}

impl From<Vec<Sighting>> for Sightings {
    fn from(mut sightings: Vec<Sighting>) -> Self {
        sightings.sort_by_key(|sighting| sighting.at);
        Self(sightings)
    }
}

impl Sightings {
    /// The sightings after `begin`.
    pub fn since(mut self, begin: Monotonic) -> Self {
        self.0.retain(|sighting| sighting.at > begin);
        self
    }

    /// The sightings of these machines.
    pub fn of(mut self, macs: &[MacAddr]) -> Self {
        self.0.retain(|sighting| macs.contains(&sighting.mac));
        self
    }

    /// The sightings of one address.
    pub fn at(mut self, address: IpAddr) -> Self {
        self.0.retain(|sighting| sighting.address == address);
        self
    }

    /// The longest time without a sighting between `begin` and `end`.
    pub fn longest_silence(&self, begin: Monotonic, end: Monotonic) -> Duration {
        let times = || self.0.iter().map(|sighting| sighting.at);
        let before = std::iter::once(begin).chain(times());
        let silences = before
            .zip(times().chain([end]))
            .map(|(before, at)| at.since(before));
        silences.max().unwrap_or_default()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Sighting> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sightings of all machines but this one.
    pub fn without(mut self, mac: MacAddr) -> Self {
        self.0.retain(|sighting| sighting.mac != mac);
        self
    }

    /// The machines that had `address`, in order, on all segments.
    pub fn owners(&self, address: IpAddr) -> Vec<MacAddr> {
        let of_address = self.0.iter().filter(|sighting| sighting.address == address);
        let mut owners: Vec<MacAddr> = of_address.map(|sighting| sighting.mac).collect();
        owners.dedup();
        owners
    }

    /// Every time that an address changed its place within a segment, together with those changes that followed while the
    /// machine before can still have had it. A change that is not undone has no duration.
    pub fn contentions(&self) -> Vec<Contention> {
        let mut places: BTreeMap<(usize, IpAddr), Vec<&Sighting>> = BTreeMap::new();
        for sighting in &self.0 {
            let place = places.entry((sighting.segment, sighting.address)).or_default();
            place.push(sighting);
        }
        places.values().flat_map(|place| contentions(place)).collect()
    }

    /// The contention that lasted longest.
    pub fn longest_contention(&self) -> Option<Contention> {
        self.contentions().into_iter().max_by_key(Contention::lasted)
    }
}

fn contentions(place: &[&Sighting]) -> Vec<Contention> {
    let mut contentions: Vec<Contention> = Vec::new();
    for pair in place.windows(2).filter(|pair| pair[0].mac != pair[1].mac) {
        let change = (pair[1].at, pair[1].mac);
        let last = contentions.last_mut().filter(|contention| {
            let last = contention.changes.last();
            last.is_some_and(|(at, _)| change.0.since(*at) <= HEARD)
        });
        match last {
            Some(contention) => contention.changes.push(change),
            None => contentions.push(Contention {
                address: pair[1].address,
                changes: vec![change],
            }),
        }
    }
    contentions
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

    fn address() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    /// Sightings on segment 1, every 100 ms.
    fn heard(macs: &[MacAddr]) -> Sightings {
        let at = |index: usize| Monotonic::from_nanos(index as u64 * 100_000_000);
        let sighting = |(index, mac): (usize, &MacAddr)| Sighting {
            at: at(index),
            segment: 1,
            address: address(),
            mac: *mac,
        };
        macs.iter().enumerate().map(sighting).collect::<Vec<_>>().into()
    }

    fn lasted(sightings: &Sightings) -> Vec<u128> {
        let contentions = sightings.contentions();
        contentions
            .iter()
            .map(|contention| contention.lasted().as_millis())
            .collect()
    }

    #[test]
    fn one_machine_contends_with_nobody() {
        assert_eq!(lasted(&heard(&[A, A, A])), []);
        assert_eq!(heard(&[A, A, A]).owners(address()), [A]);
    }

    #[test]
    fn a_move_takes_no_time_and_another_move_later_is_another_contention() {
        let sightings = heard(&[A, A, B, B, B, B, B, B, B, A]);
        assert_eq!(lasted(&sightings), [0, 0]);
        assert_eq!(sightings.owners(address()), [A, B, A]);
    }

    #[test]
    fn two_that_answer_by_turns_contend_from_the_first_change_to_the_last() {
        let sightings = heard(&[A, A, B, A, A, B, A, A, A, A, A]);
        assert_eq!(lasted(&sightings), [400]);
        let text = sightings.longest_contention().unwrap().to_string();
        assert_eq!(
            text,
            "192.0.2.1 moved, after 0 ms to 02:00:00:00:00:0b, after 100 ms to 02:00:00:00:00:0a, \
             after 300 ms to 02:00:00:00:00:0b, after 400 ms to 02:00:00:00:00:0a"
        );
    }

    #[test]
    fn a_silence_is_measured_from_the_begin_and_between_sightings() {
        let [begin, end] = [0, 350].map(|at| Monotonic::from_nanos(at * 1_000_000));
        let silence = |sightings: Sightings| sightings.longest_silence(begin, end).as_millis();
        assert_eq!(silence(heard(&[])), 350);
        assert_eq!(silence(heard(&[A, A])), 250);
        assert_eq!(silence(heard(&[A, B, B, A]).without(B)), 300);
    }

    #[test]
    fn machines_on_different_segments_do_not_contend() {
        let mut sightings = heard(&[A, B, A, B]);
        for sighting in &mut sightings.0 {
            sighting.segment = usize::from(sighting.mac == A);
        }
        assert_eq!(lasted(&sightings), []);
    }

    #[test]
    fn sightings_can_be_set_aside_by_time_and_by_machine() {
        let sightings = heard(&[A, B, A, B]);
        assert_eq!(sightings.clone().without(A).owners(address()), [B]);
        assert_eq!(sightings.clone().of(&[A]).owners(address()), [A]);
        assert!(sightings.clone().at("192.0.2.2".parse().unwrap()).is_empty());
        let later = sightings.since(Monotonic::from_nanos(150_000_000));
        assert_eq!(later.len(), 2);
        assert_eq!(later.owners(address()), [A, B]);
    }
}
