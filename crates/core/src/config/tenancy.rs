//! What a pool says about Services of different namespaces.

/// Which requests for particular addresses of a pool are met. Requests for the pool itself do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestScope {
    /// Those of every Service that may use the pool, except for addresses in quarantine that a Service of another namespace
    /// released.
    #[default]
    Any,
    /// The same, except for addresses that a Service of another namespace has, or had last.
    SameNamespace,
    /// Those for addresses that are reserved for the Service.
    Reserved,
}

impl RequestScope {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Any, Self::SameNamespace, Self::Reserved];

    /// Returns the value of `spec.requests`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "Any",
            Self::SameNamespace => "SameNamespace",
            Self::Reserved => "Reserved",
        }
    }
}

/// Which Services with the same sharing key may share an address of a pool.
///
/// Without a value, Services with the policy Local need the same namespace and others do not: by the text of its selector a
/// Local Service of another namespace would have the same backends, and has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharingScope {
    /// Those of one namespace.
    SameNamespace,
    /// Those of all namespaces.
    Any,
}

impl SharingScope {
    /// All values.
    pub const ALL: [Self; 2] = [Self::SameNamespace, Self::Any];

    /// Returns the value of `spec.sharing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameNamespace => "SameNamespace",
            Self::Any => "Any",
        }
    }
}
