//! How the speakers compare: which are too restless to be given addresses before others, and which do not stand where the
//! clients are.
//!
//! Both go by what the speakers say of themselves, so that all come to the same result. While one of them says nothing,
//! because it is of a version that does not know of it, neither counts: that one could not come to the same result.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::{Member, NodeName, Profile};

/// A speaker that came back so many times more than the median one is the odd one out. What all of them suffered, a switch
/// that restarts, makes nobody odd, nor is it ever more than half of them, so that they cannot all be passed over for a few.
const ODD: u8 = 2;

/// What the usable speakers say of themselves, compared.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Empty unless all of them have told.
    profiles: BTreeMap<NodeName, Arc<Profile>>,
    restless: BTreeSet<NodeName>,
}

/// How well a node stands for some addresses; the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Footing {
    /// Whether it has one of the interfaces that the advertisements name.
    pub(crate) has_interface: bool,
    /// In how many of their subnets it has a leg.
    legs: usize,
}

impl Standing {
    pub(crate) fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let usable = members.filter(|member| member.is_usable());
        let told = usable.map(|member| Some((member.node.clone(), member.profile.clone()?)));
        let Some(profiles) = told.collect::<Option<BTreeMap<_, _>>>() else {
            return Self::default();
        };
        let mut returns: Vec<u8> = profiles.values().map(|profile| profile.flaps).collect();
        returns.sort_unstable();
        let median = returns
            .get(returns.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(0);
        let is_odd = |profile: &Profile| profile.flaps >= median.saturating_add(ODD);
        let restless = profiles.iter().filter(|(_, profile)| is_odd(profile));
        Self {
            restless: restless.map(|(node, _)| node.clone()).collect(),
            profiles,
        }
    }

    /// Whether `node` comes after all that are not.
    pub(crate) fn is_restless(&self, node: &NodeName) -> bool {
        self.restless.contains(node)
    }

    /// How well `node` stands for these addresses: of several candidates only the best ones count.
    pub(crate) fn footing(
        &self,
        node: &NodeName,
        addresses: &[IpAddr],
        selected: Option<&BTreeSet<String>>,
    ) -> Footing {
        let profile = self.profiles.get(node);
        profile.map_or(Footing::default(), |profile| Footing {
            has_interface: profile.has_interface(selected),
            legs: profile.count_in_subnets(addresses),
        })
    }

    /// Whether it makes a difference to elections between nodes that are in both, if these interfaces are selected.
    pub(crate) fn differs_from(&self, before: &Self, selected: &BTreeSet<u32>) -> bool {
        let named = |profile: &Profile| -> Option<Vec<u32>> {
            let tags = profile.interfaces.as_ref()?.iter();
            Some(tags.filter(|tag| selected.contains(tag)).copied().collect())
        };
        let in_both = self.profiles.iter();
        let mut in_both = in_both.filter_map(|(node, now)| Some((node, now, before.profiles.get(node)?)));
        self.profiles.is_empty() != before.profiles.is_empty()
            || in_both.any(|(node, now, then)| {
                now.subnets != then.subnets
                    || named(now) != named(then)
                    || self.is_restless(node) != before.is_restless(node)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Liveness, NodeState};
    use alloc::format;
    use proptest::prelude::*;

    fn members(returns: &[u8]) -> Vec<Member> {
        let member = |(i, returns): (usize, &u8)| Member {
            profile: Some(Arc::new(Profile {
                flaps: *returns,
                ..Profile::default()
            })),
            ..Member::new(name(i), Liveness::Alive, NodeState::Ready)
        };
        returns.iter().enumerate().map(member).collect()
    }

    fn name(i: usize) -> NodeName {
        format!("node-{i}").as_str().into()
    }

    fn restless(returns: &[u8]) -> Vec<usize> {
        let standing = Standing::of(members(returns).iter());
        (0..returns.len())
            .filter(|i| standing.is_restless(&name(*i)))
            .collect()
    }

    #[test]
    fn who_came_back_twice_more_than_the_others_is_restless() {
        for (returns, expected) in [
            (&[][..], &[][..]),
            (&[7], &[]),
            (&[0, 1], &[]),
            (&[0, 2], &[1]),
            (&[0, 0, 1], &[]),
            (&[0, 3, 1], &[1]),
            (&[0, 2, 0, 3, 0], &[1, 3]),
        ] {
            assert_eq!(restless(returns), expected, "{returns:?}");
        }
    }

    #[test]
    fn what_all_suffered_makes_nobody_restless_nor_does_a_newcomer() {
        assert_eq!(restless(&[3, 3, 4, 3],), [0_usize; 0]);
        assert_eq!(restless(&[3, 3, 3, 0],), [0_usize; 0]);
    }

    #[test]
    fn while_one_does_not_tell_nobody_is_restless_and_all_stand_alike() {
        let mut members = members(&[0, 0, 0, 5]);
        members[0].profile = None;
        assert!(!Standing::of(members.iter()).is_restless(&name(3)));
        let footing = |members: &[Member]| {
            Standing::of(members.iter()).footing(&name(1), &[[192, 0, 2, 1].into()], None)
        };
        assert_eq!(footing(&members), Footing::default());
        members[0].liveness = Liveness::Down;
        assert!(Standing::of(members.iter()).is_restless(&name(3)));
        let firm = Footing {
            has_interface: true,
            legs: 1,
        };
        assert_eq!(footing(&members), firm);
    }

    proptest! {
        #[test]
        fn at_least_half_are_never_passed_over(returns in prop::collection::vec(0_u8..8, 1..20)) {
            prop_assert!(2 * restless(&returns).len() <= returns.len());
        }
    }
}
