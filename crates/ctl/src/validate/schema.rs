//! The definitions of the kinds that are checked field by field: Herald's custom resources, and Services, Secrets and Namespaces.

mod check;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use herald_api::crds;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::mistake::ObjectMistake;
use super::name;

/// The definitions.
#[derive(Debug)]
pub(crate) struct Schemas {
    /// By version and kind.
    kinds: BTreeMap<(String, String), Value>,
    metadata: Value,
    patterns: Mutex<BTreeMap<String, Option<Regex>>>,
}

/// The groups of Herald's custom resources.
const GROUPS: [&str; 2] = ["metallb.io", "herald.io"];
/// The version of Kubernetes' oldest kinds.
const CORE: &str = "v1";

impl Schemas {
    /// Returns the definitions of this version of Herald.
    pub(crate) fn of_this_version() -> &'static Self {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);
        &SCHEMAS
    }

    fn new() -> Self {
        let mut kinds = BTreeMap::new();
        for crd in crds() {
            for version in &crd.spec.versions {
                let schema = version
                    .schema
                    .as_ref()
                    .and_then(|schema| schema.open_api_v3_schema.as_ref());
                let schema = serde_json::to_value(schema).expect("a definition is JSON");
                let api_version = format!("{}/{}", crd.spec.group, version.name);
                kinds.insert((api_version, crd.spec.names.kind.clone()), schema);
            }
        }
        let mut add = |kind: &str, schema| kinds.insert((CORE.to_owned(), kind.to_owned()), schema);
        add("Service", schema_of::<core_v1::Service>());
        add("Secret", schema_of::<core_v1::Secret>());
        add("Namespace", schema_of::<core_v1::Namespace>());
        add("ConfigMap", schema_of::<core_v1::ConfigMap>());
        Self {
            kinds,
            metadata: schema_of::<ObjectMeta>(),
            patterns: Mutex::default(),
        }
    }

    /// Whether the definition of a kind is known.
    pub(crate) fn has(&self, api_version: &str, kind: &str) -> bool {
        self.get(api_version, kind).is_some()
    }

    fn get(&self, api_version: &str, kind: &str) -> Option<&Value> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// Returns what is wrong with a version and kind that are not known, and in which of the two fields. Kinds of others are right.
    pub(crate) fn unknown(&self, api_version: &str, kind: &str) -> Option<(&'static str, ObjectMistake)> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let versions = self.versions(kind);
        let is_ours = GROUPS.contains(&group);
        let is_near = |right: &String| {
            let right_group = right.split_once('/').map_or("", |(group, _)| group);
            group.is_empty() || name::is_near(group, right_group) || name::is_near(api_version, right)
        };
        let of_ours = versions.iter().filter(|version| version.as_str() != CORE);
        if is_ours && kind == "AddressPool" {
            return Some(("kind", ObjectMistake::AddressPool));
        }
        if of_ours.clone().any(|right| is_ours || is_near(right)) {
            let mistake = ObjectMistake::ApiVersion {
                kind: kind.to_owned(),
                found: api_version.to_owned(),
                right: of_ours.cloned().collect(),
            };
            return Some(("apiVersion", mistake));
        }
        let all = self.kinds.keys().filter(|(version, _)| match is_ours {
            true => version.split_once('/').is_some_and(|(of, _)| of == group),
            false => version == api_version,
        });
        let mut all: Vec<String> = all.map(|(_, kind)| kind.clone()).collect();
        all.sort();
        all.dedup();
        let nearest = name::nearest(kind, all.iter().map(String::as_str)).map(str::to_owned);
        // Of Kubernetes' own kinds only some are known.
        (is_ours || nearest.is_some()).then(|| {
            let (kind, group) = (
                kind.to_owned(),
                if is_ours { group } else { api_version }.to_owned(),
            );
            (
                "kind",
                ObjectMistake::UnknownKind {
                    kind,
                    group,
                    nearest,
                    all,
                },
            )
        })
    }

    fn versions(&self, kind: &str) -> Vec<String> {
        let kinds = self.kinds.keys();
        let versions = kinds.filter(|(_, other)| other == kind);
        versions.map(|(version, _)| version.clone()).collect()
    }

    /// Whether a text matches a pattern; one that cannot be read matches everything.
    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        let regex = patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}
