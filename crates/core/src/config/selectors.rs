//! Lists of selectors: members are OR-ed, and no member may stand twice.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::ConfigError;
use crate::{Labels, RawSelector, Selector};

/// Mistakes of one resource with the field where each is.
pub(super) type Mistakes = Vec<(String, ConfigError)>;

/// Parses the list at `spec.<path>`; what cannot be used is added to `mistakes`.
pub(super) fn parse(
    raw: &[RawSelector],
    path: &str,
    list: &'static str,
    context: &'static str,
    mistakes: &mut Mistakes,
) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (place, raw) in raw.iter().enumerate() {
        let field = || format!("spec.{path}[{place}]");
        match Selector::parse(raw) {
            Ok(selector) if selectors.contains(&selector) => {
                mistakes.push((field(), ConfigError::DuplicateSelector(list)));
            }
            Ok(selector) => selectors.push(selector),
            Err(error) => mistakes.push((field(), ConfigError::Selector { context, error })),
        }
    }
    selectors
}

/// Whether any member matches.
pub(super) fn any_matches(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.iter().any(|selector| selector.matches(labels))
}

/// Whether any member matches, where an empty list stands for everything.
pub(super) fn empty_or_matches(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.is_empty() || any_matches(selectors, labels)
}
