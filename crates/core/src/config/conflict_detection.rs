//! What a pool says about conflicts.

/// What to do when a foreign host answers for an address that is about to be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictDetection {
    /// Do not announce the address while the foreign host answers for it, unless this cluster announced it lately.
    #[default]
    Enforce,
    /// Announce the address and report the conflict.
    Warn,
    /// Announce the address.
    Off,
}

impl ConflictDetection {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Warn, Self::Off];

    /// Returns the value of `spec.conflictDetection`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::Warn => "Warn",
            Self::Off => "Off",
        }
    }
}
