//! The datagrams by which a speaker asks another one whether it announces an address, and the answer.
//!
//! ```text
//! 2 | sender | receiver's node | number | address               query
//! 3 | sender | number | address | announces: u8 (0 or 1)        reply
//! ```
//!
//! No [`super::envelope`] starts with these bytes, so that earlier versions refuse the datagrams. A reply is about as long as
//! its query. Bytes after the known fields are ignored.

use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{DATAGRAM_MAX, Rejection, report, seal};
use crate::identity::{self, Identity, NodeKey};

/// Asks a speaker whether it announces an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipQuery {
    /// The speaker that asks.
    pub src: Identity,
    /// The node that is asked.
    pub dst: NodeKey,
    /// A random number, which the reply repeats.
    pub number: u64,
    /// The address.
    pub address: IpAddr,
}

/// Answers an [`OwnershipQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipReply {
    /// The speaker that answers.
    pub src: Identity,
    /// The number of the query.
    pub number: u64,
    /// The address.
    pub address: IpAddr,
    /// Whether the speaker that answers announces the address.
    pub announces: bool,
}

/// The content of a datagram about the ownership of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnershipMessage {
    /// A question.
    Query(OwnershipQuery),
    /// An answer.
    Reply(OwnershipReply),
}

const QUERY: u8 = 2;
const REPLY: u8 = 3;

/// Bytes of the longest message: its kind, an identity, the name of a node and its length, a number, an address and its kind.
const MAX_LEN: usize = 1 + identity::MAX_LEN + (report::MAX_NODE + 2) + 10 + 17;

const _: () = assert!(MAX_LEN + seal::OVERHEAD <= DATAGRAM_MAX);

impl OwnershipMessage {
    /// Emits the bytes that [`OwnershipMessage::parse`] takes.
    ///
    /// # Panics
    /// If a node's name is longer than [`report::MAX_NODE`].
    pub fn emit(&self) -> Vec<u8> {
        let mut buffer = [0; MAX_LEN];
        let used = match self {
            Self::Query(query) => postcard::to_slice(&(QUERY, query), &mut buffer),
            Self::Reply(reply) => postcard::to_slice(&(REPLY, reply), &mut buffer),
        };
        used.expect("node names of at most 253 bytes fit").to_vec()
    }

    /// Parses a message; `None` if the bytes are another kind of content.
    ///
    /// # Errors
    /// If the bytes are malformed.
    pub fn parse(bytes: &[u8]) -> Option<Result<Self, Rejection>> {
        let (kind, fields) = bytes.split_first()?;
        let parsed = match *kind {
            QUERY => postcard::take_from_bytes(fields).map(|(query, _)| Self::Query(query)),
            REPLY => postcard::take_from_bytes(fields).map(|(reply, _)| Self::Reply(reply)),
            _ => return None,
        };
        Some(parsed.map_err(|_| Rejection::Malformed))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::net::SocketAddr;

    use herald_core::NodeName;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::envelope;
    use crate::identity::Epoch;

    fn any_message() -> impl Strategy<Value = OwnershipMessage> {
        let name = || "[a-z0-9.-]{1,253}".prop_map(|name: String| NodeKey::from(NodeName::new(name)));
        let epoch =
            (0..=Epoch::LATEST_START, 0..u32::MAX).prop_map(|(started, renewal)| Epoch { started, renewal });
        let src = (name(), any::<SocketAddr>(), epoch).prop_map(|(node, address, epoch)| {
            // Scope and flow label do not travel.
            let address = SocketAddr::new(address.ip(), address.port());
            Identity { node, address, epoch }
        });
        (src, name(), any::<u64>(), any::<IpAddr>(), any::<Option<bool>>()).prop_map(
            |(src, dst, number, address, announces)| match announces {
                None => OwnershipMessage::Query(OwnershipQuery {
                    src,
                    dst,
                    number,
                    address,
                }),
                Some(announces) => OwnershipMessage::Reply(OwnershipReply {
                    src,
                    number,
                    address,
                    announces,
                }),
            },
        )
    }

    proptest! {
        #[test]
        fn an_emitted_message_parses_to_the_same_whatever_follows(message in any_message(), more: Vec<u8>) {
            let mut bytes = message.emit();
            bytes.extend(more);
            prop_assert_eq!(OwnershipMessage::parse(&bytes), Some(Ok(message)));
        }

        #[test]
        fn a_truncated_message_is_malformed(message in any_message(), cut: prop::sample::Index) {
            let bytes = message.emit();
            let cut = 1 + cut.index(bytes.len() - 1);
            prop_assert_eq!(OwnershipMessage::parse(&bytes[..cut]), Some(Err(Rejection::Malformed)));
        }

        #[test]
        fn an_earlier_version_refuses_a_message_as_malformed(message in any_message()) {
            let bytes = message.emit();
            prop_assert_eq!(envelope::parse(&bytes), Err(Rejection::Malformed));
        }

        #[test]
        fn parsing_any_bytes_does_not_panic(bytes: Vec<u8>) {
            let _parsed = OwnershipMessage::parse(&bytes);
        }
    }

    #[test]
    fn a_reply_is_not_longer_than_its_query() {
        let src = Identity::unknown(NodeName::from("n"), ([192, 0, 2, 1], 7946).into());
        let address = IpAddr::from([192, 0, 2, 100]);
        for number in [0, u64::MAX] {
            let query = OwnershipQuery {
                src: src.clone(),
                dst: src.node.clone(),
                number,
                address,
            };
            let reply = OwnershipReply {
                src: src.clone(),
                number,
                address,
                announces: true,
            };
            let length = OwnershipMessage::Query(query).emit().len();
            assert!(OwnershipMessage::Reply(reply).emit().len() <= length);
        }
    }
}
