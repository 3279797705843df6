//! Placement: how the speakers compare in where they are connected and in how stable they are, and which rule all of them know.
//!
//! All follow from what the speakers report of themselves, so that all speakers come to the same result. As long as one
//! usable speaker reports nothing, because its version does not, none counts: it could not come to the same result. Nor does
//! any while the speakers elect as MetalLB does, whose elections know none of this.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use crate::member::elect_as_metallb;
use crate::{Features, Member, NodeName, Profile};

/// A node whose flap count exceeds the median by this much is damped. Comparing with the median ignores outages that all
/// nodes shared (a switch that restarts), and never damps more than half of the nodes.
const ABOVE_MEDIAN: u8 = 2;

/// What the usable speakers report of themselves, compared.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// Empty unless all usable speakers have reported, and beside MetalLB.
    profiles: BTreeMap<NodeName, Arc<Profile>>,
    /// Whether the speakers elect as MetalLB does.
    is_as_metallb: bool,
    rule: ElectionRule,
    flapping: BTreeSet<NodeName>,
}

/// Which Services are elected for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ElectionRule {
    /// All that share an address: an address has one owner.
    #[default]
    PerAddress,
    /// Each alone, so that an address may have two owners. This rule is for versions side by side: it holds as long as one
    /// usable speaker does not report that it knows the other.
    PerService,
}

/// How well a node is placed for an address; the greatest fitness wins before ranks count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Fitness {
    /// Whether it has one of the interfaces that the advertisements name.
    pub(crate) has_interface: bool,
    /// Whether one of these interfaces can announce an address of this family.
    pub(crate) announces_family: bool,
    /// Whether the address is in one of its subnets.
    is_in_subnet: bool,
    /// How many addresses of the oldest Service are in its subnets.
    subnets: usize,
    /// How many Services with policy Local have there only endpoints that terminate.
    terminating: Reverse<usize>,
}

impl Fitness {
    /// Whether a node of this fitness is in as many subnets as one of the `other` fitness.
    pub(crate) fn is_as_near_as(self, other: Self) -> bool {
        (self.is_in_subnet, self.subnets) == (other.is_in_subnet, other.subnets)
    }

    /// Returns the fitness for Services of two kinds, whose advertisements name different interfaces.
    pub(crate) fn with_interfaces_of(self, other: Self) -> Self {
        Self {
            has_interface: self.has_interface && other.has_interface,
            announces_family: self.announces_family && other.announces_family,
            ..self
        }
    }
}

impl Placement {
    pub(crate) fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let usable: Vec<&Member> = members.filter(|member| member.is_usable()).collect();
        let is_as_metallb = elect_as_metallb(usable.iter().copied());
        let reported = usable
            .into_iter()
            .map(|member| Some((member.node.clone(), member.profile.clone()?)));
        let reported = reported.collect::<Option<BTreeMap<_, _>>>();
        let Some(profiles) = reported.filter(|_| !is_as_metallb) else {
            return Self {
                is_as_metallb,
                rule: ElectionRule::PerService,
                ..Self::default()
            };
        };
        let knows = |profile: &Arc<Profile>| profile.features.contains(Features::ELECTION_PER_ADDRESS);
        let rule = if profiles.values().all(knows) {
            ElectionRule::PerAddress
        } else {
            ElectionRule::PerService
        };
        let mut flaps: Vec<u8> = profiles.values().map(|profile| profile.flaps).collect();
        flaps.sort_unstable();
        let median = flaps.get(flaps.len().saturating_sub(1) / 2).copied().unwrap_or(0);
        let is_flapping = |profile: &Profile| profile.flaps >= median.saturating_add(ABOVE_MEDIAN);
        let flapping = profiles.iter().filter(|(_, profile)| is_flapping(profile));
        Self {
            flapping: flapping.map(|(node, _)| node.clone()).collect(),
            profiles,
            is_as_metallb,
            rule,
        }
    }

    /// Returns which Services are elected for together.
    pub(crate) const fn rule(&self) -> ElectionRule {
        self.rule
    }

    /// Whether `node` ranks after all nodes that do not flap.
    pub(crate) fn is_flapping(&self, node: &NodeName) -> bool {
        self.flapping.contains(node)
    }

    /// Returns what `node` reports of itself; `None` unless all usable speakers have reported.
    pub(crate) fn profile(&self, node: &NodeName) -> Option<&Profile> {
        self.profiles.get(node).map(|profile| &**profile)
    }

    /// Returns how well `node` is placed for an address, of which the oldest Service has these addresses, and of whose Services
    /// `terminating` have there only endpoints that terminate.
    pub(crate) fn fitness(
        &self,
        node: &NodeName,
        address: IpAddr,
        addresses: &[IpAddr],
        selected: Option<&BTreeSet<String>>,
        terminating: usize,
    ) -> Fitness {
        let profile = self.profiles.get(node);
        let fitness = profile.map_or_else(Fitness::default, |profile| Fitness {
            has_interface: profile.has_interface(selected),
            subnets: profile.count_in_subnets(addresses),
            ..Fitness::default()
        });
        match self.rule {
            ElectionRule::PerService => fitness,
            ElectionRule::PerAddress => Fitness {
                announces_family: profile
                    .is_some_and(|profile| profile.announces_family_of(address, selected)),
                is_in_subnet: profile.is_some_and(|profile| profile.count_in_subnets(&[address]) > 0),
                terminating: Reverse(terminating),
                ..fitness
            },
        }
    }

    /// Whether the difference to `before` matters to elections between nodes that are in both, if advertisements name the
    /// interfaces `selected`.
    pub(crate) fn differs_from(&self, before: &Self, selected: &BTreeSet<u32>) -> bool {
        let named = |tags: &Option<Vec<u32>>| -> Option<(bool, Vec<u32>)> {
            let tags = tags.as_ref()?;
            let named = tags.iter().filter(|tag| selected.contains(tag));
            Some((tags.is_empty(), named.copied().collect()))
        };
        let in_both = self.profiles.iter();
        let mut in_both = in_both.filter_map(|(node, now)| Some((node, now, before.profiles.get(node)?)));
        self.profiles.is_empty() != before.profiles.is_empty()
            || self.rule != before.rule
            || self.is_as_metallb != before.is_as_metallb
            || in_both.any(|(node, now, then)| {
                now.subnets != then.subnets
                    || named(&now.interfaces) != named(&then.interfaces)
                    || named(&now.ipv6_interfaces) != named(&then.ipv6_interfaces)
                    || self.is_flapping(node) != before.is_flapping(node)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Liveness, NodeState};
    use alloc::format;
    use proptest::prelude::*;

    fn members(flaps: &[u8]) -> Vec<Member> {
        let member = |(i, flaps): (usize, &u8)| Member {
            profile: Some(Arc::new(Profile {
                flaps: *flaps,
                ..Profile::default()
            })),
            ..Member::new(name(i), Liveness::Alive, NodeState::Ready)
        };
        flaps.iter().enumerate().map(member).collect()
    }

    fn name(i: usize) -> NodeName {
        format!("node-{i}").as_str().into()
    }

    fn flapping(flaps: &[u8]) -> Vec<usize> {
        let placement = Placement::of(members(flaps).iter());
        (0..flaps.len())
            .filter(|i| placement.is_flapping(&name(*i)))
            .collect()
    }

    #[test]
    fn a_node_that_flapped_twice_more_than_the_median_is_damped() {
        for (flaps, expected) in [
            (&[][..], &[][..]),
            (&[7], &[]),
            (&[0, 1], &[]),
            (&[0, 2], &[1]),
            (&[0, 0, 1], &[]),
            (&[0, 3, 1], &[1]),
            (&[0, 2, 0, 3, 0], &[1, 3]),
        ] {
            assert_eq!(flapping(flaps), expected, "{flaps:?}");
        }
    }

    #[test]
    fn a_shared_outage_damps_no_node_and_neither_does_a_new_node() {
        assert_eq!(flapping(&[3, 3, 4, 3]), [0_usize; 0]);
        assert_eq!(flapping(&[3, 3, 3, 0]), [0_usize; 0]);
    }

    #[test]
    fn while_one_speaker_reports_nothing_no_node_is_damped_and_all_are_equally_fit() {
        let mut members = members(&[0, 0, 0, 5]);
        members[0].profile = None;
        assert!(!Placement::of(members.iter()).is_flapping(&name(3)));
        let fitness = |members: &[Member]| {
            let address = [192, 0, 2, 1].into();
            Placement::of(members.iter()).fitness(&name(1), address, &[address], None, 0)
        };
        assert_eq!(fitness(&members), Fitness::default());
        members[0].liveness = Liveness::Down;
        assert!(Placement::of(members.iter()).is_flapping(&name(3)));
        let best = Fitness {
            has_interface: true,
            subnets: 1,
            ..Fitness::default()
        };
        assert_eq!(fitness(&members), best);
    }

    proptest! {
        #[test]
        fn at_least_half_of_the_nodes_are_never_damped(flaps in prop::collection::vec(0_u8..8, 1..20)) {
            prop_assert!(2 * flapping(&flaps).len() <= flaps.len());
        }
    }
}
