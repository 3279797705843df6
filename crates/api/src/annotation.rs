//! Annotations on Services, and which of two spellings wins.

use std::collections::BTreeMap;

/// Prefix of the annotations in use.
pub const PREFIX: &str = "metallb.io/";
/// Prefix that MetalLB used before; still read, never written.
pub const DEPRECATED_PREFIX: &str = "metallb.universe.tf/";

/// Asks for a pool by name.
pub const ADDRESS_POOL: &str = "address-pool";
/// Asks for addresses, comma-separated, at most one per family.
pub const LOAD_BALANCER_IPS: &str = "loadBalancerIPs";
/// The key that Services sharing an address agree on.
pub const ALLOW_SHARED_IP: &str = "allow-shared-ip";
/// Written by the controller: the pool that the Service's addresses come from.
pub const ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// The annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// The value of annotation `name` (without prefix). The `metallb.io/` key wins when it exists, even when it
/// is empty; only without it is the deprecated key read.
pub fn value<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a str> {
    annotations
        .get(&format!("{PREFIX}{name}"))
        .or_else(|| annotations.get(&format!("{DEPRECATED_PREFIX}{name}")))
        .map(String::as_str)
}

/// As [`value`], with an empty value read as absent: "not requested".
pub fn non_empty<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a str> {
    value(annotations, name).filter(|v| !v.is_empty())
}

/// The keys that still use the deprecated prefix.
pub fn deprecated(annotations: &Annotations) -> impl Iterator<Item = &str> {
    annotations
        .keys()
        .map(String::as_str)
        .filter(|key| key.starts_with("metallb.universe.tf"))
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
    fn the_new_key_wins_even_when_it_is_empty() {
        let both = annotations(&[
            ("metallb.io/address-pool", ""),
            ("metallb.universe.tf/address-pool", "old"),
        ]);
        assert_eq!(value(&both, ADDRESS_POOL), Some(""));
        assert_eq!(non_empty(&both, ADDRESS_POOL), None);
    }

    #[test]
    fn the_deprecated_key_is_read_when_it_stands_alone() {
        let old = annotations(&[("metallb.universe.tf/address-pool", "old")]);
        assert_eq!(non_empty(&old, ADDRESS_POOL), Some("old"));
        assert_eq!(
            deprecated(&old).collect::<Vec<_>>(),
            ["metallb.universe.tf/address-pool"]
        );
    }
}
