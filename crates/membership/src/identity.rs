//! The identity of a member: the name of its node is the key, the epoch separates its processes.

mod key;

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use herald_core::NodeName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use key::NodeKey;

use crate::codec::report::MAX_NODE;

/// Bytes of the longest identity: the name and its length, an IPv6 address with its kind and port, the epoch.
pub const MAX_LEN: usize = (MAX_NODE + 2) + (1 + 16 + 3) + (9 + 5);

/// One process of a member. Of two identities with the same node name, the one with the later epoch is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node, the key of everything that is known of a member.
    pub node: NodeKey,
    /// The address that it sends from and receives at.
    pub address: SocketAddr,
    /// Which process of the node this is.
    pub epoch: Epoch,
}

/// Orders the identities of a member: later starts win, and within one start later renewals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch {
    /// Identifies the process: its start on the wall clock (see [`Epoch::at`]).
    #[serde(deserialize_with = "parse_started")]
    pub started: u64,
    /// How often this process was declared down by mistake and came back.
    #[serde(deserialize_with = "parse_renewal")]
    pub renewal: u32,
}

impl Epoch {
    /// Random bits below the milliseconds: a node whose clock starts at the same instant after each boot
    /// still gets a new epoch.
    const NOISE_BITS: u32 = 20;
    const NOISE: u64 = (1 << Self::NOISE_BITS) - 1;

    /// The latest start that members accept, in the year 2248. Later ones can only be forged.
    pub const LATEST_START: u64 = u64::MAX >> 1;

    /// The greatest number of renewals that members accept.
    const LATEST_RENEWAL: u32 = u32::MAX - 1;

    /// The latest start by the clock, in the year 2109, so that there are later ones to supersede it with.
    const LATEST_CLOCK: u64 = 1 << 42;

    /// Returns the epoch of a process that starts `since_1970`; `noise` separates processes that start in the same
    /// millisecond.
    ///
    /// The clock need not be right. If it went back since the last start, the peers answer with the epoch that they know
    /// and the member takes a later one.
    pub fn at(since_1970: Duration, noise: u32) -> Self {
        let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let millis = millis.min(Self::LATEST_CLOCK);
        Self::first_of((millis << Self::NOISE_BITS) | (u64::from(noise) & Self::NOISE))
    }

    /// Returns the epoch of the same process after it was declared down.
    #[must_use]
    pub const fn renewed(self) -> Self {
        Self {
            started: self.started,
            renewal: match self.renewal {
                Self::LATEST_RENEWAL.. => Self::LATEST_RENEWAL,
                earlier => earlier + 1,
            },
        }
    }

    /// Returns the first epoch of the process with this start.
    pub const fn first_of(started: u64) -> Self {
        Self { started, renewal: 0 }
    }

    /// Returns an epoch after all epochs of the process that `self` belongs to. `noise` separates two processes that both
    /// supersede it. After the latest start only a renewal is left.
    #[must_use]
    pub fn superseded(self, noise: u32) -> Self {
        if self.started >= Self::LATEST_START {
            return self.renewed();
        }
        let step = 1 + (u64::from(noise) & Self::NOISE);
        Self::first_of(self.started.saturating_add(step).min(Self::LATEST_START))
    }
}

/// Parses the start of a process; one after [`Epoch::LATEST_START`] is refused, as no process could supersede it.
fn parse_started<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let started = u64::deserialize(from)?;
    if started > Epoch::LATEST_START {
        return Err(D::Error::custom(
            "the start of a speaker lies after the year 2248",
        ));
    }
    Ok(started)
}

/// Parses the number of renewals; the greatest is refused, as the process could not come back from it.
fn parse_renewal<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let renewal = u32::deserialize(from)?;
    if renewal > Epoch::LATEST_RENEWAL {
        return Err(D::Error::custom("a speaker cannot come back so often"));
    }
    Ok(renewal)
}

impl Identity {
    /// Returns the identity to address a peer by of which only name and address are known. The peer accepts
    /// announcements to any epoch.
    pub fn unknown(node: NodeName, address: SocketAddr) -> Self {
        Self {
            node: node.into(),
            address,
            epoch: Epoch::default(),
        }
    }
}

impl foca::Identity for Identity {
    type Addr = u128;

    /// Renews the epoch: without a new identity foca would stay defunct forever after one false suspicion.
    fn renew(&self) -> Option<Self> {
        Some(Self {
            epoch: self.epoch.renewed(),
            ..self.clone()
        })
    }

    fn addr(&self) -> u128 {
        self.node.digest()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.epoch, self.address) > (adversary.epoch, adversary.address)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.node, self.address)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use foca::Identity as _;

    use super::*;

    fn identity(epoch: Epoch) -> Identity {
        let address = SocketAddr::from(([127, 0, 0, 1], 7946));
        let node = NodeName::from("a").into();
        Identity { node, address, epoch }
    }

    fn encoded(identity: &Identity) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let used = postcard::to_slice(identity, &mut buffer);
        used.expect("large enough").to_vec()
    }

    fn at(millis: u64, noise: u32) -> Epoch {
        Epoch::at(Duration::from_millis(millis), noise)
    }

    #[test]
    fn a_later_start_wins_whatever_the_noise() {
        assert!(at(2, 0) > at(1, u32::MAX));
    }

    #[test]
    fn two_starts_at_the_same_instant_differ_by_their_noise() {
        assert_ne!(at(7, 1), at(7, 2));
    }

    #[test]
    fn a_renewed_identity_wins_against_the_old_one_and_never_the_reverse() {
        let old = identity(at(1, 1));
        let new = old.renew().expect("always renewable");
        assert!(new.win_addr_conflict(&old));
        assert!(!old.win_addr_conflict(&new));
        assert!(!old.win_addr_conflict(&old));
    }

    #[test]
    fn a_superseding_epoch_is_later_than_each_renewal_of_the_superseded_process() {
        let mut epoch = at(1, 1);
        epoch.renewal = u32::MAX;
        for noise in [0, 1, u32::MAX] {
            assert!(epoch.superseded(noise) > epoch);
        }
        assert_ne!(epoch.superseded(1), epoch.superseded(2));
    }

    #[test]
    fn the_longest_identity_takes_no_more_than_its_bound() {
        let mut longest = identity(Epoch {
            started: Epoch::LATEST_START,
            renewal: u32::MAX - 1,
        });
        longest.node = NodeName::new("n".repeat(MAX_NODE)).into();
        longest.address = SocketAddr::new([u16::MAX; 8].into(), u16::MAX);
        let encoded = encoded(&longest);
        assert_eq!(encoded.len(), MAX_LEN);
        assert_eq!(postcard::from_bytes(&encoded), Ok(longest));
    }

    #[test]
    fn an_epoch_that_its_process_cannot_supersede_is_refused() {
        let clock = Epoch::at(Duration::MAX, u32::MAX);
        for (started, renewal, accepted) in [
            (clock.superseded(u32::MAX).started, 7, true),
            (Epoch::LATEST_START, u32::MAX - 1, true),
            (Epoch::LATEST_START + 1, 0, false),
            (1, u32::MAX, false),
        ] {
            let odd = identity(Epoch { started, renewal });
            let parsed = postcard::from_bytes::<Identity>(&encoded(&odd));
            assert_eq!(parsed.is_ok(), accepted, "{started} {renewal}");
        }
    }

    #[test]
    fn a_node_name_of_another_length_than_in_kubernetes_is_refused() {
        for length in [0, MAX_NODE + 1, 900] {
            let mut odd = identity(at(1, 1));
            odd.node = NodeName::new("n".repeat(length)).into();
            let parsed = postcard::from_bytes::<Identity>(&encoded(&odd));
            assert!(parsed.is_err(), "{length} bytes");
        }
    }
}
