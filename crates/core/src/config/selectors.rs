//! Lists of selectors: an object must match any of them, and none may occur twice.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::problem::{ConfigError, ConfigErrors};
use crate::{Labels, RawSelector, Selector};

/// Parses the list at `spec.<path>`. Adds selectors that cannot be used to `errors`.
pub(super) fn parse(
    raw: &[RawSelector],
    path: &str,
    list: &'static str,
    context: &'static str,
    errors: &mut ConfigErrors,
) -> Vec<Selector> {
    let (mut selectors, mut seen) = (Vec::new(), BTreeSet::new());
    for (place, raw) in raw.iter().enumerate() {
        let field = || format!("spec.{path}[{place}]");
        match Selector::parse(raw) {
            Ok(selector) if !seen.insert(selector.clone()) => {
                errors.push((field(), ConfigError::DuplicateSelector(list)));
            }
            Ok(selector) => selectors.push(selector),
            Err(error) => errors.push((field(), ConfigError::Selector { context, error })),
        }
    }
    selectors
}

/// Returns whether any selector matches.
pub(super) fn any_matches(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.iter().any(|selector| selector.matches(labels))
}

/// Returns whether any selector matches; an empty list matches everything.
pub(super) fn empty_or_matches(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.is_empty() || any_matches(selectors, labels)
}
