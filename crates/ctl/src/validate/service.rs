//! Services of type LoadBalancer: what they request.

use herald_api::{annotation, convert};
use herald_core::RequestError;
use herald_core::config::Catalog;
use k8s_openapi::api::core::v1 as core_v1;

use super::config::Configurations;
use super::finding::Findings;
use super::mistake::{Doubt, ObjectMistake};
use super::name;
use super::object::ManifestObject;
use super::path::FieldPath;

/// Checks the requests of a Service that Herald handles by the pools of all files.
pub(crate) fn check(
    object: &ManifestObject<'_>,
    class: Option<&str>,
    configurations: &Configurations<'_>,
    findings: &mut Findings,
) {
    // What the definition does not permit was named before.
    let Ok(service) = serde_json::from_value::<core_v1::Service>(object.json()) else {
        return;
    };
    if !convert::is_ours(&service, class) {
        return;
    }
    let annotations = service.metadata.annotations.iter();
    for found in annotations.flat_map(annotation::deprecated) {
        let name = found.rsplit_once('/').map_or(found, |(_, name)| name);
        let doubt = Doubt::DeprecatedAnnotation {
            found: found.to_owned(),
            right: format!("{}{name}", annotation::PREFIX),
        };
        let field = annotation_path(found);
        let span = field.locate_key(object.node);
        findings.push_object(object, span, Some(field), doubt.into());
    }
    let request = convert::service(&service).request;
    if let Some(pool) = &request.pool {
        check_pool(object, pool.as_str(), configurations, findings);
    }
    match request.addresses {
        Ok(addresses) => {
            let known = configurations.catalogs().flat_map(Catalog::pools);
            // A pool with mistakes may have the address.
            let are_all_known = configurations
                .catalogs()
                .all(|catalog| catalog.withheld().is_empty());
            for address in addresses {
                let is_in_pool = known.clone().any(|pool| pool.contains(address));
                if are_all_known && !is_in_pool {
                    findings.push_at(object, request_path(object), Doubt::UnknownAddress(address));
                }
            }
        }
        Err(error) => {
            let field = match &error {
                RequestError::Field(_) => FieldPath::parse(FIELD),
                RequestError::TooManyPorts { .. } => FieldPath::parse("spec.ports"),
                RequestError::Both | RequestError::Annotation(_) | RequestError::TooLong(_) => {
                    request_path(object)
                }
            };
            findings.push_at(object, field, error);
        }
    }
}

const FIELD: &str = "spec.loadBalancerIP";

fn check_pool(
    object: &ManifestObject<'_>,
    pool: &str,
    configurations: &Configurations<'_>,
    findings: &mut Findings,
) {
    let field = key_in_use(object, annotation::ADDRESS_POOL).unwrap_or_default();
    if let Some(rule) = name::broken_resource_rule(pool) {
        let name = pool.to_owned();
        findings.push_at(object, field, ObjectMistake::Name { name, rule });
        return;
    }
    if configurations.has_pool(pool) {
        return;
    }
    let nearest = name::nearest(pool, configurations.pool_names());
    let doubt = Doubt::Unknown {
        kind: "IPAddressPool",
        name: pool.to_owned(),
        nearest: nearest.map(str::to_owned),
    };
    findings.push_at(object, field, doubt);
}

/// Returns where a Service requests addresses: by the annotation, or else by the field.
fn request_path(object: &ManifestObject<'_>) -> FieldPath {
    key_in_use(object, annotation::LOAD_BALANCER_IPS).unwrap_or_else(|| FieldPath::parse(FIELD))
}

/// Returns the annotation of this name that counts: the one with the current prefix, or else the deprecated one.
fn key_in_use(object: &ManifestObject<'_>, name: &str) -> Option<FieldPath> {
    let prefixes = [annotation::PREFIX, annotation::DEPRECATED_PREFIX];
    let mut paths = prefixes
        .map(|prefix| annotation_path(&format!("{prefix}{name}")))
        .into_iter();
    paths.find(|path| path.node(object.node).is_some())
}

fn annotation_path(key: &str) -> FieldPath {
    FieldPath::parse("metadata.annotations").field(key)
}
