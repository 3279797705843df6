//! What travels in a datagram, from the outside in: [`seal`] protects it, [`envelope`] carries what members
//! say of themselves ([`report`]) beside a message of the SWIM library.

pub mod envelope;
pub mod profile;
pub mod replay;
pub mod report;
pub mod seal;

use std::num::NonZeroUsize;

use crate::identity;

/// Largest datagram, so that it crosses a 1500-byte link and common tunnels in one piece.
pub(crate) const DATAGRAM_MAX: usize = 1400;

/// Largest SWIM message. The rest of the datagram holds the seal and at least the sender's own report.
/// A message of the SWIM library is refused when larger, so this is the same on all members.
pub(crate) const SWIM_MAX: NonZeroUsize = NonZeroUsize::new(960).expect("not zero");

const _: () = assert!(SWIM_MAX.get() + seal::OVERHEAD + envelope::OVERHEAD + report::MAX_LEN <= DATAGRAM_MAX);

/// The SWIM library's header at its largest: the sender, its incarnation, the receiver, the kind of message, somebody
/// probed for another, the probe's number; then the number of updates.
const HEADER_MAX: usize = 3 * identity::MAX_LEN + 3 + 1 + 3 + 2;

const _: () = assert!(HEADER_MAX <= SWIM_MAX.get());

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Rejection {
    /// Too short to hold what it must.
    #[error("the datagram is cut short")]
    Truncated,
    /// Its first byte names no format that this version knows, or a plain one where a key is set, or the reverse.
    #[error("the datagram has another format, or one side has a key and the other has none")]
    Format,
    /// No key opens it: the sender has another key, or somebody changed or made it up.
    #[error("no key opens the datagram")]
    Unauthentic,
    /// It was seen before, or is so old that this cannot be told.
    #[error("the datagram is a replay")]
    Replayed,
    /// It opened, but what is inside makes no sense.
    #[error("the datagram's content is malformed")]
    Malformed,
    /// Somebody else sends under this member's name.
    #[error("another speaker uses this node's name")]
    SameName,
    /// It came from another address than the one that it names.
    #[error("the datagram comes from another address than it says")]
    Address,
    /// Nobody expects its sender, and there are too many members already.
    #[error("there are too many members to let a stranger in")]
    Full,
    /// It would cost deriving a key, its sender is not known, and such datagrams come too often.
    #[error("too many datagrams of unknown senders")]
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

    /// The value as metric labels spell it.
    pub const fn as_str(self) -> &'static str {
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
