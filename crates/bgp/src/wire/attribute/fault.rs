//! Mistakes in path attributes that do not end the session (RFC 7606).

/// A mistake in an attribute of an UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("attribute {attribute}: {kind}")]
pub struct AttributeFault {
    /// The type of the attribute.
    pub attribute: u8,
    /// What is wrong.
    pub kind: FaultKind,
    /// What follows from it.
    pub consequence: Consequence,
}

/// What is wrong with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum FaultKind {
    /// A mandatory attribute is not there (RFC 7606 section 3 d).
    #[error("a mandatory attribute is missing")]
    Missing,
    /// Its flags are not those of its type (section 3 c).
    #[error("the flags are wrong")]
    Flags,
    /// Its length is not one that its type can have, or its value is malformed (section 7).
    #[error("the value is malformed")]
    Malformed,
    /// It exceeds the attributes (section 4).
    #[error("the attribute is cut short")]
    Truncated,
    /// It was there before (section 3 g).
    #[error("the attribute occurs twice")]
    Duplicate,
    /// This peer may not send it (sections 7.5, 7.9 and 7.10; RFC 6793 section 4.1).
    #[error("this peer may not send the attribute")]
    NotAllowed,
}

/// What a receiver does about a fault (RFC 7606 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consequence {
    /// The attribute is ignored.
    Discard,
    /// The routes of the message are withdrawn.
    Withdraw,
}
