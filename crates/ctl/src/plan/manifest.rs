//! Manifests, and what they change in the cluster as it is known.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use herald_api::convert;
use herald_core::config::ConfigChange;
use herald_core::config::bgp::BgpChange;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cluster::ClusterView;
use crate::model::{Model, peer_changes};
use crate::output::quoted;

/// The bytes of a file, at most.
const MOST_BYTES: u64 = 16 << 20;

/// An object of a file.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    kind: String,
    name: String,
    object: Value,
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, quoted(&self.name))
    }
}

/// Reads the objects of files; `-` is standard input.
///
/// # Errors
/// When a file cannot be read or is no YAML; `heraldctl validate` names each mistake with its place.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Manifest>> {
    let mut all = Vec::new();
    for file in files {
        let text = read_file(file).with_context(|| format!("reading {}", file.display()))?;
        all.extend(parse(&text).with_context(|| file.display().to_string())?);
    }
    Ok(all)
}

/// Reads the objects of a text.
///
/// # Errors
/// When it is no YAML, or an object has no kind.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Manifest>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| anyhow::anyhow!("no YAML: {error}; heraldctl validate shows where"))?;
    let mut all = Vec::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        add(document, &mut all)?;
    }
    Ok(all)
}

fn read_file(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MOST_BYTES + 1)
            .read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?
            .take(MOST_BYTES + 1)
            .read_to_string(&mut text)?;
    }
    ensure!(
        text.len() as u64 <= MOST_BYTES,
        "the file has more than {MOST_BYTES} bytes"
    );
    Ok(text)
}

fn add(document: Value, all: &mut Vec<Manifest>) -> anyhow::Result<()> {
    let Some(kind) = document["kind"].as_str().map(str::to_owned) else {
        bail!("an object has no kind; heraldctl validate shows where");
    };
    if kind == "List" {
        let items = document["items"].as_array().cloned().unwrap_or_default();
        return items.into_iter().try_for_each(|item| add(item, all));
    }
    let name = document["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    all.push(Manifest {
        kind,
        name,
        object: document,
    });
    Ok(())
}

impl Manifest {
    /// Changes the cluster and the configuration as an API server and the watches of the controller would. Returns whether Herald looks
    /// at objects of its kind.
    ///
    /// # Errors
    /// When the object is not of its kind's schema.
    pub(super) fn apply(
        self,
        cluster: &mut ClusterView,
        model: &mut Model,
        namespace: &str,
    ) -> anyhow::Result<bool> {
        let text = self.to_string();
        self.apply_kind(cluster, model, namespace)
            .with_context(|| format!("{text}; heraldctl validate shows where"))
    }

    fn apply_kind(
        mut self,
        cluster: &mut ClusterView,
        model: &mut Model,
        namespace: &str,
    ) -> anyhow::Result<bool> {
        let group = self.object["apiVersion"]
            .as_str()
            .unwrap_or_default()
            .split('/')
            .next()
            .unwrap_or_default();
        let own = self.object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        let is_elsewhere = cluster
            .installation
            .namespace
            .as_deref()
            .is_some_and(|installed| installed != own);
        let is_ours = group == "metallb.io" && !is_elsewhere;
        if is_ours {
            self.object["metadata"]["creationTimestamp"] = self.created(cluster).into();
        }
        match self.kind.as_str() {
            "IPAddressPool" if is_ours => {
                let raw = convert::pool(&self.parse()?);
                model.catalog.apply([ConfigChange::ApplyPool(raw)]);
            }
            "L2Advertisement" if is_ours => {
                let raw = convert::l2_advertisement(&self.parse()?);
                model.catalog.apply([ConfigChange::ApplyL2Advertisement(raw)]);
            }
            "BGPPeer" if is_ours => model.bgp.apply(peer_changes(&self.parse()?)),
            "BGPAdvertisement" if is_ours => {
                model
                    .bgp
                    .apply([BgpChange::ApplyAdvertisement(convert::bgp_advertisement(
                        &self.parse()?,
                    ))]);
            }
            "Community" if is_ours => {
                model
                    .bgp
                    .apply([BgpChange::ApplyCommunities(convert::communities(&self.parse()?))]);
            }
            "BFDProfile" if is_ours => {
                model
                    .bgp
                    .apply([BgpChange::ApplyBfdProfile(convert::bfd_profile(&self.parse()?))]);
            }
            "Service" => {
                if self.object["metadata"]["namespace"].is_null() {
                    self.object["metadata"]["namespace"] = namespace.into();
                }
                let families = families(&cluster.objects.services);
                upsert(&mut cluster.objects.services, self.object, |new| {
                    complete(new, &families)
                })?;
            }
            "Namespace" => upsert(&mut cluster.objects.namespaces, self.object, |_| {})?,
            "Node" => upsert(&mut cluster.objects.nodes, self.object, |_| {})?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn parse<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        Ok(serde_json::from_value(self.object)?)
    }
}

impl Manifest {
    /// Returns when the object of this name was created; a new one is created now.
    fn created(&self, cluster: &ClusterView) -> String {
        let of = |metadata: &ObjectMeta| {
            let is_it = metadata.name.as_deref() == Some(self.name.as_str());
            metadata
                .creation_timestamp
                .clone()
                .filter(|_| is_it)
                .map(|time| time.0.to_string())
        };
        let objects = &cluster.objects;
        let found = match self.kind.as_str() {
            "IPAddressPool" => objects.pools.iter().find_map(|pool| of(&pool.metadata)),
            "BGPPeer" => objects.bgp.peers.iter().find_map(|peer| of(&peer.metadata)),
            _ => None,
        };
        found.unwrap_or_else(|| Timestamp::now().to_string())
    }
}

/// Returns the families of the cluster, the primary one first, as its Services show them; IPv4 if there is none.
fn families(services: &[Service]) -> Vec<String> {
    let of = |service: &Service| {
        service
            .spec
            .as_ref()
            .and_then(|spec| spec.ip_families.clone())
            .unwrap_or_default()
    };
    let is_of_api_server = |service: &&Service| {
        service.name_any() == "kubernetes" && service.namespace().as_deref() == Some("default")
    };
    let mut families = services.iter().find(is_of_api_server).map(of).unwrap_or_default();
    families.extend(services.iter().flat_map(of));
    families.push("IPv4".to_owned());
    let mut seen = BTreeSet::new();
    families.retain(|family| seen.insert(family.clone()));
    // The last one is only a default.
    if families.len() == 2 && !services.iter().flat_map(of).any(|family| family == "IPv4") {
        families.truncate(1);
    }
    families
}

/// Fills in what the API server gives a new Service: when it was created, and cluster IPs of its families. These are any addresses:
/// only their families decide.
fn complete(service: &mut Value, families: &[String]) {
    service["metadata"]["creationTimestamp"] = Timestamp::now().to_string().into();
    let spec = &mut service["spec"];
    let is_headless = spec["clusterIP"] == "None";
    if is_headless || !spec["clusterIPs"].is_null() || spec["type"] != "LoadBalancer" {
        return;
    }
    let wanted = spec["ipFamilies"].as_array();
    let mut own: Vec<String> = wanted
        .into_iter()
        .flatten()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    let policy = spec["ipFamilyPolicy"].as_str().unwrap_or("SingleStack");
    let count = if policy == "SingleStack" && own.len() < 2 {
        1
    } else {
        2
    };
    own.extend(
        families
            .iter()
            .filter(|family| !own.contains(family))
            .cloned()
            .collect::<Vec<_>>(),
    );
    own.truncate(count);
    let address = |family: &String| if family == "IPv6" { "::1" } else { "0.0.0.1" };
    spec["clusterIPs"] = own.iter().map(address).collect::<Vec<_>>().into();
    spec["ipFamilies"] = own.into();
}

/// The annotation in which kubectl keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Merges an object into the one of its name, as kubectl does: fields that it has are set, and fields that it had when it was applied
/// last, and has no longer, are removed. An object without one of its name is added as `complete` leaves it.
fn upsert<T: ResourceExt + Serialize + DeserializeOwned>(
    objects: &mut Vec<T>,
    mut new: Value,
    complete: impl FnOnce(&mut Value),
) -> anyhow::Result<()> {
    let of = |value: &Value, field: &str| value["metadata"][field].as_str().map(str::to_owned);
    let (name, namespace) = (of(&new, "name").unwrap_or_default(), of(&new, "namespace"));
    let same = |object: &T| object.name_any() == name && object.namespace() == namespace;
    if let Some(place) = objects.iter().position(same) {
        let mut merged = serde_json::to_value(&objects[place])?;
        let last = merged["metadata"]["annotations"][LAST_APPLIED].as_str();
        if let Some(last) = last.and_then(|last| serde_json::from_str::<Value>(last).ok()) {
            let mut removed = Value::Object(serde_json::Map::new());
            mark_removed(&last, &new, &mut removed);
            json_patch::merge(&mut merged, &removed);
        }
        json_patch::merge(&mut merged, &new);
        objects[place] = serde_json::from_value(merged)?;
    } else {
        complete(&mut new);
        objects.push(serde_json::from_value(new)?);
    }
    Ok(())
}

/// Sets to null what `last` has and `new` has not.
fn mark_removed(last: &Value, new: &Value, removed: &mut Value) {
    for (field, before) in last.as_object().into_iter().flatten() {
        match new.get(field) {
            None => removed[field] = Value::Null,
            Some(after) if before.is_object() && after.is_object() => {
                let mut inner = Value::Object(serde_json::Map::new());
                mark_removed(before, after, &mut inner);
                removed[field] = inner;
            }
            Some(_) => {}
        }
    }
}
