//! The list of members that the rest of the speaker sees, put together from whom Kubernetes expects, whom the SWIM
//! library knows and what the members say of themselves.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::sync::Arc;

use foca::State;
use hashbrown::DefaultHashBuilder;
use herald_core::{Liveness, Member, NodeName, NodeState};

use super::MembershipEvent;
use super::rumours::Rumours;
use crate::codec::report::Report;
use crate::identity::Identity;

#[derive(Default)]
pub(super) struct Roster {
    /// Whom to expect, ourselves not among them.
    peers: BTreeMap<NodeName, SocketAddr>,
    /// In order of their names.
    members: Arc<[Member]>,
    hasher: DefaultHashBuilder,
    noticed: u64,
}

impl Roster {
    pub(super) fn peers(&self) -> &BTreeMap<NodeName, SocketAddr> {
        &self.peers
    }

    /// Replaces whom to expect; false if that changes nothing.
    pub(super) fn set_peers(&mut self, peers: BTreeMap<NodeName, SocketAddr>) -> bool {
        let changed = self.peers != peers;
        self.peers = peers;
        changed
    }

    pub(super) const fn members(&self) -> &Arc<[Member]> {
        &self.members
    }

    pub(super) fn lists(&self, node: &NodeName) -> bool {
        self.members
            .binary_search_by(|member| member.node.cmp(node))
            .is_ok()
    }

    /// Whether the SWIM library knows others, or of others, than last time. It tells of no suspicion and no refutation, and
    /// a look at the hashes of all is so much faster than putting the list together that it can be had at any time.
    pub(super) fn notice<'a>(&mut self, known: impl Iterator<Item = &'a foca::Member<Identity>>) -> bool {
        let hash = |known: &foca::Member<Identity>| {
            let Identity { node, epoch, .. } = known.id();
            self.hasher
                .hash_one((node.digest(), epoch, liveness(known.state())))
        };
        // The library keeps them in an order that it changes now and then.
        let all = known.map(hash).fold(0, u64::wrapping_add);
        std::mem::replace(&mut self.noticed, all) != all
    }

    /// Puts the list together anew; `None` if it stayed the same, else whose liveness changed.
    pub(super) fn update<'a>(
        &mut self,
        known: impl Iterator<Item = &'a foca::Member<Identity>>,
        rumours: &Rumours,
    ) -> Option<Vec<MembershipEvent>> {
        let members = self.compile(known, rumours);
        if *members == *self.members {
            return None;
        }
        let events = changes(&self.members, &members);
        self.members = members.into();
        Some(events)
    }

    fn compile<'a>(
        &self,
        known: impl Iterator<Item = &'a foca::Member<Identity>>,
        rumours: &Rumours,
    ) -> Vec<Member> {
        let member = |node: &NodeName, liveness, report: Option<&Report>| {
            let mut member = Member::new(node.clone(), liveness, NodeState::Starting);
            if let Some(report) = report {
                member.state = report.state;
                member.macs.clone_from(&report.macs);
                member.profile.clone_from(&report.profile);
            }
            (node.clone(), member)
        };
        // The SWIM library forgets the dead after some time, and never knew who was never heard of.
        let absent = |node: &NodeName| member(node, Liveness::Down, rumours.latest(node));
        let mut members: BTreeMap<NodeName, Member> = self.peers.keys().map(absent).collect();
        for known in known {
            let Identity { node, epoch, .. } = known.id();
            let liveness = liveness(known.state());
            if liveness == Liveness::Down && !self.peers.contains_key(&**node) {
                continue;
            }
            members.extend([match liveness {
                Liveness::Down => absent(node),
                Liveness::Alive | Liveness::Suspect => {
                    member(node, liveness, rumours.of(node, epoch.started))
                }
            }]);
        }
        let own = rumours.own();
        members.extend([member(&own.node, Liveness::Alive, Some(own))]);
        members.into_values().collect()
    }
}

const fn liveness(state: State) -> Liveness {
    match state {
        State::Alive => Liveness::Alive,
        State::Suspect => Liveness::Suspect,
        State::Down => Liveness::Down,
    }
}

/// Who appeared in `after`, or has another liveness than in `before`.
fn changes(before: &[Member], after: &[Member]) -> Vec<MembershipEvent> {
    let before: BTreeMap<&NodeName, Liveness> = before.iter().map(|m| (&m.node, m.liveness)).collect();
    let change = |member: &Member| {
        let from = before.get(&member.node).copied();
        (from != Some(member.liveness)).then(|| MembershipEvent::Liveness {
            node: member.node.clone(),
            from,
            to: member.liveness,
        })
    };
    after.iter().filter_map(change).collect()
}
