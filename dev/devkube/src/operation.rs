//! Which part of an object a write changes, and how.

use crate::decode::FieldValidation;

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status, where there is a status subresource.
    Main,
    /// The status.
    Status,
}

/// How a write is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// The writer: `fieldManager`, or else the first word of the user agent.
    pub(crate) manager: String,
    /// Check everything, store nothing.
    pub(crate) dry_run: bool,
    /// What to do about unknown fields.
    pub(crate) validation: FieldValidation,
    /// The part that is written.
    pub(crate) part: Part,
}

impl Write {
    /// A write by the server itself.
    pub(crate) fn internal() -> Self {
        let validation = FieldValidation::Strict;
        Self {
            manager: "devkube".into(),
            dry_run: false,
            validation,
            part: Part::Main,
        }
    }
}
