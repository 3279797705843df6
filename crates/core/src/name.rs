//! Names of Kubernetes objects, one type each, so that a pool is never taken for a node.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::hash::{Hash, Hasher};

/// Namespace and name of a Service; written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
}

impl ServiceKey {
    /// Names the Service `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl Hash for ServiceKey {
    /// Without marks between the two, which cost as much as they do: few names differ in nothing but where they part.
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
            /// Takes the name as it stands in Kubernetes.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into().into())
            }

            /// The name as it stands in Kubernetes.
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
    /// Name of an `IPAddressPool`.
    PoolName
);
name!(
    /// Name of a Kubernetes Node; also the member name in gossip.
    NodeName
);

impl NodeName {
    /// The name's [`tag`].
    pub fn tag(&self) -> u32 {
        tag(self.as_str())
    }
}

/// A short form of a name for where every byte counts (FNV-1a, 32 bits). Two of a thousand names share one once in ten
/// thousand clusters, so nothing may rest on it alone.
pub fn tag(name: &str) -> u32 {
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, mix)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_service_key_reads_namespace_slash_name() {
        assert_eq!(ServiceKey::new("default", "web").to_string(), "default/web");
    }

    #[test]
    fn names_read_as_they_stand() {
        assert_eq!(PoolName::from("first-pool").to_string(), "first-pool");
        assert_eq!(NodeName::new("node-1").as_str(), "node-1");
    }
}
