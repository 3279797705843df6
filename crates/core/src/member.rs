//! What membership knows of each speaker: its liveness, and what it reports of itself.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::name::tag;
use crate::{MacAddr, NodeName, Prefix};

/// A speaker as membership knows it at this moment. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node that it runs on. A restarted speaker is the same member.
    pub node: NodeName,
    /// Whether its peers reach it.
    pub liveness: Liveness,
    /// The state that it reported last; [`NodeState::Starting`] before its first report.
    pub state: NodeState,
    /// The MAC addresses that it answers from, ascending; empty before its first report.
    pub macs: Arc<[MacAddr]>,
    /// The rest of its report; `None` before its first report, and from versions that report no profile.
    pub profile: Option<Arc<Profile>>,
}

impl Member {
    /// Returns a member that reported neither MAC addresses nor a profile.
    pub fn new(node: NodeName, liveness: Liveness, state: NodeState) -> Self {
        Self {
            node,
            liveness,
            state,
            macs: Arc::default(),
            profile: None,
        }
    }

    /// Whether it can own addresses. A suspect member can: the suspicion may be wrong.
    pub fn is_usable(&self) -> bool {
        self.liveness != Liveness::Down && self.state == NodeState::Ready
    }

    fn has_reported(&self, features: Features) -> bool {
        let profile = self.profile.as_ref();
        profile.is_some_and(|profile| profile.features.contains(features))
    }

    /// Returns the member as it is with or without MetalLB's speakers on the same nodes.
    #[must_use]
    pub fn with_metallb(&self, is_beside: bool) -> Self {
        let profile = self.profile.as_ref().map(|profile| {
            Arc::new(Profile {
                features: if is_beside {
                    profile.features.with(Features::BESIDE_METALLB)
                } else {
                    profile.features.without(Features::BESIDE_METALLB)
                },
                ..Profile::clone(profile)
            })
        });
        Self {
            profile,
            ..self.clone()
        }
    }
}

/// Returns a usable peer that reports that `me` does not answer on the wire for addresses that it owns.
pub fn reporter<'a>(members: &'a [Member], me: &NodeName) -> Option<&'a NodeName> {
    let tag = me.tag();
    let reports = |member: &&Member| {
        let profile = member.profile.as_ref().filter(|_| member.is_usable());
        member.node != *me && profile.is_some_and(|profile| profile.unresponsive.contains(&tag))
    };
    members.iter().find(reports).map(|member| &member.node)
}

/// Whether all members that live report these features. What they stand for takes effect only then, as speakers of several
/// versions share a cluster during an update.
///
/// A member that has reported nothing yet does not count: it owns nothing. Its first report has its features.
pub fn all_know(members: &[Member], features: Features) -> bool {
    let has_reported = |member: &&Member| member.profile.is_some() || member.state != NodeState::Starting;
    let living = members.iter().filter(|member| member.liveness != Liveness::Down);
    living
        .filter(has_reported)
        .all(|member| member.has_reported(features))
}

/// Whether the usable members elect as MetalLB does: one reports that it runs beside MetalLB, and all know what that means, as
/// all have to come to the same result.
pub fn elect_as_metallb<'a>(members: impl Iterator<Item = &'a Member>) -> bool {
    let mut usable = members.filter(|member| member.is_usable());
    let mut is_beside = false;
    let all_know = usable.all(|member| {
        is_beside |= member.has_reported(Features::BESIDE_METALLB);
        member.has_reported(Features::ELECTION_AS_METALLB)
    });
    is_beside && all_know
}

/// What a speaker can do beyond the first versions: the rules of elections and kinds of datagrams that its version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(u32);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Elects one node for each address instead of one for each Service.
    pub const ELECTION_PER_ADDRESS: Self = Self(1);
    /// Answers ownership queries.
    pub const OWNERSHIP_QUERY: Self = Self(1 << 1);
    /// MetalLB's speakers run on the same nodes: as long as one usable speaker reports that, all elect as MetalLB does, if all know
    /// how.
    pub const BESIDE_METALLB: Self = Self(1 << 2);
    /// Elects as MetalLB does while a usable speaker reports [`Self::BESIDE_METALLB`].
    pub const ELECTION_AS_METALLB: Self = Self(1 << 3);
    /// The features of this version.
    pub const OF_THIS_VERSION: Self =
        Self(Self::ELECTION_PER_ADDRESS.0 | Self::OWNERSHIP_QUERY.0 | Self::ELECTION_AS_METALLB.0);

    /// Returns the features that a report encodes as `bits`; unknown bits are features of later versions.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the bits that a report encodes.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns these and `others`.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns these without `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether all of `features` are among these.
    pub const fn contains(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }
}

/// What a speaker reports of itself besides its state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The subnets of its links, ascending; `None` if they are too many for a report, which counts as all subnets.
    pub subnets: Option<Vec<Prefix>>,
    /// How often it left and came back recently ([`crate::announce::layer2::flap_damping`]).
    pub flaps: u8,
    /// The nodes ([`NodeName::tag`]) that do not answer on the wire for addresses that they own. This speaker is their
    /// acting owner.
    pub unresponsive: Vec<u32>,
    /// The interfaces that can announce ([`tag`] of the name), ascending; `None` if they are too many for a report, and from
    /// versions that report none. That counts as all interfaces.
    pub interfaces: Option<Vec<u32>>,
    /// What its version knows; [`Features::NONE`] from versions that report none.
    pub features: Features,
    /// Those of the interfaces that have a link-local IPv6 address, without which they announce no IPv6 address ([`tag`] of the
    /// name), ascending; `None` if they are too many for a report, which counts as all interfaces.
    pub ipv6_interfaces: Option<Vec<u32>>,
}

impl Profile {
    /// Counts the addresses that lie in one of its subnets.
    pub fn count_in_subnets(&self, addresses: &[IpAddr]) -> usize {
        let Some(subnets) = &self.subnets else {
            return addresses.len();
        };
        let is_in_subnet = |address: &&IpAddr| subnets.iter().any(|subnet| subnet.contains(**address));
        addresses.iter().filter(is_in_subnet).count()
    }

    /// Returns the interfaces that can announce an address of this family; `None` counts as all.
    pub const fn interfaces_for(&self, address: IpAddr) -> Option<&Vec<u32>> {
        match address {
            IpAddr::V4(_) => self.interfaces.as_ref(),
            IpAddr::V6(_) => self.ipv6_interfaces.as_ref(),
        }
    }

    /// Whether it has a selected interface for the family of `address`, as far as a report shows; `None` selects all.
    pub fn announces_family_of(&self, address: IpAddr, selected: Option<&BTreeSet<String>>) -> bool {
        match (self.interfaces_for(address), selected) {
            (Some(able), Some(selected)) => is_any_among(selected, able),
            (Some(able), None) => !able.is_empty(),
            (None, _) => true,
        }
    }

    /// Whether it has one of the selected interfaces; `None` selects all.
    pub fn has_interface(&self, selected: Option<&BTreeSet<String>>) -> bool {
        match (&self.interfaces, selected) {
            (Some(existing), Some(selected)) => is_any_among(selected, existing),
            (None, _) | (_, None) => true,
        }
    }
}

fn is_any_among(names: &BTreeSet<String>, tags: &[u32]) -> bool {
    names.iter().any(|name| tags.contains(&tag(name)))
}

/// Whether a member's peers reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Liveness {
    /// It answers probes.
    Alive,
    /// It did not answer a probe and has not refuted the suspicion yet. Packet loss alone can cause this.
    Suspect,
    /// It did not refute the suspicion in time, or it left, or it is expected and never sent anything.
    Down,
}

impl Liveness {
    /// All values, in ascending order.
    pub const ALL: [Self; 3] = [Self::Alive, Self::Suspect, Self::Down];

    /// Returns the value of metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state that a speaker reports of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Its caches are not filled yet. It owns nothing.
    Starting,
    /// It takes the addresses that it is elected for.
    Ready,
    /// It is about to stop: its successors take over first, then it stops answering.
    Draining,
}

impl NodeState {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Ready, Self::Draining];

    /// Returns the value of logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn only_a_usable_speaker_can_report_a_node_as_unresponsive() {
        let me = NodeName::from("a");
        let reports = |node: &str, liveness, unresponsive: &[&str]| Member {
            profile: Some(Arc::new(Profile {
                unresponsive: unresponsive
                    .iter()
                    .map(|node| NodeName::from(*node).tag())
                    .collect(),
                ..Profile::default()
            })),
            ..Member::new(node.into(), liveness, NodeState::Ready)
        };
        let others = [
            reports("a", Liveness::Alive, &["a"]),
            reports("b", Liveness::Down, &["a"]),
            reports("c", Liveness::Alive, &["b"]),
        ];
        assert_eq!(reporter(&others, &me), None);
        let mut others = others.to_vec();
        others.extend(vec![reports("d", Liveness::Suspect, &["b", "a"])]);
        assert_eq!(reporter(&others, &me), Some(&NodeName::from("d")));
    }

    #[test]
    fn a_feature_counts_only_while_each_living_member_reports_it() {
        let member = |liveness, state, features: Option<Features>| Member {
            profile: features.map(|features| {
                Arc::new(Profile {
                    features,
                    ..Profile::default()
                })
            }),
            ..Member::new("a".into(), liveness, state)
        };
        let later = Features::from_bits(1 << 31 | Features::OF_THIS_VERSION.bits());
        let asked = Features::OWNERSHIP_QUERY;
        let cases = [
            (Liveness::Alive, NodeState::Ready, Some(later), true),
            (
                Liveness::Alive,
                NodeState::Ready,
                Some(Features::ELECTION_PER_ADDRESS),
                false,
            ),
            (
                Liveness::Suspect,
                NodeState::Draining,
                Some(Features::NONE),
                false,
            ),
            (Liveness::Alive, NodeState::Starting, Some(Features::NONE), false),
            (Liveness::Alive, NodeState::Ready, None, false),
            (Liveness::Alive, NodeState::Starting, None, true),
            (Liveness::Down, NodeState::Ready, None, true),
        ];
        for (liveness, state, features, expected) in cases {
            let members = [
                member(Liveness::Alive, NodeState::Ready, Some(Features::OF_THIS_VERSION)),
                member(liveness, state, features),
            ];
            assert_eq!(
                all_know(&members, asked),
                expected,
                "{liveness} {state} {features:?}"
            );
        }
    }
}
