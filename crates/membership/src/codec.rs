//! What travels in a datagram, from the outside in: [`seal`] protects it, [`envelope`] carries what members report of
//! themselves ([`report`]) beside a message of the SWIM library. Instead of an envelope there may be a question about an
//! address ([`query`]).

pub mod envelope;
pub mod profile;
pub mod query;
pub mod replay;
pub mod report;
pub mod seal;

use core::num::NonZeroUsize;

use crate::identity;

/// Largest datagram, so that it crosses a 1500-byte link and common tunnels unfragmented.
pub(crate) const DATAGRAM_MAX: usize = 1403;

/// Largest SWIM message. The rest of the datagram holds the seal and at least the sender's own report.
/// The SWIM library refuses larger messages, so this is the same on all members.
pub(crate) const SWIM_MAX: NonZeroUsize = NonZeroUsize::new(960).expect("not zero");

const _: () = assert!(SWIM_MAX.get() + seal::OVERHEAD + envelope::OVERHEAD + report::MAX_LEN <= DATAGRAM_MAX);

/// Largest header of the SWIM library: the sender, its incarnation, the receiver, the kind of message, the member that an
/// indirect probe is for, the probe's number; then the number of updates.
const HEADER_MAX: usize = 3 * identity::MAX_LEN + 3 + 1 + 3 + 2;

const _: () = assert!(HEADER_MAX <= SWIM_MAX.get());

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Rejection {
    /// It is too short for its format.
    #[error("the datagram is cut short")]
    Truncated,
    /// Its first byte names no format that this version knows, or the plain format where a key is set, or the reverse.
    #[error("the datagram has another format, or one side has a key and the other has none")]
    Format,
    /// No key opens it: the sender has another key, or the datagram was changed or forged.
    #[error("no key opens the datagram")]
    Unauthentic,
    /// It was received before, or it is too old to decide that.
    #[error("the datagram is a replay")]
    Replayed,
    /// It opened, but its content cannot be parsed.
    #[error("the datagram's content is malformed")]
    Malformed,
    /// Another speaker sends under this member's name.
    #[error("another speaker uses this node's name")]
    SameName,
    /// It came from another address than its content names.
    #[error("the datagram comes from another address than its content names")]
    Address,
    /// Its sender is not expected, and there are too many members already.
    #[error("there are too many members to admit an unexpected one")]
    Full,
    /// There are too many such datagrams: they need new keys to be derived, or they are queries.
    #[error("too many datagrams of unknown sessions, or too many queries")]
    Flood,
}

impl Rejection {
    /// All values.
    pub const ALL: [Self; 9] = [
        Self::Truncated,
        Self::Format,
        Self::Unauthentic,
        Self::Replayed,
        Self::Malformed,
        Self::SameName,
        Self::Address,
        Self::Full,
        Self::Flood,
    ];

    /// Returns the value of the metric label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Format => "format",
            Self::Unauthentic => "unauthentic",
            Self::Replayed => "replayed",
            Self::Malformed => "malformed",
            Self::SameName => "same_name",
            Self::Address => "address",
            Self::Full => "full",
            Self::Flood => "flood",
        }
    }
}
