//! The conditions `Ready` and `herald.io/Effective` of pools and advertisements, and what is known of the nodes, on which they depend.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::ConfigurationState;
use herald_api::reason::ConditionReason;
use herald_core::config::{
    AdvertisementScope, AdvertisingNode, Catalog, Ineffective, Pool, ReportedInterfaces, ResourceKind,
};
use herald_core::{Labels, NodeName};
use herald_runtime::Update;
use herald_runtime::log::shorten;
use kube::ResourceExt;

/// Longest message of a condition or a refusal, in bytes: as much as a person reads.
pub(crate) const LONGEST_MESSAGE: usize = 1024;

/// A kind that a condition depends on. Before all are listed, none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EffectSource {
    Pools,
    Advertisements,
    Bgp,
    Nodes,
    Speakers,
}

/// What the conditions `Ready` and `herald.io/Effective` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effectiveness {
    /// Whether the resource is in force as it is written. What else exists in the cluster does not matter.
    pub(crate) is_in_force: bool,
    pub(crate) is_effective: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What a speaker says of the interfaces of its node, in its `ConfigurationState`.
#[derive(Debug)]
pub(crate) struct SpeakerInterfaces {
    node: String,
    interfaces: Option<BTreeSet<String>>,
}

/// Label with the node of a speaker's `ConfigurationState`.
const NODE: &str = "metallb.io/node-name";

impl SpeakerInterfaces {
    /// Reads an object; `None` if it is not of a speaker.
    pub(crate) fn new(object: &ConfigurationState) -> Option<Self> {
        let interfaces = object
            .status
            .as_ref()
            .and_then(|status| status.interfaces.as_ref());
        Some(Self {
            node: object.labels().get(NODE)?.clone(),
            interfaces: interfaces.map(|names| names.iter().cloned().collect()),
        })
    }
}

/// What the effect of the resources depends on besides the catalog.
#[derive(Debug)]
pub(crate) struct Effects {
    awaited: BTreeSet<EffectSource>,
    nodes: BTreeMap<String, AdvertisingNode>,
    /// What the speakers of nodes said that are not known yet.
    early: BTreeMap<String, ReportedInterfaces>,
    /// Which pools advertisements of BGP announce.
    bgp: Vec<AdvertisementScope>,
    /// Whether no speaker speaks BGP.
    is_bgp_disabled: bool,
    /// Whether a condition may differ from what was computed last.
    is_stale: bool,
}

impl Default for Effects {
    /// Starts without knowledge.
    fn default() -> Self {
        let all = [
            EffectSource::Pools,
            EffectSource::Advertisements,
            EffectSource::Bgp,
            EffectSource::Nodes,
            EffectSource::Speakers,
        ];
        Self {
            awaited: all.into(),
            nodes: BTreeMap::new(),
            early: BTreeMap::new(),
            bgp: Vec::new(),
            is_bgp_disabled: false,
            is_stale: false,
        }
    }
}

impl Effects {
    /// Takes that a kind was listed.
    pub(crate) fn handle_listed(&mut self, source: EffectSource) {
        self.is_stale |= self.awaited.remove(&source);
        if source == EffectSource::Nodes {
            self.early.clear();
        }
    }

    /// Takes a changed catalog.
    pub(crate) const fn handle_catalog(&mut self) {
        self.is_stale = true;
    }

    /// Takes which pools advertisements of BGP announce, when all resources of BGP are listed, or would if the speakers spoke BGP.
    pub(crate) fn set_bgp_scopes(&mut self, scopes: Vec<AdvertisementScope>, is_disabled: bool) {
        self.is_stale |= self.bgp != scopes || self.is_bgp_disabled != is_disabled;
        self.bgp = scopes;
        self.is_bgp_disabled = is_disabled;
        self.handle_listed(EffectSource::Bgp);
    }

    /// Whether there is a Node whose labels are selected. Before the Nodes are listed there may be one.
    pub(crate) fn has_node(&self, selects: impl Fn(&Labels) -> bool) -> bool {
        self.awaited.contains(&EffectSource::Nodes) || self.nodes.values().any(|node| selects(&node.labels))
    }

    /// How many Nodes are known.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Takes a new or changed Node.
    pub(crate) fn set_node(&mut self, name: &NodeName, labels: Labels) {
        // Kubelets report every few seconds, and labels change hardly ever.
        if self
            .nodes
            .get(name.as_str())
            .is_some_and(|node| node.labels == labels)
        {
            return;
        }
        self.is_stale = true;
        let early = self.early.remove(name.as_str());
        let node = self.nodes.entry(name.to_string());
        let node = node.or_insert_with(|| AdvertisingNode {
            interfaces: early.unwrap_or_default(),
            labels: Labels::new(),
        });
        node.labels = labels;
    }

    /// Takes that a Node is gone.
    pub(crate) fn remove_node(&mut self, name: &NodeName) {
        self.is_stale |= self.nodes.remove(name.as_str()).is_some();
    }

    /// Takes a change of what the speakers say. What the speaker of a node said last counts until the Node is gone, so that the
    /// restart of a speaker changes nothing.
    pub(crate) fn update_speakers(&mut self, update: Update<Option<SpeakerInterfaces>>) {
        match update {
            Update::Applied(Some(SpeakerInterfaces { node, interfaces })) => {
                let is_awaited = self.awaited.contains(&EffectSource::Nodes);
                let known = self.nodes.get_mut(&node).map(|node| &mut node.interfaces);
                let known = match known {
                    Some(known) => known,
                    None if is_awaited => self.early.entry(node).or_default(),
                    None => return,
                };
                let reported = match (interfaces, &known) {
                    (Some(names), _) => ReportedInterfaces::Reported(names),
                    (None, ReportedInterfaces::Reported(_)) => return,
                    (None, _) => ReportedInterfaces::Unreported,
                };
                self.is_stale |= *known != reported;
                *known = reported;
            }
            Update::Applied(None) | Update::Deleted(_) => {}
            Update::Synced => self.handle_listed(EffectSource::Speakers),
        }
    }

    /// Returns whether the conditions are to be computed again.
    pub(crate) fn poll_stale(&mut self) -> bool {
        self.awaited.is_empty() && std::mem::take(&mut self.is_stale)
    }

    /// Returns why a resource has less effect than it was written for; none before all is listed.
    pub(crate) fn reasons(&self, catalog: &Catalog, kind: ResourceKind, name: &str) -> Vec<Ineffective> {
        if !self.awaited.is_empty() {
            return Vec::new();
        }
        let mut reasons = catalog.ineffective(kind, name, self.nodes.values());
        if reasons.contains(&Ineffective::NoAdvertisement) {
            let pool = catalog.pools().iter().find(|pool| pool.name.as_str() == name);
            let is_announced = |pool: &Pool| self.bgp.iter().any(|scope| scope.selects_pool(pool));
            if pool.is_some_and(is_announced) {
                reasons.retain(|reason| *reason != Ineffective::NoAdvertisement);
                reasons.extend(self.is_bgp_disabled.then_some(Ineffective::BgpDisabled));
            }
        }
        reasons
    }

    /// Computes the condition of a resource.
    pub(crate) fn effect(&self, catalog: &Catalog, kind: ResourceKind, name: &str) -> Effectiveness {
        let reasons = self.reasons(catalog, kind, name);
        let Some(first) = reasons.first() else {
            return Effectiveness {
                is_in_force: true,
                is_effective: true,
                reason: ConditionReason::Effective.reason(),
                message: String::new(),
            };
        };
        let texts: Vec<String> = reasons.iter().map(Ineffective::to_string).collect();
        Effectiveness {
            is_in_force: !matches!(first, Ineffective::SetAside(_)),
            is_effective: false,
            reason: first.reason(),
            message: shorten(texts.join("; "), LONGEST_MESSAGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::config::bgp::{BgpCatalog, BgpChange, RawBgpAdvertisement};
    use herald_core::config::{RawL2Advertisement, RawPool};
    use herald_runtime::ObjectKey;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new();
        catalog.set_pool(&RawPool {
            name: "pool".to_owned(),
            addresses: vec!["192.0.2.0/24".to_owned()],
            ..RawPool::default()
        });
        catalog.set_l2_advertisement(&RawL2Advertisement {
            name: "a".to_owned(),
            interfaces: vec!["eth0".to_owned()],
            ..RawL2Advertisement::default()
        });
        catalog
    }

    fn speaker(node: &str, interfaces: Option<&[&str]>) -> Update<Option<SpeakerInterfaces>> {
        let interfaces = interfaces.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Update::Applied(Some(SpeakerInterfaces {
            node: node.to_owned(),
            interfaces,
        }))
    }

    fn deleted(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    fn listed() -> Effects {
        let mut effects = Effects::default();
        effects.update_speakers(speaker("one", Some(&[])));
        effects.update_speakers(Update::Synced);
        effects.set_node(&"one".into(), Labels::new());
        assert!(!effects.poll_stale());
        effects.handle_listed(EffectSource::Nodes);
        effects.handle_listed(EffectSource::Pools);
        effects.handle_listed(EffectSource::Bgp);
        assert!(!effects.poll_stale());
        effects.handle_listed(EffectSource::Advertisements);
        assert!(effects.poll_stale() && !effects.poll_stale());
        effects
    }

    fn reason(effects: &Effects) -> &'static str {
        let effect = effects.effect(&catalog(), ResourceKind::L2Advertisement, "a");
        assert_eq!(effect.is_effective, effect.message.is_empty());
        effect.reason
    }

    #[test]
    fn nothing_is_said_before_all_is_listed_and_again_only_when_something_has_changed() {
        let mut effects = listed();
        assert_eq!(reason(&effects), "NoInterface");
        effects.set_node(&"one".into(), Labels::from([("a".into(), "b".into())]));
        assert!(effects.poll_stale());
        effects.set_node(&"one".into(), Labels::from([("a".into(), "b".into())]));
        effects.update_speakers(speaker("one", Some(&[])));
        effects.update_speakers(speaker("unknown", Some(&["eth0"])));
        effects.update_speakers(Update::Applied(None));
        assert!(!effects.poll_stale());
        effects.update_speakers(speaker("one", Some(&["eth0"])));
        assert!(effects.poll_stale());
        assert_eq!(reason(&effects), "Effective");
    }

    #[test]
    fn a_pool_that_only_bgp_announces_is_announced() {
        let mut effects = listed();
        let mut catalog = catalog();
        catalog.remove_l2_advertisement("a");
        let reason = |effects: &Effects| effects.effect(&catalog, ResourceKind::Pool, "pool").reason;
        assert_eq!(reason(&effects), "NoAdvertisement");
        let scope = |pool: &str| {
            let mut bgp = BgpCatalog::default();
            bgp.apply([BgpChange::ApplyAdvertisement(RawBgpAdvertisement {
                pools: vec![pool.to_owned()],
                ..RawBgpAdvertisement::default()
            })]);
            bgp.advertisements()
                .map(|advertisement| advertisement.scope.clone())
                .collect()
        };
        effects.set_bgp_scopes(scope("other"), false);
        assert_eq!(reason(&effects), "NoAdvertisement");
        assert!(effects.poll_stale());
        effects.set_bgp_scopes(scope("pool"), false);
        assert!(effects.poll_stale());
        assert_eq!(reason(&effects), "Effective");
        effects.set_bgp_scopes(scope("pool"), false);
        assert!(!effects.poll_stale());
        effects.set_bgp_scopes(scope("pool"), true);
        assert!(effects.poll_stale());
        assert_eq!(reason(&effects), "BGPDisabled");
    }

    #[test]
    fn what_a_speaker_said_last_counts_until_its_node_is_gone() {
        let mut effects = listed();
        effects.set_node(&"two".into(), Labels::new());
        effects.update_speakers(speaker("two", Some(&["eth0"])));
        assert!(effects.poll_stale());
        effects.update_speakers(Update::Deleted(deleted("speaker-two")));
        effects.update_speakers(speaker("two", None));
        assert!(!effects.poll_stale());
        assert_eq!(reason(&effects), "Effective");
        effects.remove_node(&"two".into());
        assert!(effects.poll_stale());
        assert_eq!(reason(&effects), "NoInterface");
    }
}
