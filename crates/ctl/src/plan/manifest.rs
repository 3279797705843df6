//! Manifests, and what they change in the cluster as it is known.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use herald_api::convert;
use herald_core::config::ConfigChange;
use herald_core::config::bgp::BgpChange;
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cluster::ClusterView;
use crate::model::Model;
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
    pub(super) fn apply(self, cluster: &mut ClusterView, model: &mut Model) -> anyhow::Result<bool> {
        let text = self.to_string();
        self.apply_kind(cluster, model)
            .with_context(|| format!("{text}; heraldctl validate shows where"))
    }

    fn apply_kind(self, cluster: &mut ClusterView, model: &mut Model) -> anyhow::Result<bool> {
        let group = self.object["apiVersion"]
            .as_str()
            .unwrap_or_default()
            .split('/')
            .next()
            .unwrap_or_default();
        let is_ours = group == "metallb.io";
        match self.kind.as_str() {
            "IPAddressPool" if is_ours => {
                let raw = convert::pool(&self.parse()?);
                model.catalog.apply([ConfigChange::ApplyPool(raw)]);
            }
            "L2Advertisement" if is_ours => {
                let raw = convert::l2_advertisement(&self.parse()?);
                model.catalog.apply([ConfigChange::ApplyL2Advertisement(raw)]);
            }
            "BGPPeer" if is_ours => model
                .bgp
                .apply([BgpChange::ApplyPeer(convert::bgp_peer(&self.parse()?))]),
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
                let mut object = self.object;
                if object["metadata"]["namespace"].is_null() {
                    object["metadata"]["namespace"] = "default".into();
                }
                upsert(&mut cluster.objects.services, object)?;
            }
            "Namespace" => upsert(&mut cluster.objects.namespaces, self.object)?,
            "Node" => upsert(&mut cluster.objects.nodes, self.object)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn parse<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        Ok(serde_json::from_value(self.object)?)
    }
}

/// Merges an object into the one of its name, as an apply does with fields that it has, or adds it.
fn upsert<T: ResourceExt + Serialize + DeserializeOwned>(
    objects: &mut Vec<T>,
    new: Value,
) -> anyhow::Result<()> {
    let of = |value: &Value, field: &str| value["metadata"][field].as_str().map(str::to_owned);
    let (name, namespace) = (of(&new, "name").unwrap_or_default(), of(&new, "namespace"));
    let place = objects
        .iter()
        .position(|object| object.name_any() == name && object.namespace() == namespace);
    if let Some(place) = place {
        let mut merged = serde_json::to_value(&objects[place])?;
        json_patch::merge(&mut merged, &new);
        objects[place] = serde_json::from_value(merged)?;
    } else {
        objects.push(serde_json::from_value(new)?);
    }
    Ok(())
}
