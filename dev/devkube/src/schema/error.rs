//! Why a schema is refused.

/// Why a schema cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseError {
    /// Path within the schema: `.properties[spec].type`.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
}
