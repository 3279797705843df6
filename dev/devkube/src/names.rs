//! Rules for names (`k8s.io/apimachinery/pkg/util/validation`).

use crate::kinds::Kind;

/// The rule for labels of DNS names, in Kubernetes' words.
pub(crate) const DNS_LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035_RULE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
    with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex \
    used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Whether `name` is an RFC 1123 label.
pub(crate) fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether `name` can name a port (IANA service name).
pub(crate) fn is_port_name(name: &str) -> bool {
    name.len() <= 15
        && is_dns_label(name)
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !name.contains("--")
}

/// The rule that `name` breaks as the name of an object of this kind.
pub(crate) fn broken_rule(kind: &Kind, name: &str) -> Option<&'static str> {
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_lowercase());
    let (fits, rule) = match kind.collection.as_str() {
        "services" => (is_dns_label(name) && starts_with_letter, DNS_1035_RULE),
        "namespaces" => (is_dns_label(name), DNS_LABEL_RULE),
        _ => (is_subdomain(name), SUBDOMAIN_RULE),
    };
    (!fits).then_some(rule)
}

fn is_subdomain(name: &str) -> bool {
    let label = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn each_kind_has_its_own_rule_for_names() {
        // (group, plural, name, allowed)
        for (group, plural, name, allowed) in [
            ("", "services", "web-1", true),
            ("", "services", "1-web", false),
            ("", "services", "web.1", false),
            ("", "namespaces", "1-shop", true),
            ("", "namespaces", "a.b", false),
            ("", "configmaps", "kube-root-ca.crt", true),
            ("", "configmaps", "Upper", false),
            ("", "configmaps", "-a", false),
            ("", "configmaps", "", false),
        ] {
            let kind = Kinds::builtin().find(group, "v1", plural).expect("kind");
            assert_eq!(broken_rule(&kind, name).is_none(), allowed, "{plural} {name:?}");
        }
        assert!(is_port_name("http-2") && !is_port_name("80") && !is_port_name("a--b"));
    }
}
