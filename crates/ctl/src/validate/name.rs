//! Names of objects, and words that are almost another.

use regex::Regex;
use std::sync::LazyLock;

/// The most bytes of a name (RFC 1123 section 2.1).
const LONGEST_SUBDOMAIN: usize = 253;
/// The most bytes of a label of a name (RFC 1035 section 2.3.4).
const LONGEST_LABEL: usize = 63;

const SUBDOMAIN: &str = "it has lower-case letters, digits, - and ., starts and ends with a letter or digit, and has 253 \
                         characters at most";
const LABEL: &str = "it has lower-case letters, digits and -, starts and ends with a letter or digit, and has 63 characters at most";
const SERVICE: &str = "it has lower-case letters, digits and -, starts with a letter, ends with a letter or digit, and has 63 \
                       characters at most";

static IS_SUBDOMAIN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

/// Returns the rule that a name of this kind breaks, as the API server checks it; names of kinds that are not checked break none.
pub(crate) fn broken_rule(api_version: &str, kind: &str, name: &str) -> Option<&'static str> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let is_label = || !name.contains('.') && is_subdomain(name) && name.len() <= LONGEST_LABEL;
    let (is_valid, rule) = match (group, kind) {
        ("metallb.io" | "herald.io", _) | ("", "Secret" | "ConfigMap") => (is_subdomain(name), SUBDOMAIN),
        ("", "Namespace") => (is_label(), LABEL),
        ("", "Service") => (
            is_label() && !name.starts_with(|c: char| c.is_ascii_digit()),
            SERVICE,
        ),
        _ => return None,
    };
    (!is_valid).then_some(rule)
}

/// Returns the rule if a name cannot be that of a custom resource.
pub(crate) fn broken_resource_rule(name: &str) -> Option<&'static str> {
    (!is_subdomain(name)).then_some(SUBDOMAIN)
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= LONGEST_SUBDOMAIN && IS_SUBDOMAIN.is_match(name)
}

/// The most bytes of a word that is compared, and the most words that it is compared with, so that large files do not take long.
const LONGEST_WORD: usize = 64;
const MOST_WORDS: usize = 1000;

/// Returns the word that is nearest to another one, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let words = words.into_iter().take(MOST_WORDS);
    let near = words.filter(|other| is_near(word, other));
    near.min_by_key(|other| strsim::osa_distance(&word.to_lowercase(), &other.to_lowercase()))
}

/// Whether a word is almost another one: with other letters in capitals, or with one letter more, less, or another for every three,
/// and two at most.
pub(crate) fn is_near(word: &str, other: &str) -> bool {
    if word == other || word.len() > LONGEST_WORD || word.len().abs_diff(other.len()) > 2 {
        return false;
    }
    let distance = strsim::osa_distance(&word.to_lowercase(), &other.to_lowercase());
    distance <= (other.len() / 3).min(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_api_server_checks_them() {
        for (api_version, kind, name, is_valid) in [
            ("metallb.io/v1beta1", "IPAddressPool", "first-pool.v2", true),
            ("metallb.io/v1beta1", "IPAddressPool", "-first-pool", false),
            ("metallb.io/v1beta1", "IPAddressPool", "First", false),
            ("metallb.io/v1beta1", "IPAddressPool", "a_b", false),
            ("v1", "Service", "web", true),
            ("v1", "Service", "1web", false),
            ("v1", "Service", "a.b", false),
            ("v1", "Namespace", "1team", true),
            ("apps/v1", "Deployment", "Not Checked", true),
        ] {
            assert_eq!(
                broken_rule(api_version, kind, name).is_none(),
                is_valid,
                "{kind} {name}"
            );
        }
        assert!(broken_resource_rule(&"a".repeat(254)).is_some());
    }

    #[test]
    fn the_nearest_word_is_one_that_may_be_meant() {
        let words = ["kind", "metadata", "spec", "autoAssign"];
        for (word, near) in [
            ("Kind", Some("kind")),
            ("metadatas", Some("metadata")),
            ("autoasign", Some("autoAssign")),
            ("spce", Some("spec")),
            ("data", None),
            ("kind", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
    }
}
