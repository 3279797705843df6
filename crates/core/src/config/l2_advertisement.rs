//! An `L2Advertisement` that was parsed.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::advertisement_scope::AdvertisementScope;
use super::problem::{ConfigError, ConfigErrors};
use super::raw::RawL2Advertisement;
use crate::{Labels, RawSelector, Selector};

/// Which pools are announced by layer 2: for which Services, from which nodes and on which interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2Advertisement {
    /// `metadata.name`.
    pub name: String,
    /// The pools, Services and nodes.
    pub scope: AdvertisementScope,
    /// Interfaces to announce on, sorted; empty is all.
    pub interfaces: Vec<String>,
    /// Preferred nodes, with their weights.
    pub preferences: Vec<(i32, Selector)>,
}

impl L2Advertisement {
    pub(super) fn parse(raw: &RawL2Advertisement) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        let advertisement = Self {
            name: raw.name.clone(),
            scope: AdvertisementScope::parse(
                &raw.pools,
                &raw.pool_selectors,
                &raw.node_selectors,
                &raw.service_selectors,
                &mut errors,
            ),
            interfaces: raw
                .interfaces
                .iter()
                .cloned()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            preferences: parse_preferences(&raw.preferred_nodes, &mut errors),
        };
        if errors.is_empty() {
            Ok(advertisement)
        } else {
            Err(errors)
        }
    }

    /// Returns the sum of the weights of all preferences that a node with these labels meets.
    pub fn score(&self, labels: &Labels) -> i64 {
        let met = self
            .preferences
            .iter()
            .filter(|(_, selector)| selector.matches(labels));
        met.map(|(weight, _)| i64::from(*weight)).sum()
    }
}

impl AsRef<AdvertisementScope> for L2Advertisement {
    fn as_ref(&self) -> &AdvertisementScope {
        &self.scope
    }
}

/// Parses the preferences. Two equal ones are no mistake: their weights add up.
fn parse_preferences(raw: &[(i32, RawSelector)], errors: &mut ConfigErrors) -> Vec<(i32, Selector)> {
    let mut preferences = Vec::new();
    for (place, (weight, selector)) in raw.iter().enumerate() {
        match Selector::parse(selector) {
            Ok(selector) => preferences.push((*weight, selector)),
            Err(error) => {
                let context = "failed to parse preferred node selectors";
                let field = format!("spec.preferredNodeSelectors[{place}].preference");
                errors.push((field, ConfigError::Selector { context, error }));
            }
        }
    }
    preferences
}
