//! A node's name as the SWIM library compares it: with those of all members, for everything that a datagram says of one.

use std::fmt;
use std::ops::Deref;

use herald_core::NodeName;
use ring::digest::{SHA256, digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MAX_NODE;

/// A node's name and half of its SHA-256 digest, which is as good as the name to tell nodes apart and much cheaper to
/// compare. On the wire it is the name alone.
#[derive(Debug, Clone)]
pub struct Key {
    digest: u128,
    name: NodeName,
}

impl Key {
    /// What stands for the name.
    pub const fn digest(&self) -> u128 {
        self.digest
    }
}

impl From<NodeName> for Key {
    fn from(name: NodeName) -> Self {
        let whole = digest(&SHA256, name.as_str().as_bytes());
        let half = whole.as_ref().first_chunk().copied();
        Self {
            digest: u128::from_be_bytes(half.expect("SHA-256 has 32 bytes")),
            name,
        }
    }
}

impl Deref for Key {
    type Target = NodeName;

    fn deref(&self) -> &NodeName {
        &self.name
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Key {}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name.as_str())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = <&str>::deserialize(from)?;
        // With a longer one no message to this member would fit, and foca stops probing when one does not.
        if !(1..=MAX_NODE).contains(&name.len()) {
            return Err(D::Error::invalid_length(
                name.len(),
                &"a node name of 1 to 253 bytes",
            ));
        }
        Ok(Self::from(NodeName::from(name)))
    }
}
