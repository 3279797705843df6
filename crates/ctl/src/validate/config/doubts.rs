//! What the webhook warns about, as far as the files show it.

use herald_core::config::bgp::{BgpChange, BgpKind, RawBgpAdvertisement, RawBgpPeer};
use herald_core::config::{AdvertisingNode, Ineffective, ResourceKind};

use super::NamespaceConfiguration;
use crate::validate::finding::Findings;
use crate::validate::mistake::{Doubt, ObjectMistake};
use crate::validate::name;
use crate::validate::object::ManifestObject;
use crate::validate::path::FieldPath;

/// The webhook's warning of `disableMP`.
const DISABLED_MP: &str = "disable mp is deprecated and has no effect since it's the default behavior now";
/// The most pairs of resources that are compared: more than a cluster has, and less than a second.
const MOST_PAIRS: usize = 25_000_000;
const POOLS: &str = "spec.ipAddressPools";

impl NamespaceConfiguration<'_> {
    pub(super) fn check_doubts(&self, findings: &mut Findings) {
        for raw in &self.l2_advertisements {
            if let Some(object) = self.object("L2Advertisement", &raw.name) {
                self.check_pool_names(object, &raw.pools, findings);
            }
        }
        for change in &self.bgp_changes {
            match change {
                BgpChange::ApplyAdvertisement(raw) => self.check_bgp_advertisement(raw, findings),
                BgpChange::ApplyPeer(raw) => self.check_peer(raw, findings),
                BgpChange::ApplyCommunities(_)
                | BgpChange::ApplyBfdProfile(_)
                | BgpChange::ApplySecret(_)
                | BgpChange::Delete(..)
                | BgpChange::DeleteSecret(_) => {}
            }
        }
        self.check_effects(findings);
    }

    /// Adds the names of pools that no pool of the files has, and those that none can have.
    fn check_pool_names(&self, object: &ManifestObject<'_>, names: &[String], findings: &mut Findings) {
        for (place, pool) in names.iter().enumerate() {
            let field = FieldPath::parse(POOLS).index(place);
            if let Some(rule) = name::broken_resource_rule(pool) {
                let name = pool.clone();
                findings.push_at(object, field, ObjectMistake::Name { name, rule });
            } else if self.object("IPAddressPool", pool).is_none() {
                let known = self.pools.iter().map(|raw| raw.name.as_str());
                findings.push_at(object, field, unknown("IPAddressPool", pool, known));
            }
        }
    }

    fn check_bgp_advertisement(&self, raw: &RawBgpAdvertisement, findings: &mut Findings) {
        let Some(object) = self.object("BGPAdvertisement", &raw.name) else {
            return;
        };
        self.check_pool_names(object, &raw.pools, findings);
        for (place, peer) in raw.peers.iter().enumerate() {
            if !self.bgp.has(BgpKind::Peer, peer) {
                let field = FieldPath::parse("spec.peers").index(place);
                let peers = self.objects.keys().filter(|(kind, _)| kind == "BGPPeer");
                let known = peers.map(|(_, name)| name.as_str());
                findings.push_at(object, field, unknown("BGPPeer", peer, known));
            }
        }
    }

    fn check_peer(&self, raw: &RawBgpPeer, findings: &mut Findings) {
        let Some(object) = self.object("BGPPeer", &raw.name) else {
            return;
        };
        let disable_mp = FieldPath::parse("spec.disableMP");
        let written = disable_mp.node(object.node);
        if written.is_some_and(|written| written.scalar() == true) {
            findings.push_at(object, disable_mp, Doubt::Deprecated(DISABLED_MP.to_owned()));
        }
        if object.api_version.ends_with("/v1beta1") {
            let field = FieldPath::parse("apiVersion");
            let text = "v1beta1 is deprecated, please use v1beta2".to_owned();
            findings.push_at(object, field, Doubt::Deprecated(text));
        }
    }

    /// Adds which resources have less effect than they are written for.
    fn check_effects(&self, findings: &mut Findings) {
        for (kind, name, why) in self.bgp.ineffective(false) {
            if let Some(object) = self.object(&kind.to_string(), &name) {
                let field = FieldPath::parse("spec.bfdProfile");
                findings.push_at(object, field, Doubt::Ineffective(why.to_string()));
            }
        }
        // Without pools or advertisements in the files, those of the cluster decide.
        let advertisements = self.l2_advertisements.len() + self.bgp.advertisements().count();
        let pairs = self.pools.len() * (self.pools.len() + advertisements);
        if self.pools.is_empty() || advertisements == 0 || pairs > MOST_PAIRS {
            return;
        }
        for pool in self.catalog.pools() {
            let is_announced = self
                .bgp
                .advertisements()
                .any(|advertisement| advertisement.scope.selects_pool(pool));
            let reasons = self.reasons(ResourceKind::Pool, pool.name.as_str());
            if !is_announced && reasons.contains(&Ineffective::NoAdvertisement) {
                self.push_ineffective(
                    "IPAddressPool",
                    pool.name.as_str(),
                    &Ineffective::NoAdvertisement,
                    findings,
                );
            }
        }
        for advertisement in self.catalog.l2_advertisements() {
            let reasons = self.reasons(ResourceKind::L2Advertisement, &advertisement.name);
            if reasons.contains(&Ineffective::NoPool) {
                self.push_ineffective(
                    "L2Advertisement",
                    &advertisement.name,
                    &Ineffective::NoPool,
                    findings,
                );
            }
        }
    }

    /// Returns why a resource has less effect than it is written for; the nodes are not known.
    fn reasons(&self, kind: ResourceKind, name: &str) -> Vec<Ineffective> {
        let nodes = [AdvertisingNode::default()];
        self.catalog.ineffective(kind, name, nodes.iter())
    }

    fn push_ineffective(&self, kind: &str, name: &str, why: &Ineffective, findings: &mut Findings) {
        if let Some(object) = self.object(kind, name) {
            let field = FieldPath::parse("metadata.name");
            findings.push_at(object, field, Doubt::Ineffective(why.to_string()));
        }
    }
}

fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Doubt {
    Doubt::Unknown {
        kind,
        name: name.to_owned(),
        nearest: name::nearest(name, known).map(str::to_owned),
    }
}
