//! What gossip says of the speakers: who is there, and what each says of itself.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::name::tag;
use crate::{MacAddr, NodeName, Prefix};

/// A speaker as membership sees it at this moment. Copies are cheap: all that keep an eye on the others have a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node that it runs on. A restarted speaker is the same member.
    pub node: NodeName,
    /// Whether its peers reach it.
    pub liveness: Liveness,
    /// What it last said of itself; [`NodeState::Starting`] while it has not said anything.
    pub state: NodeState,
    /// Hardware addresses from which it answers, in ascending order; empty while it has not told.
    pub macs: Arc<[MacAddr]>,
    /// What else it said; `None` while it has not, as a version that knows nothing of this never does.
    pub profile: Option<Arc<Profile>>,
}

impl Member {
    /// A member that has told no hardware address and no profile.
    pub fn new(node: NodeName, liveness: Liveness, state: NodeState) -> Self {
        Self {
            node,
            liveness,
            state,
            macs: Arc::default(),
            profile: None,
        }
    }

    /// Whether it can own anything. A suspect one can: suspicion may be wrong.
    pub fn is_usable(&self) -> bool {
        self.liveness != Liveness::Down && self.state == NodeState::Ready
    }
}

/// Who of these usable speakers says that `me` does not answer on the wire for what it owns.
pub fn accuser<'a>(members: &'a [Member], me: &NodeName) -> Option<&'a NodeName> {
    let tag = me.tag();
    let accuses = |member: &&Member| {
        let profile = member.profile.as_ref().filter(|_| member.is_usable());
        member.node != *me && profile.is_some_and(|profile| profile.silent.contains(&tag))
    };
    members.iter().find(accuses).map(|member| &member.node)
}

/// Where a speaker stands, and how it has fared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The subnets that it has a leg in, ascending; `None` when there are too many to tell, which counts as all.
    pub legs: Option<Vec<Prefix>>,
    /// How often it went and came back lately ([`crate::announce::layer2::flap_damping`]).
    pub returns: u8,
    /// The nodes ([`NodeName::tag`]) that do not answer on the wire for what they own, so that it stands in for them.
    pub silent: Vec<u32>,
    /// The interfaces that can announce ([`tag`] of the name), ascending; `None` when there are too many to tell, or from a
    /// version that does not, which counts as all.
    pub interfaces: Option<Vec<u32>>,
}

impl Profile {
    /// In how many subnets of these addresses it has a leg.
    pub fn legs_for(&self, addresses: &[IpAddr]) -> usize {
        let Some(legs) = &self.legs else {
            return addresses.len();
        };
        let has_leg = |address: &&IpAddr| legs.iter().any(|leg| leg.contains(**address));
        addresses.iter().filter(has_leg).count()
    }

    /// Whether it has one of these interfaces; `None` is any.
    pub fn has_interface(&self, selected: Option<&BTreeSet<String>>) -> bool {
        match (&self.interfaces, selected) {
            (Some(existing), Some(selected)) => selected.iter().any(|name| existing.contains(&tag(name))),
            (None, _) | (_, None) => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn only_a_usable_speaker_can_say_that_another_one_is_silent() {
        let me = NodeName::from("a");
        let says = |node: &str, liveness, silent: &[&str]| Member {
            profile: Some(Arc::new(Profile {
                silent: silent.iter().map(|node| NodeName::from(*node).tag()).collect(),
                ..Profile::default()
            })),
            ..Member::new(node.into(), liveness, NodeState::Ready)
        };
        let others = [
            says("a", Liveness::Alive, &["a"]),
            says("b", Liveness::Down, &["a"]),
            says("c", Liveness::Alive, &["b"]),
        ];
        assert_eq!(accuser(&others, &me), None);
        let mut others = others.to_vec();
        others.extend(vec![says("d", Liveness::Suspect, &["b", "a"])]);
        assert_eq!(accuser(&others, &me), Some(&NodeName::from("d")));
    }
}
