//! Which other Services the text of a refusal names.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::Refusal;
use crate::ServiceKey;

/// Which other Services a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    All,
    OfSameNamespace,
    None,
}

/// The text of a [`Refusal`] that names no other Service.
pub(super) struct Anonymous<'a>(pub(super) &'a Refusal);

impl fmt::Display for Anonymous<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, Naming::None)
    }
}

/// Formats the names of `services` as far as `naming` says, and of the others only that there are some.
pub(super) fn others(services: &[ServiceKey], service: &ServiceKey, naming: Naming) -> String {
    let is_named = |other: &&ServiceKey| match naming {
        Naming::All => true,
        Naming::OfSameNamespace => other.namespace == service.namespace,
        Naming::None => false,
    };
    let mut names: Vec<String> = services
        .iter()
        .filter(is_named)
        .map(ToString::to_string)
        .collect();
    if naming == Naming::None {
        names.push("another Service".to_string());
    } else if names.len() < services.len() {
        names.push("a Service of another namespace".to_string());
    }
    names.join(",")
}
