//! The resources that stand for the configuration of MetalLB before version 0.13.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::validate::broken_resource_rule;

/// The resources, in the order of MetalLB's converter, and what is to be said of them.
#[derive(Debug, Default)]
pub(super) struct Conversion {
    pub(super) notes: Vec<String>,
    pub(super) resources: Vec<Value>,
    /// Names that no resource can have, or that two would have.
    pub(super) unusable: Vec<String>,
}

/// The old and the new name of a field.
type RenamedField = (&'static str, &'static str);

const PEER: [RenamedField; 12] = [
    ("my-asn", "myASN"),
    ("peer-asn", "peerASN"),
    ("peer-address", "peerAddress"),
    ("source-address", "sourceAddress"),
    ("peer-port", "peerPort"),
    ("hold-time", "holdTime"),
    ("keepalive-time", "keepaliveTime"),
    ("router-id", "routerID"),
    ("node-selectors", "nodeSelectors"),
    ("password", "password"),
    ("bfd-profile", "bfdProfile"),
    ("ebgp-multihop", "ebgpMultiHop"),
];
const SELECTOR: [RenamedField; 2] = [
    ("match-labels", "matchLabels"),
    ("match-expressions", "matchExpressions"),
];
const POOL: [RenamedField; 6] = [
    ("name", "name"),
    ("protocol", "protocol"),
    ("addresses", "addresses"),
    ("auto-assign", "autoAssign"),
    ("avoid-buggy-ips", "avoidBuggyIPs"),
    ("bgp-advertisements", "bgpAdvertisements"),
];
const ADVERTISEMENT: [RenamedField; 4] = [
    ("aggregation-length", "aggregationLength"),
    ("aggregation-length-v6", "aggregationLengthV6"),
    ("localpref", "localPref"),
    ("communities", "communities"),
];
const PROFILE: [RenamedField; 8] = [
    ("name", "name"),
    ("receive-interval", "receiveInterval"),
    ("transmit-interval", "transmitInterval"),
    ("detect-multiplier", "detectMultiplier"),
    ("echo-interval", "echoInterval"),
    ("echo-mode", "echoMode"),
    ("passive-mode", "passiveMode"),
    ("minimum-ttl", "minimumTtl"),
];
const CONFIGURATION: [RenamedField; 4] = [
    ("peers", "peers"),
    ("address-pools", "pools"),
    ("bfd-profiles", "profiles"),
    ("bgp-communities", "communities"),
];

/// The hold time of a peer that named none.
const HOLD_TIME: &str = "90s";
/// The longest name that MetalLB's converter leaves as it is.
const LONGEST_NAME: usize = 63;

impl Conversion {
    /// Converts a configuration for a namespace.
    pub(super) fn of(configuration: &Value, namespace: &str) -> Self {
        let mut conversion = Self::default();
        let mut all = conversion.renamed("", configuration, &CONFIGURATION);
        let mut list = |name: &str| all.remove(name).unwrap_or_default();
        let (peers, pools, profiles) = (list("peers"), list("pools"), list("profiles"));
        let communities = list("communities");
        let mut resources = conversion.peers(&peers);
        resources.extend(conversion.pools(&pools));
        resources.extend(conversion.profiles(&profiles));
        resources.extend(named_communities(&communities));
        conversion.check_names(&resources);
        for (kind, name, spec) in resources {
            let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
            conversion.resources.push(json!({
                "apiVersion": format!("metallb.io/{version}"),
                "kind": kind,
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec,
            }));
        }
        conversion
    }

    /// Finds names that the API server would refuse, and those of which one resource would replace another.
    fn check_names(&mut self, resources: &[NamedSpec]) {
        let mut counts = BTreeMap::<_, usize>::new();
        for (kind, name, _) in resources {
            *counts.entry((*kind, name.as_str())).or_default() += 1;
        }
        for ((kind, name), count) in counts {
            if let Some(rule) = broken_resource_rule(name) {
                self.unusable
                    .push(format!("{name:?} cannot be the name of the {kind}: {rule}"));
            } else if count > 1 {
                self.unusable
                    .push(format!("{count} of kind {kind} would have the name {name:?}"));
            }
        }
    }

    fn peers(&mut self, peers: &Value) -> Vec<NamedSpec> {
        let mut resources = Vec::new();
        for (place, peer) in entries(peers).enumerate() {
            let path = format!("peers[{place}]");
            let mut spec = self.renamed(&path, peer, &PEER);
            spec.entry("holdTime").or_insert_with(|| json!(HOLD_TIME));
            if let Some(Value::Array(selectors)) = spec.get_mut("nodeSelectors") {
                for (place, selector) in selectors.iter_mut().enumerate() {
                    let path = format!("{path}.node-selectors[{place}]");
                    *selector = Value::Object(self.renamed(&path, selector, &SELECTOR));
                }
            }
            if let Some(profile) = spec.get("bfdProfile").and_then(Value::as_str) {
                let name = self.kubernetes_name(&format!("{path}.bfd-profile"), profile);
                spec.insert("bfdProfile".to_owned(), json!(name));
            }
            resources.push(("BGPPeer", format!("peer{}", place + 1), spec));
        }
        resources
    }

    fn pools(&mut self, pools: &Value) -> Vec<NamedSpec> {
        let (mut converted, mut bgp, mut layer2) = (Vec::new(), Vec::new(), Vec::new());
        for (place, pool) in entries(pools).enumerate() {
            let path = format!("address-pools[{place}]");
            let mut spec = self.renamed(&path, pool, &POOL);
            let name = spec.remove("name").unwrap_or_default();
            let old = name.as_str().unwrap_or_default();
            let name = self.kubernetes_name(&format!("{path}.name"), old);
            if name != old {
                self.notes.push(format!(
                    "change Services that name the pool {old:?} in their annotation: its name is {name:?} now"
                ));
            }
            let protocol = spec.remove("protocol").unwrap_or_default();
            let advertisements = spec.remove("bgpAdvertisements").unwrap_or_default();
            let mut specs = self.advertisements(&path, &advertisements);
            match protocol.as_str() {
                Some("bgp") if specs.is_empty() => specs.push(Map::new()),
                Some("layer2") => layer2.push(for_pool(Map::new(), &name)),
                Some("bgp") => {}
                _ => self.notes.push(format!(
                    "not converted: {path}.protocol is {protocol}, which is neither layer2 nor bgp; no advertisement selects the pool"
                )),
            }
            bgp.extend(specs.into_iter().map(|spec| for_pool(spec, &name)));
            converted.push(("IPAddressPool", name, spec));
        }
        converted.extend(numbered("BGPAdvertisement", "bgpadvertisement", bgp));
        converted.extend(numbered("L2Advertisement", "l2advertisement", layer2));
        converted
    }

    fn advertisements(&mut self, path: &str, advertisements: &Value) -> Vec<Map<String, Value>> {
        let mut specs = Vec::new();
        for (place, advertisement) in entries(advertisements).enumerate() {
            let path = format!("{path}.bgp-advertisements[{place}]");
            let mut spec = self.renamed(&path, advertisement, &ADVERTISEMENT);
            // 0 was as if it were absent.
            if spec.get("localPref") == Some(&json!(0)) {
                spec.remove("localPref");
            }
            specs.push(spec);
        }
        specs
    }

    fn profiles(&mut self, profiles: &Value) -> Vec<NamedSpec> {
        let mut resources = Vec::new();
        for (place, profile) in entries(profiles).enumerate() {
            let path = format!("bfd-profiles[{place}]");
            let mut spec = self.renamed(&path, profile, &PROFILE);
            let name = spec.remove("name").unwrap_or_default();
            let name = self.kubernetes_name(&format!("{path}.name"), name.as_str().unwrap_or_default());
            for mode in ["echoMode", "passiveMode"] {
                spec.entry(mode).or_insert(Value::Bool(false));
            }
            resources.push(("BFDProfile", name, spec));
        }
        resources
    }

    /// Returns the fields of a mapping under their new names. Others are noted.
    fn renamed(&mut self, path: &str, mapping: &Value, fields: &[RenamedField]) -> Map<String, Value> {
        let mut renamed = Map::new();
        let Some(mapping) = mapping.as_object() else {
            self.notes
                .push(format!("not converted: {path} is no mapping but {mapping}"));
            return renamed;
        };
        for (old, value) in mapping {
            match fields.iter().find(|(name, _)| name == old) {
                Some((_, new)) => {
                    renamed.insert((*new).to_owned(), value.clone());
                }
                None => {
                    let separator = if path.is_empty() { "" } else { "." };
                    self.notes.push(format!(
                        "not converted: {path}{separator}{old}, for which no resource has a field"
                    ));
                }
            }
        }
        renamed
    }

    /// Returns a name as an object can have it, as MetalLB's converter makes it.
    fn kubernetes_name(&mut self, path: &str, name: &str) -> String {
        let is_inner = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        let is_valid = (2..=LONGEST_NAME).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(is_inner)
            && !name.ends_with('-');
        if is_valid {
            return name.to_owned();
        }
        let shorter = &name[..name.floor_char_boundary(LONGEST_NAME)];
        let lower = shorter.to_lowercase().replace('_', "-");
        let start = lower.find(|char: char| char.is_ascii_lowercase());
        let converted = start.map_or("", |start| &lower[start..]).to_owned();
        if converted != name {
            self.notes
                .push(format!("changed: {path} {name:?} is the name {converted:?} here"));
        }
        converted
    }
}

/// Kind, name and spec.
type NamedSpec = (&'static str, String, Map<String, Value>);

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn for_pool(mut spec: Map<String, Value>, pool: &str) -> Map<String, Value> {
    spec.insert("ipAddressPools".to_owned(), json!([pool]));
    spec
}

fn numbered(
    kind: &'static str,
    name: &str,
    specs: Vec<Map<String, Value>>,
) -> impl Iterator<Item = NamedSpec> {
    let numbers = 1..;
    let named = specs.into_iter().zip(numbers);
    named.map(move |(spec, number): (_, u32)| (kind, format!("{name}{number}"), spec))
}

/// Returns one resource with all names of communities.
fn named_communities(communities: &Value) -> Option<NamedSpec> {
    let named = communities.as_object().filter(|named| !named.is_empty())?;
    let named = named
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}));
    let spec = Map::from_iter([("communities".to_owned(), named.collect())]);
    Some(("Community", "communities".to_owned(), spec))
}
