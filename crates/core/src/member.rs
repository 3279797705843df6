//! What gossip says of the speakers: who is there, and what each says of itself.

use alloc::vec::Vec;
use core::fmt;

use crate::NodeName;

/// A speaker as membership sees it at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node that it runs on. A restarted speaker is the same member.
    pub node: NodeName,
    /// Whether its peers reach it.
    pub liveness: Liveness,
    /// What it last said of itself; [`NodeState::Starting`] while it has not said anything.
    pub state: NodeState,
    /// Hardware addresses from which it answers, in ascending order; empty while it has not told.
    pub macs: Vec<[u8; 6]>,
}

impl Member {
    /// A member that has told no hardware address.
    pub const fn new(node: NodeName, liveness: Liveness, state: NodeState) -> Self {
        Self {
            node,
            liveness,
            state,
            macs: Vec::new(),
        }
    }
}

/// Whether a member's peers reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It left a probe unanswered and has not refuted that yet. Packet loss alone can cause this.
    Suspect,
    /// It stayed silent, said good-bye, or is expected but was never heard of.
    Down,
}

impl Liveness {
    /// All values, in ascending order.
    pub const ALL: [Self; 3] = [Self::Alive, Self::Suspect, Self::Down];

    /// The value as metric labels spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a speaker says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Its caches are not filled yet: it owns nothing.
    Starting,
    /// It takes what it should own.
    Ready,
    /// It goes away: others take over first, then it stops answering.
    Draining,
}

impl NodeState {
    /// The value as logs and metric labels spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
