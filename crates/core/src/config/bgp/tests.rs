//! The resources of BGP: what is accepted, what is refused and where, and what stays in force.

mod advertisements;
mod peers;
mod together;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::{Labels, RawRequirement, RawSelector};

#[expect(clippy::unnecessary_wraps, reason = "fields are optional")]
fn text(text: &str) -> Option<String> {
    Some(text.to_string())
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn selector(key: &str, value: &str) -> RawSelector {
    RawSelector {
        match_labels: labels(&[(key, value)]),
        ..RawSelector::default()
    }
}

fn expression(key: &str, operator: &str, values: &[&str]) -> RawSelector {
    RawSelector {
        match_expressions: Vec::from([RawRequirement {
            key: key.into(),
            operator: operator.into(),
            values: texts(values),
        }]),
        ..RawSelector::default()
    }
}

/// The peer that the rows change.
fn peer() -> RawBgpPeer {
    RawBgpPeer {
        name: "peer1".into(),
        my_asn: 42,
        peer_asn: Some(42),
        address: text("1.2.3.4"),
        ..RawBgpPeer::default()
    }
}

fn advertisement() -> RawBgpAdvertisement {
    RawBgpAdvertisement {
        name: "adv1".into(),
        ..RawBgpAdvertisement::default()
    }
}

fn catalog(changes: impl IntoIterator<Item = BgpChange>) -> BgpCatalog {
    let mut catalog = BgpCatalog::default();
    catalog.apply(changes);
    catalog
}

/// The problems, as field and message.
fn problems(catalog: &BgpCatalog) -> Vec<String> {
    let problems = catalog.problems().iter();
    problems
        .map(|problem| format!("{}: {}", problem.field, problem.error))
        .collect()
}

/// Checks that there is one problem, in this field and with this in its message.
#[track_caller]
fn assert_refused(row: &str, catalog: &BgpCatalog, field: &str, part: &str) {
    let found = problems(catalog);
    let is_expected = |found: &String| found.starts_with(&format!("{field}: ")) && found.contains(part);
    assert!(found.len() == 1 && is_expected(&found[0]), "{row}: {found:#?}");
}

#[track_caller]
fn assert_accepted(row: &str, catalog: &BgpCatalog) {
    assert_eq!(problems(catalog), [""; 0], "{row}");
}
