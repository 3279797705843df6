//! A node's name as the SWIM library compares it: with the names of all members, for each update in a datagram.

use core::fmt;
use core::ops::Deref;

use herald_core::NodeName;
use ring::digest::{SHA256, digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MAX_NODE;

/// A node's name with half of its SHA-256 digest, which identifies a node as well as the name and is much cheaper to
/// compare. On the wire there is the name alone.
#[derive(Debug, Clone)]
pub struct NodeKey {
    digest: u128,
    name: NodeName,
}

impl NodeKey {
    /// Returns the half of the digest that identifies the node.
    pub const fn digest(&self) -> u128 {
        self.digest
    }
}

impl From<NodeName> for NodeKey {
    fn from(name: NodeName) -> Self {
        let whole = digest(&SHA256, name.as_str().as_bytes());
        let half = whole.as_ref().first_chunk().copied();
        Self {
            digest: u128::from_be_bytes(half.expect("SHA-256 has 32 bytes")),
            name,
        }
    }
}

impl Deref for NodeKey {
    type Target = NodeName;

    fn deref(&self) -> &NodeName {
        &self.name
    }
}

impl PartialEq for NodeKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for NodeKey {}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Serialize for NodeKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = <&str>::deserialize(from)?;
        // With a longer name no message to this member would fit, and foca stops probing when one does not fit.
        if !(1..=MAX_NODE).contains(&name.len()) {
            return Err(D::Error::invalid_length(
                name.len(),
                &"a node name of 1 to 253 bytes",
            ));
        }
        Ok(Self::from(NodeName::from(name)))
    }
}
