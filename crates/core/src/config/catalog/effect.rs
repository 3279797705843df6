//! Which resources have less effect than they were written for. A name or selector that matches nothing is no error, because
//! what it is for may come later, but nobody else would notice it.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::Catalog;
use crate::config::{L2Advertisement, Pool, Problem, ResourceKind};
use crate::{Labels, PoolName};

/// The reason why a resource, as it is written, has no effect, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ineffective {
    /// The resource is set aside because of problems. The message has all of them; the last good version stays in force.
    SetAside(Vec<Problem>),
    /// An advertisement names pools that do not exist. The other pools that it selects are announced.
    UnknownPools(Vec<PoolName>),
    /// An advertisement selects no pool that is in force.
    NoPool,
    /// No Node has the labels of an advertisement's `nodeSelectors`.
    NoNode,
    /// No node that an advertisement selects has one of its `interfaces`, or they are down, as the speakers say (`status.interfaces`
    /// of their `ConfigurationState`).
    NoInterface(Vec<String>),
    /// No advertisement in force selects a pool: Services get its addresses, but no node announces them.
    NoAdvertisement,
    /// Only `BGPAdvertisement`s select a pool, and BGP is switched off (`speaker.bgp.enabled: false` in the chart's values).
    BgpDisabled,
}

impl Ineffective {
    /// Returns the CamelCase word that is the reason in the condition.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SetAside(_) => "ConfigurationError",
            Self::UnknownPools(_) => "UnknownPool",
            Self::NoPool => "NoPool",
            Self::NoNode => "NoNode",
            Self::NoInterface(_) => "NoInterface",
            Self::NoAdvertisement => "NoAdvertisement",
            Self::BgpDisabled => "BGPDisabled",
        }
    }
}

impl fmt::Display for Ineffective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside(problems) => write_list(f, problems, "; "),
            Self::UnknownPools(names) => {
                f.write_str("spec.ipAddressPools names pools that do not exist: ")?;
                write_list(f, names, ", ")
            }
            Self::NoPool => f.write_str("no IPAddressPool that is in force is selected"),
            Self::NoNode => f.write_str("spec.nodeSelectors select no Node"),
            Self::NoInterface(names) => {
                f.write_str(
                    "no selected node has one of the interfaces of spec.interfaces, or they are down: ",
                )?;
                write_list(f, names, ", ")
            }
            Self::NoAdvertisement => {
                f.write_str("no advertisement selects the pool, so its addresses are not announced")
            }
            Self::BgpDisabled => f.write_str(
                "only BGPAdvertisements select the pool, and BGP is switched off (speaker.bgp.enabled: false in the chart's values), so \
                 its addresses are not announced",
            ),
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display], separator: &str) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// A node as far as the effect of advertisements depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdvertisingNode {
    /// `metadata.labels`.
    pub labels: Labels,
    /// What its speaker says of its interfaces.
    pub interfaces: ReportedInterfaces,
}

/// What the speaker of a node says of its interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReportedInterfaces {
    /// No speaker of the node is known.
    #[default]
    NoSpeaker,
    /// The speaker does not say it: it has just started, or is of a version that never does.
    Unreported,
    /// These of the interfaces that advertisements name can announce.
    Reported(BTreeSet<String>),
}

impl Catalog {
    /// Returns why a resource has less effect than it was written for. A resource that does not exist has no reason.
    pub fn ineffective<'a>(
        &self,
        kind: ResourceKind,
        name: &str,
        nodes: impl Iterator<Item = &'a AdvertisingNode> + Clone,
    ) -> Vec<Ineffective> {
        let of_resource = |problem: &Problem| (problem.kind, problem.name.as_str()).cmp(&(kind, name));
        let start = self
            .problems
            .partition_point(|problem| of_resource(problem).is_lt());
        let problems = self.problems[start..].iter();
        let problems: Vec<Problem> = problems
            .take_while(|problem| of_resource(problem).is_eq())
            .cloned()
            .collect();
        if !problems.is_empty() {
            return vec![Ineffective::SetAside(problems)];
        }
        match kind {
            ResourceKind::Pool => {
                let mut pools = self.pools.iter();
                let pool = pools.find(|pool| pool.name.as_str() == name);
                let is_unused =
                    |pool: &&Pool| !self.l2_advertisements.iter().any(|a| a.scope.selects_pool(pool));
                pool.filter(is_unused)
                    .map_or_else(Vec::new, |_| vec![Ineffective::NoAdvertisement])
            }
            ResourceKind::L2Advertisement => {
                let mut advertisements = self.l2_advertisements.iter();
                let advertisement = advertisements.find(|advertisement| advertisement.name == name);
                advertisement.map_or_else(Vec::new, |found| self.ineffective_advertisement(found, nodes))
            }
        }
    }

    fn ineffective_advertisement<'a>(
        &self,
        advertisement: &L2Advertisement,
        nodes: impl Iterator<Item = &'a AdvertisingNode> + Clone,
    ) -> Vec<Ineffective> {
        let scope = &advertisement.scope;
        let mut reasons = Vec::new();
        let named = scope.pools.iter();
        let unknown: Vec<PoolName> = named
            .filter(|name| !self.pool_records.has(name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            reasons.push(Ineffective::UnknownPools(unknown));
        } else if !self.pools.iter().any(|pool| scope.selects_pool(pool)) {
            reasons.push(Ineffective::NoPool);
        }
        let mut selected = nodes.filter(|node| scope.selects_node(&node.labels));
        if selected.clone().next().is_none() {
            reasons.push(Ineffective::NoNode);
            return reasons;
        }
        let mut has_report = false;
        let may_announce = selected.any(|node| match &node.interfaces {
            ReportedInterfaces::NoSpeaker => false,
            ReportedInterfaces::Unreported => true,
            ReportedInterfaces::Reported(existing) => {
                has_report = true;
                advertisement
                    .interfaces
                    .iter()
                    .any(|name| existing.contains(name))
            }
        });
        if !advertisement.interfaces.is_empty() && has_report && !may_announce {
            let names = advertisement.interfaces.iter().map(ToString::to_string).collect();
            reasons.push(Ineffective::NoInterface(names));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawSelector;
    use crate::config::{RawL2Advertisement, RawPool};

    fn catalog(pools: &[&str], advertisements: &[RawL2Advertisement]) -> Catalog {
        let mut catalog = Catalog::new();
        let addresses = (0..).map(|i| alloc::format!("192.0.{i}.0/24"));
        let pools = pools.iter().zip(addresses).map(|(name, addresses)| RawPool {
            name: name.to_string(),
            addresses: vec![addresses],
            ..RawPool::default()
        });
        catalog.set_pools(pools.collect());
        catalog.set_l2_advertisements(advertisements.to_vec());
        catalog
    }

    fn advertisement(pools: &[&str]) -> RawL2Advertisement {
        RawL2Advertisement {
            name: "a".into(),
            pools: pools.iter().map(ToString::to_string).collect(),
            ..RawL2Advertisement::default()
        }
    }

    fn node(zone: &str, interfaces: ReportedInterfaces) -> AdvertisingNode {
        AdvertisingNode {
            labels: Labels::from([("zone".into(), zone.into())]),
            interfaces,
        }
    }

    fn reported(names: &[&str]) -> ReportedInterfaces {
        ReportedInterfaces::Reported(names.iter().map(ToString::to_string).collect())
    }

    fn reasons(
        catalog: &Catalog,
        kind: ResourceKind,
        name: &str,
        nodes: &[AdvertisingNode],
    ) -> Vec<&'static str> {
        let reasons = catalog.ineffective(kind, name, nodes.iter());
        reasons.iter().map(Ineffective::reason).collect()
    }

    fn of_advertisement(catalog: &Catalog, nodes: &[AdvertisingNode]) -> Vec<&'static str> {
        reasons(catalog, ResourceKind::L2Advertisement, "a", nodes)
    }

    #[test]
    fn an_advertisement_that_names_an_unknown_pool_or_selects_none_says_so() {
        let nodes = [node("a", ReportedInterfaces::default())];
        for (pools, named, expected) in [
            (&["one", "two"][..], &["one"][..], &[][..]),
            (&["one"], &["one", "two"], &["UnknownPool"]),
            (&["one"], &[], &[]),
            (&[], &[], &["NoPool"]),
            (&[], &["one"], &["UnknownPool"]),
        ] {
            let catalog = catalog(pools, &[advertisement(named)]);
            assert_eq!(
                of_advertisement(&catalog, &nodes),
                expected,
                "{pools:?} {named:?}"
            );
        }
        let unknown = catalog(&["one"], &[advertisement(&["two", "three", "one"])]);
        let reasons = unknown.ineffective(ResourceKind::L2Advertisement, "a", nodes.iter());
        let text = "spec.ipAddressPools names pools that do not exist: three, two";
        assert_eq!(reasons[0].to_string(), text);
    }

    #[test]
    fn an_advertisement_that_selects_no_node_says_so() {
        let mut raw = advertisement(&["one", "other"]);
        raw.node_selectors = vec![RawSelector {
            match_labels: Labels::from([("zone".into(), "a".into())]),
            ..RawSelector::default()
        }];
        raw.interfaces = vec!["eth9".into()];
        let catalog = catalog(&["one"], &[raw]);
        assert_eq!(
            of_advertisement(&catalog, &[node("b", reported(&[]))]),
            ["UnknownPool", "NoNode"]
        );
        let both = [node("b", reported(&[])), node("a", reported(&["eth9"]))];
        assert_eq!(of_advertisement(&catalog, &both), ["UnknownPool"]);
    }

    #[test]
    fn an_advertisement_has_no_interface_if_all_speakers_of_its_nodes_say_so() {
        use ReportedInterfaces::{NoSpeaker, Unreported};
        let mut raw = advertisement(&["one"]);
        raw.interfaces = vec!["eth0".into(), "eth1".into()];
        let catalog = catalog(&["one"], &[raw]);
        for (interfaces, expected) in [
            (&[reported(&[]), reported(&["eth2"])][..], &["NoInterface"][..]),
            (&[reported(&[]), reported(&["eth1"])], &[]),
            (&[reported(&[]), Unreported], &[]),
            (&[reported(&[]), NoSpeaker], &["NoInterface"]),
            (&[NoSpeaker, NoSpeaker], &[]),
        ] {
            let nodes = interfaces.iter().map(|interfaces| node("a", interfaces.clone()));
            let nodes: Vec<AdvertisingNode> = nodes.collect();
            assert_eq!(of_advertisement(&catalog, &nodes), expected, "{interfaces:?}");
        }
    }

    #[test]
    fn a_pool_that_no_advertisement_in_force_selects_says_so() {
        let catalog = catalog(&["one", "two"], &[advertisement(&["one"])]);
        let of_pool = |name: &str| reasons(&catalog, ResourceKind::Pool, name, &[]);
        assert_eq!(of_pool("one"), [""; 0]);
        assert_eq!(of_pool("two"), ["NoAdvertisement"]);
        assert_eq!(of_pool("three"), [""; 0], "there is none");
    }

    #[test]
    fn a_resource_that_is_set_aside_has_all_its_problems_as_the_reason() {
        let catalog = catalog(&["one"], &[advertisement(&["one", "one", "one"])]);
        let reasons = catalog.ineffective(ResourceKind::L2Advertisement, "a", [].iter());
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].reason(), "ConfigurationError");
        assert_eq!(reasons[0].to_string().matches("name each pool once").count(), 2);
    }
}
