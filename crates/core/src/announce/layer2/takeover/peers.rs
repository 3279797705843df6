//! The other speakers by their MAC addresses: which peer sent a frame, and how much its frames count.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::DOWN_PEER_GRACE;
use super::identify::Identification;
use super::queries::PeerQueries;
use crate::{Features, Liveness, MacAddr, Member, NodeName, NodeState, Time};

/// How long an announcement proves that a peer is alive: two rounds of the refresh, which is a minute apart.
const ANNOUNCEMENT_VALIDITY: Duration = Duration::from_secs(130);

/// A peer that is down and announces an address may come from the other side of a healed partition. It is no news so soon
/// after this node has announced its addresses for that peer: the frames may have crossed.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);

/// How often all active addresses are announced again for a peer that is down. A partition heals seldom, and each frame of a
/// machine that uses the MAC address of a dead peer would otherwise cost as many frames as there are addresses.
const REANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);

/// How long the heal beacon is sent for a peer that is down.
const BEACON_LIMIT: Duration = Duration::from_secs(600);

/// The other speakers of the cluster.
#[derive(Debug)]
pub(super) struct Peers {
    own_node: NodeName,
    /// The members except this node.
    members: Vec<Member>,
    by_mac: BTreeMap<MacAddr, Peer>,
    /// The peers that were down in the last list of members.
    down: BTreeSet<NodeName>,
    /// Since when a peer is suspect or down without having announced that it leaves.
    doubted: BTreeMap<NodeName, Time>,
    /// Whether MetalLB's speakers run on these nodes, too.
    is_beside_metallb: bool,
    /// Whether MetalLB may claim addresses: Pods of its speaker exist, ready or not.
    has_metallb: bool,
    /// The peers that have answered for an address since they were last down.
    answered: BTreeSet<NodeName>,
    pub(super) queries: PeerQueries,
    /// When all active addresses were last announced again for a peer that is down.
    reannounced: BTreeMap<NodeName, Reannounced>,
    /// Since when a peer is expected that gossip has never reached; of several the last one.
    missing_since: Option<Time>,
    /// How many speakers are not down, this one included.
    alive: usize,
}

/// When all active addresses were last announced again for a peer.
#[derive(Debug, Clone, Copy)]
struct Reannounced {
    at: Time,
    /// Whether they have to be once more, as soon as [`REANNOUNCE_INTERVAL`] permits.
    is_pending: bool,
}

/// A peer behind one MAC address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) node: NodeName,
    /// Whether its version answers queries.
    pub(super) can_reply: bool,
    /// Whether only a reply proves that it can be reached although gossip has lost it. Its version answers queries, or gossip
    /// has never reached it, as it would if queries did.
    pub(super) needs_proof: bool,
    /// Whether it reports that this node does not answer on the wire, so that it may be the acting owner.
    pub(super) reports_unresponsive: bool,
    /// Whether it is starting, as far as it has reported: it owns nothing.
    pub(super) is_starting: bool,
    liveness: Liveness,
    /// Whether it has announced that it leaves, and was not seen again since.
    is_leaving: bool,
    /// Since when it is down, if it is.
    down_since: Option<Time>,
    /// When it last announced an address on the wire.
    announced: Option<Time>,
}

impl Peer {
    pub(super) fn is_alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }

    pub(super) fn is_down(&self) -> bool {
        self.liveness == Liveness::Down
    }

    /// Whether it is down without having announced that it leaves.
    pub(super) fn is_lost(&self) -> bool {
        self.liveness == Liveness::Down && !self.is_leaving
    }

    /// Whether it announced an address so long after it went down that a new process must have sent that.
    fn is_back(&self) -> bool {
        let (since, announced) = (self.down_since, self.announced);
        since
            .zip(announced)
            .is_some_and(|(since, at)| at >= since + NEWS_INTERVAL)
    }
}

impl Peers {
    /// Starts without any peer.
    pub(super) const fn new(own_node: NodeName) -> Self {
        Self {
            own_node,
            members: Vec::new(),
            by_mac: BTreeMap::new(),
            down: BTreeSet::new(),
            doubted: BTreeMap::new(),
            is_beside_metallb: false,
            has_metallb: false,
            answered: BTreeSet::new(),
            queries: PeerQueries::new(),
            reannounced: BTreeMap::new(),
            missing_since: None,
            alive: 0,
        }
    }

    /// Replaces the members. Returns whether a peer that was down is no longer down.
    pub(super) fn set(&mut self, members: &[Member], identification: &Identification, now: Time) -> bool {
        let has_returned = members.iter().any(|m| !is_down(m) && self.down.contains(&m.node));
        let down = members.iter().filter(|m| is_down(m));
        self.down = down.map(|m| m.node.clone()).collect();
        self.answered.retain(|node| !self.down.contains(node));
        self.reannounced.retain(|node, _| self.down.contains(node));
        let doubtful = members
            .iter()
            .filter(|m| m.liveness != Liveness::Alive && m.state != NodeState::Draining);
        let since = |node: &NodeName| self.doubted.get(node).copied().unwrap_or(now);
        self.doubted = doubtful.map(|m| (m.node.clone(), since(&m.node))).collect();
        self.alive = members.iter().filter(|m| !is_down(m)).count();
        let others = members.iter().filter(|member| member.node != self.own_node);
        self.members = others.cloned().collect();
        self.queries
            .retain(|peer| self.members.iter().any(|member| member.node == *peer));
        self.index_by_mac(identification, now);
        has_returned
    }

    /// Indexes the peers by the MAC addresses that they reported or that were identified.
    pub(super) fn index_by_mac(&mut self, identification: &Identification, now: Time) {
        let before = core::mem::take(&mut self.by_mac);
        let own_tag = self.own_node.tag();
        self.missing_since = None;
        // When two nodes have had one MAC address, the node that is alive has it now: it is inserted last.
        let (down, others): (Vec<&Member>, Vec<&Member>) = self.members.iter().partition(|m| is_down(m));
        for member in down.into_iter().chain(others) {
            let is_down = is_down(member);
            let identified = if has_uncertain_mac(member) {
                identification.macs_of(&member.node)
            } else {
                Vec::new()
            };
            let has_no_mac = member.macs.is_empty() && identified.is_empty();
            if is_down && member.state != NodeState::Draining && has_no_mac {
                self.missing_since = self.missing_since.max(self.doubted.get(&member.node).copied());
            }
            for mac in member.macs.iter().chain(&identified) {
                let known = before.get(mac).filter(|peer| peer.node == member.node);
                let peer = Peer {
                    node: member.node.clone(),
                    can_reply: can_reply(member),
                    needs_proof: can_reply(member) || is_unknown(member),
                    reports_unresponsive: reports_unresponsive(member, own_tag),
                    is_starting: member.state == NodeState::Starting,
                    liveness: member.liveness,
                    is_leaving: member.state == NodeState::Draining
                        && !known.is_some_and(|known| is_down && known.is_back()),
                    down_since: is_down.then(|| known.and_then(|peer| peer.down_since).unwrap_or(now)),
                    announced: known.and_then(|peer| peer.announced),
                };
                self.by_mac.insert(*mac, peer);
            }
        }
    }

    /// Returns the peers whose MAC addresses gossip has not reported, or that may have other ones by now.
    pub(super) fn without_certain_mac(&self) -> impl Iterator<Item = &NodeName> {
        let uncertain = self.members.iter().filter(|member| has_uncertain_mac(member));
        uncertain.map(|member| &member.node)
    }

    /// Whether `node` is not this node.
    pub(super) fn is_other(&self, node: &NodeName) -> bool {
        self.own_node != *node
    }

    /// Whether this node goes first when it and `peer` probe for one address at the same time. Both must come to the same
    /// result whatever else they know, so the names decide.
    pub(super) fn has_precedence_over(&self, peer: &NodeName) -> bool {
        self.own_node < *peer
    }

    pub(super) fn get(&self, mac: MacAddr) -> Option<&Peer> {
        self.by_mac.get(&mac)
    }

    /// Records whether MetalLB's speakers run on these nodes, too.
    pub(super) const fn set_beside_metallb(&mut self, is_beside: bool) {
        self.is_beside_metallb = is_beside;
    }

    /// Whether MetalLB's speakers run on these nodes, too: then a node that answers may not have heard of this one's election.
    pub(super) const fn is_beside_metallb(&self) -> bool {
        self.is_beside_metallb
    }

    /// Records whether Pods of MetalLB's speaker exist, ready or not.
    pub(super) const fn set_has_metallb(&mut self, has_metallb: bool) {
        self.has_metallb = has_metallb;
    }

    /// Whether MetalLB may claim addresses: its speaker claims those for which it is not elected when it starts, and while those of
    /// other nodes stop.
    pub(super) const fn has_metallb(&self) -> bool {
        self.has_metallb
    }

    /// Whether a peer is alive.
    pub(super) fn is_living(&self, node: &NodeName) -> bool {
        self.living(node).is_some()
    }

    /// Whether a peer is alive and can own addresses.
    pub(super) fn is_usable(&self, node: &NodeName) -> bool {
        self.living(node).is_some_and(Member::is_usable)
    }

    fn living(&self, node: &NodeName) -> Option<&Member> {
        let mut members = self.members.iter();
        members.find(|member| member.node == *node && member.liveness == Liveness::Alive)
    }

    /// Records that a peer announced an address. Returns whether all active addresses are to be announced again: membership
    /// considers the peer down, and they were not announced again a moment ago.
    pub(super) fn handle_announcement(&mut self, mac: MacAddr, now: Time) -> bool {
        let Some(peer) = self.by_mac.get_mut(&mac) else {
            return false;
        };
        peer.announced = Some(now);
        peer.is_leaving &= !peer.is_back();
        let last = self.reannounced.get(&peer.node);
        let is_news = last.is_none_or(|last| now.saturating_since(last.at) >= NEWS_INTERVAL);
        peer.is_lost() && is_news && self.poll_reannouncement(mac, now)
    }

    /// Whether all active addresses are to be announced again for the peer behind `mac`, which may not know of them. Returns
    /// true at most once in [`REANNOUNCE_INTERVAL`] for each peer, until gossip reaches it again. What is not due yet is
    /// remembered.
    pub(super) fn poll_reannouncement(&mut self, mac: MacAddr, now: Time) -> bool {
        let Some(peer) = self.by_mac.get(&mac) else {
            return false;
        };
        match self.reannounced.get_mut(&peer.node) {
            Some(last) if now.saturating_since(last.at) < REANNOUNCE_INTERVAL => {
                last.is_pending = true;
                false
            }
            Some(_) | None => {
                let reannounced = Reannounced {
                    at: now,
                    is_pending: false,
                };
                self.reannounced.insert(peer.node.clone(), reannounced);
                true
            }
        }
    }

    /// Returns when all active addresses are to be announced again because of earlier news.
    pub(super) fn reannouncement_due(&self) -> Option<Time> {
        let pending = self.reannounced.values().filter(|last| last.is_pending);
        pending.map(|last| last.at + REANNOUNCE_INTERVAL).min()
    }

    /// Whether all active addresses are to be announced again because of earlier news; they then count as announced.
    pub(super) fn poll_pending_reannouncement(&mut self, now: Time) -> bool {
        let is_due = self.reannouncement_due().is_some_and(|at| at <= now);
        if is_due {
            let pending = self.reannounced.values_mut().filter(|last| last.is_pending);
            pending.for_each(|last| {
                *last = Reannounced {
                    at: now,
                    is_pending: false,
                };
            });
        }
        is_due
    }

    /// Whether a peer is down without having announced that it leaves, or an expected peer was never reached, for less than
    /// [`BEACON_LIMIT`].
    pub(super) fn has_lost(&self, now: Time) -> bool {
        let lost = self.by_mac.values().filter(|peer| peer.is_lost());
        let mut since = lost.filter_map(|peer| peer.down_since).chain(self.missing_since);
        since.any(|since| now.saturating_since(since) < BEACON_LIMIT)
    }

    /// Returns how many speakers are not down, this one included.
    pub(super) fn alive(&self) -> u32 {
        u32::try_from(self.alive).unwrap_or(u32::MAX)
    }

    pub(super) fn is_down(&self, node: &NodeName) -> bool {
        self.down.contains(node)
    }

    /// Records that a peer answered for an address.
    pub(super) fn handle_answer(&mut self, node: &NodeName) {
        if !self.answered.contains(node) {
            self.answered.insert(node.clone());
        }
    }

    /// Whether a peer has answered for any address since it was last down.
    pub(super) fn has_answered(&self, node: &NodeName) -> bool {
        self.answered.contains(node)
    }

    /// Returns since when a peer is suspect or down, if it is.
    pub(super) fn doubted_since(&self, node: &NodeName) -> Option<Time> {
        self.doubted.get(node).copied()
    }

    /// Whether answers from this MAC address no longer delay a take-over: the majority considers the peer down, and it does not
    /// reply to queries. A peer of a version that cannot reply has [`DOWN_PEER_GRACE`], and longer if it announces addresses, but
    /// not once `is_limit_over`. Beside MetalLB they always do.
    pub(super) fn is_grace_over(&self, mac: MacAddr, is_limit_over: bool, now: Time) -> bool {
        let Some(peer) = self.by_mac.get(&mac) else {
            return false;
        };
        if self.is_beside_metallb {
            return false;
        }
        let (Some(since), false) = (peer.down_since, self.is_minority()) else {
            return false;
        };
        let is_grace_over = now.saturating_since(since) >= DOWN_PEER_GRACE;
        if peer.needs_proof {
            let is_unreachable = is_grace_over || self.queries.is_unreachable(&peer.node, now);
            return is_unreachable && !self.queries.is_reached(&peer.node, now);
        }
        let has_announced = peer
            .announced
            .is_some_and(|at| at > since && now.saturating_since(at) < ANNOUNCEMENT_VALIDITY);
        is_grace_over && (!has_announced || is_limit_over)
    }

    /// Whether this node is with at most half of the speakers.
    pub(super) const fn is_minority(&self) -> bool {
        self.alive * 2 <= self.members.len() + 1
    }
}

fn is_down(member: &Member) -> bool {
    member.liveness == Liveness::Down
}

/// Whether the version of a member answers queries.
fn can_reply(member: &Member) -> bool {
    let profile = member.profile.as_ref();
    profile.is_some_and(|profile| profile.features.contains(Features::OWNERSHIP_QUERY))
}

/// Whether a member reports that the node with this tag does not answer on the wire.
fn reports_unresponsive(member: &Member, tag: u32) -> bool {
    let profile = member.profile.as_ref();
    profile.is_some_and(|profile| profile.unresponsive.contains(&tag))
}

/// Whether gossip has never reached the member.
fn is_unknown(member: &Member) -> bool {
    is_down(member) && member.profile.is_none() && member.state == NodeState::Starting
}

/// Whether the member may answer from MAC addresses that gossip has not reported.
fn has_uncertain_mac(member: &Member) -> bool {
    member.macs.is_empty() || is_down(member)
}
