//! The list of members that the rest of the speaker sees, compiled from the peers that Kubernetes expects, the members that
//! the SWIM library knows and their reports.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher as _;
use core::mem;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use foca::State;
use hashbrown::DefaultHashBuilder;
use herald_core::{Liveness, Member, NodeName, NodeState, Time};

use super::MembershipEvent;
use super::dissemination::Dissemination;
use super::swim::SwimMember;
use crate::codec::report::SelfReport;
use crate::identity::Identity;

/// The list is compiled at most this often, as it takes some time where there are a thousand members.
const PERIOD: Duration = Duration::from_millis(10);

/// The expected peers and the list of members.
pub(super) struct Roster {
    /// The expected peers, without this node.
    peers: BTreeMap<NodeName, SocketAddr>,
    /// The members in order of their names.
    members: Arc<[Member]>,
    /// Addresses and ports of the expected and known peers.
    endpoints: BTreeSet<(IpAddr, u16)>,
    /// Whether something changed since the list was compiled.
    is_stale: bool,
    /// When the list was compiled last.
    compiled: Option<Time>,
    hasher: DefaultHashBuilder,
    /// The sum of the hashes of the members that the SWIM library knows.
    hashes: u64,
}

impl Roster {
    /// Returns a roster that was never compiled.
    pub(super) fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            members: Arc::default(),
            endpoints: BTreeSet::new(),
            is_stale: true,
            compiled: None,
            hasher: DefaultHashBuilder::default(),
            hashes: 0,
        }
    }

    /// Returns the expected peers.
    pub(super) fn peers(&self) -> &BTreeMap<NodeName, SocketAddr> {
        &self.peers
    }

    /// Replaces the expected peers; false if they are the same.
    pub(super) fn set_peers(&mut self, peers: BTreeMap<NodeName, SocketAddr>) -> bool {
        let changed = self.peers != peers;
        self.peers = peers;
        changed
    }

    /// Whether an expected or known peer has this address; since the list was compiled last.
    pub(super) fn has_endpoint(&self, address: SocketAddr) -> bool {
        // Scope and flow label of IPv6 do not travel in datagrams.
        self.endpoints.contains(&(address.ip(), address.port()))
    }

    /// Replaces the addresses of the known peers.
    pub(super) fn set_endpoints<'a>(&mut self, known: impl Iterator<Item = &'a SwimMember>) {
        let addresses = known.map(|known| &known.id().address).chain(self.peers.values());
        self.endpoints = addresses.map(|address| (address.ip(), address.port())).collect();
    }

    /// Marks the list as out of date.
    pub(super) const fn set_stale(&mut self) {
        self.is_stale = true;
    }

    /// Whether the list is out of date.
    pub(super) const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// When the list is to be compiled: at once if it is out of date, but at most once in [`PERIOD`].
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let earliest = self.compiled.map_or(Time::ZERO, |at| at + PERIOD);
        self.is_stale.then_some(earliest)
    }

    /// Returns the list.
    pub(super) const fn members(&self) -> &Arc<[Member]> {
        &self.members
    }

    /// Returns a member of the list.
    pub(super) fn get(&self, node: &NodeName) -> Option<&Member> {
        let at = self.members.binary_search_by(|member| member.node.cmp(node));
        at.ok().map(|at| &self.members[at])
    }

    /// Marks the list as out of date if the SWIM library knows other members, or another state of a member, than at the last
    /// call. The library notifies of no suspicion and no refutation. Hashing all members is so much faster than compiling the
    /// list that it is done after each datagram.
    pub(super) fn compare<'a>(&mut self, known: impl Iterator<Item = &'a SwimMember>) {
        let hash = |known: &SwimMember| {
            let Identity { node, epoch, .. } = known.id();
            self.hasher
                .hash_one((node.digest(), epoch, liveness(known.state())))
        };
        // A sum, as the library changes their order now and then.
        let hashes = known.map(hash).fold(0, u64::wrapping_add);
        self.is_stale |= mem::replace(&mut self.hashes, hashes) != hashes;
    }

    /// Whether the list is to be compiled now; it then counts as compiled at `now`.
    pub(super) fn poll_compile(&mut self, now: Time) -> bool {
        let is_due = self.poll_timeout().is_some_and(|due| due <= now);
        if is_due {
            self.compiled = Some(now);
        }
        is_due
    }

    /// Compiles the list; `None` if it stayed the same, else the changes of liveness.
    pub(super) fn update<'a>(
        &mut self,
        known: impl Iterator<Item = &'a SwimMember>,
        reports: &Dissemination,
    ) -> Option<Vec<MembershipEvent>> {
        self.is_stale = false;
        let members = self.compile(known, reports);
        if *members == *self.members {
            return None;
        }
        let events = changes(&self.members, &members);
        self.members = members.into();
        Some(events)
    }

    fn compile<'a>(
        &self,
        known: impl Iterator<Item = &'a SwimMember>,
        reports: &Dissemination,
    ) -> Vec<Member> {
        let member = |node: &NodeName, liveness, report: Option<&SelfReport>| {
            let mut member = Member::new(node.clone(), liveness, NodeState::Starting);
            if let Some(report) = report {
                member.state = report.state;
                member.macs.clone_from(&report.macs);
                member.profile.clone_from(&report.profile);
            }
            (node.clone(), member)
        };
        // The SWIM library forgets members that are down after some time, and does not know peers that never sent anything.
        let absent = |node: &NodeName| member(node, Liveness::Down, reports.latest(node));
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
                    member(node, liveness, reports.of_process(node, epoch.started))
                }
            }]);
        }
        let own = reports.own_as_parsed();
        members.extend([member(&own.node, Liveness::Alive, Some(&own))]);
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

/// Returns the members that are new in `after` or have another liveness than in `before`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Epoch;

    fn known(node: &str, state: State) -> SwimMember {
        let address = SocketAddr::from(([192, 0, 2, 1], 7946));
        foca::Member::new(Identity::unknown(node.into(), address), 0, state)
    }

    fn listed(roster: &Roster) -> Vec<(&str, Liveness)> {
        let members = roster.members().iter();
        members
            .map(|member| (member.node.as_str(), member.liveness))
            .collect()
    }

    /// Returns a roster of the node `own` that expects `peers` and was compiled from `known`.
    fn compiled(peers: &[&str], known: &[SwimMember]) -> Roster {
        let address = SocketAddr::from(([192, 0, 2, 1], 7946));
        let mut roster = Roster::new();
        roster.set_peers(peers.iter().map(|peer| ((*peer).into(), address)).collect());
        assert!(roster.poll_compile(Time::ZERO));
        let _changes = roster.update(known.iter(), &Dissemination::new("own".into(), Epoch::default()));
        roster
    }

    #[test]
    fn expected_peers_are_listed_in_any_state_and_other_members_only_until_they_are_down() {
        let down = [
            known("a", State::Down),
            known("b", State::Down),
            known("c", State::Suspect),
        ];
        let roster = compiled(&["b", "d"], &down);
        let expected = [
            ("b", Liveness::Down),
            ("c", Liveness::Suspect),
            ("d", Liveness::Down),
            ("own", Liveness::Alive),
        ];
        assert_eq!(listed(&roster), expected);
        assert!(roster.get(&"c".into()).is_some() && roster.get(&"a".into()).is_none());
    }

    #[test]
    fn a_changed_state_makes_the_list_stale_and_is_returned_as_a_change() {
        let mut roster = compiled(&[], &[known("a", State::Alive)]);
        roster.compare([known("a", State::Alive)].iter());
        roster.is_stale = false;
        roster.compare([known("a", State::Alive)].iter());
        assert!(!roster.is_stale());
        let suspect = [known("a", State::Suspect)];
        roster.compare(suspect.iter());
        assert!(roster.is_stale());
        assert_eq!(roster.poll_timeout(), Some(Time::ZERO + PERIOD));
        let reports = Dissemination::new("own".into(), Epoch::default());
        let changes = roster.update(suspect.iter(), &reports);
        let expected = MembershipEvent::Liveness {
            node: "a".into(),
            from: Some(Liveness::Alive),
            to: Liveness::Suspect,
        };
        assert_eq!(changes, Some([expected].into()));
        assert_eq!(roster.update(suspect.iter(), &reports), None);
    }
}
