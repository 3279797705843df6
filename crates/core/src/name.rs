//! Names of Kubernetes objects, one type for each kind, so that they cannot be confused.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use smol_str::SmolStr;

/// The key of a Service: its namespace and name, written `namespace/name`. Many maps have each Service as a key, so a key is one
/// pointer, and its clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey(Arc<NamespacedName>);

/// The name of a namespace. Its clones cost no allocation.
pub type Namespace = SmolStr;

/// Namespace and name of an object. Each is a part of this value if it has 23 bytes at most, as most have.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespacedName {
    /// `metadata.namespace`.
    pub namespace: Namespace,
    /// `metadata.name`.
    pub name: SmolStr,
}

impl ServiceKey {
    /// Creates the key of the Service `name` in `namespace`.
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self(Arc::new(NamespacedName {
            namespace: namespace.as_ref().into(),
            name: name.as_ref().into(),
        }))
    }
}

impl Deref for ServiceKey {
    type Target = NamespacedName;

    fn deref(&self) -> &NamespacedName {
        &self.0
    }
}

impl Hash for ServiceKey {
    /// Hashes no separator: it would double the cost, and keys that differ only in where they split are rare.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(self.name.as_bytes());
        hasher.write(self.namespace.as_bytes());
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Creates a name from its text in Kubernetes.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into().into())
            }

            /// Returns the text in Kubernetes.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of an `IPAddressPool`.
    PoolName
);
name!(
    /// The name of a Kubernetes Node, which is also the name of its member.
    NodeName
);

impl NodeName {
    /// Returns the [`tag`] of the name.
    pub fn tag(&self) -> u32 {
        tag(self.as_str())
    }
}

/// Returns a short form of a name (FNV-1a, 32 bits), for datagrams of limited size. In one of ten thousand clusters, two of a
/// thousand names have the same tag, so a tag alone must not decide anything.
pub fn tag(name: &str) -> u32 {
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, mix)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_service_key_is_displayed_as_namespace_slash_name() {
        assert_eq!(ServiceKey::new("default", "web").to_string(), "default/web");
    }

    #[test]
    fn names_are_displayed_as_in_kubernetes() {
        assert_eq!(PoolName::from("first-pool").to_string(), "first-pool");
        assert_eq!(NodeName::new("node-1").as_str(), "node-1");
    }
}
