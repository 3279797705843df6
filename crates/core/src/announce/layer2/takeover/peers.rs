//! The other speakers by their Ethernet addresses: whose answer is it?

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::PATIENCE;
use super::identify::Introductions;
use crate::{Liveness, MacAddr, Member, NodeName, NodeState, Time};

/// Announcements count for two rounds of the refresh, which is a minute apart.
const ANNOUNCED: Duration = Duration::from_secs(130);

/// One that gossip has lost and that is heard again after so long was on the other side of a torn network, perhaps. One that
/// goes on and on, because it does not hear us, is no news.
const NEWS: Duration = Duration::from_secs(1);

/// Who is down is called for no longer than that.
const MISSED: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Fellows {
    me: Option<NodeName>,
    /// What gossip says of the others.
    members: Vec<Member>,
    by_mac: BTreeMap<MacAddr, Fellow>,
    /// Those that gossip took for dead last.
    down: BTreeSet<NodeName>,
    /// Since when those are not known to be well that have not said that they go.
    doubted: BTreeMap<NodeName, Time>,
    /// Those that have answered for an address since they were last down.
    answered: BTreeSet<NodeName>,
    /// Since when somebody is expected whom gossip has never reached; of several the last one.
    missed_since: Option<Time>,
    /// How many speakers are alive, this one included.
    alive: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fellow {
    pub(super) node: NodeName,
    liveness: Liveness,
    /// Whether it has said that it goes, and was not heard again since.
    is_leaving: bool,
    /// Since when most others could not reach it, if gossip says that it is down.
    down_since: Option<Time>,
    /// When it was last heard announcing an address.
    announced: Option<Time>,
}

impl Fellow {
    pub(super) fn is_alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }

    /// Whether gossip has lost it, and it did not say good-bye.
    pub(super) fn is_lost(&self) -> bool {
        self.liveness == Liveness::Down && !self.is_leaving
    }

    /// Whether it has announced something so long after it went down that these were not the last words of the process
    /// that did.
    fn is_back(&self) -> bool {
        let (since, announced) = (self.down_since, self.announced);
        since.zip(announced).is_some_and(|(since, at)| at >= since + NEWS)
    }
}

impl Fellows {
    /// Replaces what gossip says. True when one that was down is so no longer.
    pub(super) fn set(
        &mut self,
        members: &[Member],
        me: &NodeName,
        introductions: &Introductions,
        now: Time,
    ) -> bool {
        let has_returned = members.iter().any(|m| !is_down(m) && self.down.contains(&m.node));
        let down = members.iter().filter(|m| is_down(m));
        self.down = down.map(|m| m.node.clone()).collect();
        self.answered.retain(|node| !self.down.contains(node));
        let doubtful = members
            .iter()
            .filter(|m| m.liveness != Liveness::Alive && m.state != NodeState::Draining);
        let since = |node: &NodeName| self.doubted.get(node).copied().unwrap_or(now);
        self.doubted = doubtful.map(|m| (m.node.clone(), since(&m.node))).collect();
        self.alive = members.iter().filter(|m| !is_down(m)).count();
        let others = members.iter().filter(|member| member.node != *me);
        self.members = others.cloned().collect();
        self.me = Some(me.clone());
        self.arrange(introductions, now);
        has_returned
    }

    /// Arranges the others by their Ethernet addresses: those that they told, or by which they were met.
    pub(super) fn arrange(&mut self, introductions: &Introductions, now: Time) {
        let before = core::mem::take(&mut self.by_mac);
        self.missed_since = None;
        // A machine that has become another node is that one: who lives comes after who is down.
        let (down, others): (Vec<&Member>, Vec<&Member>) = self.members.iter().partition(|m| is_down(m));
        for member in down.into_iter().chain(others) {
            let is_down = is_down(member);
            let met = if is_unknown(member) {
                introductions.macs_of(&member.node)
            } else {
                Vec::new()
            };
            if is_down && member.state != NodeState::Draining && member.macs.is_empty() && met.is_empty() {
                self.missed_since = self.missed_since.max(self.doubted.get(&member.node).copied());
            }
            for mac in member.macs.iter().chain(&met) {
                let known = before.get(mac).filter(|fellow| fellow.node == member.node);
                let fellow = Fellow {
                    node: member.node.clone(),
                    liveness: member.liveness,
                    is_leaving: member.state == NodeState::Draining
                        && !known.is_some_and(|known| is_down && known.is_back()),
                    down_since: is_down.then(|| known.and_then(|f| f.down_since).unwrap_or(now)),
                    announced: known.and_then(|fellow| fellow.announced),
                };
                self.by_mac.insert(*mac, fellow);
            }
        }
    }

    /// Those whose Ethernet addresses gossip has not told, or that may have others by now.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &NodeName> {
        let unknown = self.members.iter().filter(|member| is_unknown(member));
        unknown.map(|member| &member.node)
    }

    /// Whether it is another node than this one.
    pub(super) fn is_other(&self, node: &NodeName) -> bool {
        self.me.as_ref() != Some(node)
    }

    /// Whether this node comes before a fellow when both want the same at the same time. Each of the two must come to the
    /// same result, whatever else it knows, so that goes by their names.
    pub(super) fn comes_before(&self, fellow: &NodeName) -> bool {
        self.me.as_ref().is_some_and(|me| me < fellow)
    }

    pub(super) fn get(&self, mac: MacAddr) -> Option<&Fellow> {
        self.by_mac.get(&mac)
    }

    /// It announced an address itself. True when that is news: gossip has lost it, and it was not heard lately.
    pub(super) fn heard(&mut self, mac: MacAddr, now: Time) -> bool {
        let Some(fellow) = self.by_mac.get_mut(&mac) else {
            return false;
        };
        let before = fellow.announced.replace(now);
        fellow.is_leaving &= !fellow.is_back();
        fellow.is_lost() && before.is_none_or(|before| now.saturating_since(before) >= NEWS)
    }

    /// Whether gossip has lost somebody who did not say good-bye, or has never reached one that is expected.
    /// One that did not come for so long is not there.
    pub(super) fn has_lost(&self, now: Time) -> bool {
        let lost = self.by_mac.values().filter(|fellow| fellow.is_lost());
        let mut since = lost
            .filter_map(|fellow| fellow.down_since)
            .chain(self.missed_since);
        since.any(|since| now.saturating_since(since) < MISSED)
    }

    /// How many are alive, this one included.
    pub(super) fn alive(&self) -> u32 {
        u32::try_from(self.alive).unwrap_or(u32::MAX)
    }

    pub(super) fn is_down(&self, node: &NodeName) -> bool {
        self.down.contains(node)
    }

    /// It answered for an address.
    pub(super) fn answered(&mut self, node: &NodeName) {
        if !self.answered.contains(node) {
            self.answered.insert(node.clone());
        }
    }

    /// Whether it has answered for any address since it was last down.
    pub(super) fn has_answered(&self, node: &NodeName) -> bool {
        self.answered.contains(node)
    }

    /// Since when it is suspected or dead, if it is.
    pub(super) fn doubted_since(&self, node: &NodeName) -> Option<Time> {
        self.doubted.get(node).copied()
    }

    /// Whether its answers are worth nothing: most speakers agree, and have done so for some time, that it is dead, and
    /// it has announced nothing since.
    pub(super) fn is_overruled(&self, mac: MacAddr, now: Time) -> bool {
        let Some(fellow) = self.by_mac.get(&mac) else {
            return false;
        };
        let (Some(since), false) = (fellow.down_since, self.is_minority()) else {
            return false;
        };
        let announced = fellow
            .announced
            .is_some_and(|at| at > since && now.saturating_since(at) < ANNOUNCED);
        now.saturating_since(since) >= PATIENCE && !announced
    }

    /// Whether this node is with the lesser part of the speakers, or with just half of them.
    pub(super) const fn is_minority(&self) -> bool {
        self.alive * 2 <= self.members.len() + 1
    }
}

fn is_down(member: &Member) -> bool {
    member.liveness == Liveness::Down
}

/// Whether it may answer by Ethernet addresses that gossip does not know of.
fn is_unknown(member: &Member) -> bool {
    member.macs.is_empty() || is_down(member)
}
