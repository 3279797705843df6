//! Pools, advertisements and resources of BGP, checked as the controller checks them: all of one namespace together.

mod doubts;

use std::collections::{BTreeMap, BTreeSet};

use herald_api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement, convert};
use herald_core::config::bgp::{BgpCatalog, BgpChange, BgpError, BgpKind};
use herald_core::config::{Catalog, ConfigError, Problem, RawL2Advertisement, RawPool};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::finding::Findings;
use super::mistake::{Doubt, Mistake, ObjectMistake};
use super::object::ManifestObject;
use super::path::FieldPath;

/// The resources of all files by namespace: a Herald reads only those of its own.
#[derive(Default)]
pub(crate) struct Configurations<'a>(BTreeMap<String, NamespaceConfiguration<'a>>);

/// The resources of one namespace.
#[derive(Default)]
pub(crate) struct NamespaceConfiguration<'a> {
    objects: BTreeMap<(String, String), &'a ManifestObject<'a>>,
    pools: Vec<RawPool>,
    l2_advertisements: Vec<RawL2Advertisement>,
    bgp_changes: Vec<BgpChange>,
    catalog: Catalog,
    bgp: BgpCatalog,
}

/// A resource as the catalogs take it.
enum ReadResource {
    Pool(RawPool),
    L2Advertisement(RawL2Advertisement),
    Bgp(BgpChange),
}

impl<'a> Configurations<'a> {
    /// Reads the resources among `objects`. Of two of one name the first is used. `is_broken` says of which objects it was said
    /// already that their definition does not permit them.
    pub(crate) fn read(
        objects: &'a [ManifestObject<'a>],
        is_broken: &[bool],
        findings: &mut Findings,
    ) -> Self {
        let mut all = Self::default();
        for (object, is_broken) in objects.iter().zip(is_broken) {
            if object.name.is_empty() {
                continue;
            }
            match resource(object) {
                Ok(Some(resource)) => {
                    let of_namespace = all.0.entry(object.namespace.clone()).or_default();
                    of_namespace.add(object, resource);
                }
                Err(error) if !is_broken => {
                    let mistake = ObjectMistake::Unreadable(error.to_string());
                    findings.push_at(object, FieldPath::default(), mistake);
                }
                Ok(None) | Err(_) => {}
            }
        }
        all.join_without_namespace();
        for of_namespace in all.0.values_mut() {
            of_namespace.settle();
        }
        all
    }

    /// Adds the resources without a namespace to those of the only other one: `kubectl apply -n` decides on it. If both have one of
    /// the same name, they are for two namespaces.
    fn join_without_namespace(&mut self) {
        let names = |of: &NamespaceConfiguration<'_>| of.objects.keys().cloned().collect::<BTreeSet<_>>();
        let mut all = self.0.values().map(names);
        let (Some(first), Some(second), None) = (all.next(), all.next(), all.next()) else {
            return;
        };
        if !self.0.contains_key("") || !first.is_disjoint(&second) {
            return;
        }
        if let (Some(without), Some(mut only)) = (self.0.remove(""), self.0.first_entry()) {
            let only = only.get_mut();
            only.pools.extend(without.pools);
            only.l2_advertisements.extend(without.l2_advertisements);
            only.bgp_changes.extend(without.bgp_changes);
            only.objects.extend(without.objects);
        }
    }

    /// Adds the problems of all resources, and what may be wrong with them.
    pub(crate) fn check(&self, findings: &mut Findings) {
        for of_namespace in self.0.values() {
            of_namespace.check_problems(findings);
            of_namespace.check_doubts(findings);
        }
    }

    /// Whether a namespace has a pool of this name, in force or not.
    pub(crate) fn has_pool(&self, name: &str) -> bool {
        let mut all = self.0.values();
        all.any(|of_namespace| of_namespace.object("IPAddressPool", name).is_some())
    }

    /// Returns the names of all pools.
    pub(crate) fn pool_names(&self) -> impl Iterator<Item = &str> {
        let pools = self.0.values().flat_map(|of_namespace| &of_namespace.pools);
        pools.map(|pool| pool.name.as_str())
    }

    /// Returns the catalogs of all namespaces.
    pub(crate) fn catalogs(&self) -> impl Iterator<Item = &Catalog> + Clone {
        self.0.values().map(|of_namespace| &of_namespace.catalog)
    }
}

impl<'a> NamespaceConfiguration<'a> {
    fn add(&mut self, object: &'a ManifestObject<'a>, resource: ReadResource) {
        let key = (object.kind.clone(), object.name.clone());
        if self.objects.contains_key(&key) {
            return;
        }
        self.objects.insert(key, object);
        match resource {
            ReadResource::Pool(raw) => self.pools.push(raw),
            ReadResource::L2Advertisement(raw) => self.l2_advertisements.push(raw),
            ReadResource::Bgp(change) => self.bgp_changes.push(change),
        }
    }

    fn settle(&mut self) {
        self.catalog.set_pools(self.pools.clone());
        self.catalog.set_l2_advertisements(self.l2_advertisements.clone());
        self.bgp.apply(self.bgp_changes.clone());
    }

    fn check_problems(&self, findings: &mut Findings) {
        for problem in self.catalog.problems() {
            let mistake = problem.error.clone().into();
            self.push(&problem.kind.to_string(), problem, mistake, findings);
        }
        for problem in self.bgp.problems() {
            let error = problem.error.clone();
            if let ConfigError::Bgp(BgpError::MissingBfdProfile(name)) = &error
                && self.bgp.has(BgpKind::BfdProfile, name)
            {
                // What is wrong with the profile is named there.
                continue;
            }
            let is_transient = matches!(&error, ConfigError::Bgp(error) if error.is_transient());
            let mistake = match is_transient {
                true => Doubt::Other(error).into(),
                false => error.into(),
            };
            self.push(&problem.kind.to_string(), problem, mistake, findings);
        }
    }

    fn push<K>(&self, kind: &str, problem: &Problem<K>, mistake: Mistake, findings: &mut Findings) {
        let Some(object) = self.object(kind, &problem.name) else {
            return;
        };
        let field = FieldPath::parse(&problem.field);
        let first = self.overlapped(&problem.error);
        let finding = findings.push_at(object, field, mistake);
        finding.first = first.map(|(object, field)| (object.file, field.locate(object.node)));
    }

    /// Returns the entry that another one overlaps with.
    fn overlapped(&self, error: &ConfigError) -> Option<(&'a ManifestObject<'a>, FieldPath)> {
        let ConfigError::Overlap {
            other, other_pool, ..
        } = error
        else {
            return None;
        };
        let pool = self.pools.iter().find(|pool| pool.name == other_pool.as_str())?;
        let place = pool.addresses.iter().position(|entry| entry == other)?;
        let object = self.object("IPAddressPool", &pool.name)?;
        Some((object, FieldPath::parse("spec.addresses").index(place)))
    }

    fn object(&self, kind: &str, name: &str) -> Option<&'a ManifestObject<'a>> {
        self.objects.get(&(kind.to_owned(), name.to_owned())).copied()
    }
}

/// Reads an object with the controller's types; none if it is no resource of Herald.
fn resource(object: &ManifestObject<'_>) -> serde_json::Result<Option<ReadResource>> {
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    Ok(Some(match (group, object.kind.as_str()) {
        ("metallb.io", "IPAddressPool") => {
            ReadResource::Pool(convert::pool(&parse::<IPAddressPool>(object.json())?))
        }
        ("metallb.io", "L2Advertisement") => ReadResource::L2Advertisement(convert::l2_advertisement(
            &parse::<L2Advertisement>(object.json())?,
        )),
        ("metallb.io", "BGPPeer") => {
            // A version that does not exist was named before.
            let Ok(peer) = convert::bgp_peer_version(object.json(), "metallb.io/v1beta2") else {
                return Ok(None);
            };
            let peer = convert::bgp_peer(&parse::<BGPPeer>(peer)?);
            ReadResource::Bgp(BgpChange::ApplyPeer(peer))
        }
        ("metallb.io", "BGPAdvertisement") => {
            let advertisement = convert::bgp_advertisement(&parse::<BGPAdvertisement>(object.json())?);
            ReadResource::Bgp(BgpChange::ApplyAdvertisement(advertisement))
        }
        ("metallb.io", "Community") => {
            let communities = convert::communities(&parse::<Community>(object.json())?);
            ReadResource::Bgp(BgpChange::ApplyCommunities(communities))
        }
        ("metallb.io", "BFDProfile") => {
            let profile = convert::bfd_profile(&parse::<BFDProfile>(object.json())?);
            ReadResource::Bgp(BgpChange::ApplyBfdProfile(profile))
        }
        ("", "Secret") => {
            let mut secret = parse::<Secret>(object.json())?;
            // As the API server stores it.
            let texts = secret.string_data.take().into_iter().flatten();
            let texts = texts.map(|(key, text)| (key, ByteString(text.into_bytes())));
            secret.data.get_or_insert_default().extend(texts);
            let Some(raw) = convert::secret(&secret) else {
                return Ok(None);
            };
            ReadResource::Bgp(BgpChange::ApplySecret(raw))
        }
        _ => return Ok(None),
    }))
}

fn parse<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    serde_json::from_value(value)
}
