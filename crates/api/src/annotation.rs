//! Annotations of Services, with the current and the deprecated prefix.

use std::collections::BTreeMap;

/// The prefix of annotations.
pub const PREFIX: &str = "metallb.io/";
/// The deprecated prefix of MetalLB: read, never written.
pub const DEPRECATED_PREFIX: &str = "metallb.universe.tf/";

/// Requests an address of the pool of this name.
pub const ADDRESS_POOL: &str = "address-pool";
/// Requests addresses, comma-separated, at most one of each IP family. The field `spec.loadBalancerIP` does the same for one.
pub const LOAD_BALANCER_IPS: &str = "loadBalancerIPs";
/// The sharing key, any text: Services with the same one may share an address.
pub const ALLOW_SHARED_IP: &str = "allow-shared-ip";
/// Written by the controller: the pool that the Service's addresses come from.
pub const ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";
/// The same as older versions of MetalLB wrote it.
pub const DEPRECATED_ALLOCATED_FROM_POOL: &str = "metallb.universe.tf/ip-allocated-from-pool";

/// The annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// Returns the value of annotation `name` (without prefix). The deprecated key is read only if there is no `metallb.io/` key;
/// an empty value counts as a key.
pub fn value<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a str> {
    annotations
        .get(&format!("{PREFIX}{name}"))
        .or_else(|| annotations.get(&format!("{DEPRECATED_PREFIX}{name}")))
        .map(String::as_str)
}

/// Returns [`value`] if it is not empty: an empty value requests nothing.
pub fn non_empty<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a str> {
    value(annotations, name).filter(|v| !v.is_empty())
}

/// The most deprecated keys that are reported: more than there are annotations of that prefix.
const MOST_DEPRECATED: usize = 8;

/// Returns the keys with the deprecated prefix, eight at most.
pub fn deprecated(annotations: &Annotations) -> impl Iterator<Item = &str> {
    annotations
        .keys()
        .map(String::as_str)
        .filter(|key| key.starts_with("metallb.universe.tf"))
        .take(MOST_DEPRECATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn the_current_key_is_used_even_if_it_is_empty() {
        let both = annotations(&[
            ("metallb.io/address-pool", ""),
            ("metallb.universe.tf/address-pool", "old"),
        ]);
        assert_eq!(value(&both, ADDRESS_POOL), Some(""));
        assert_eq!(non_empty(&both, ADDRESS_POOL), None);
    }

    #[test]
    fn the_deprecated_key_is_used_without_the_current_one() {
        let old = annotations(&[("metallb.universe.tf/address-pool", "old")]);
        assert_eq!(non_empty(&old, ADDRESS_POOL), Some("old"));
        assert_eq!(
            deprecated(&old).collect::<Vec<_>>(),
            ["metallb.universe.tf/address-pool"]
        );
    }
}
