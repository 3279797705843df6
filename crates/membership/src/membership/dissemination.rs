//! The reports of all members, and how often each is still to be transmitted (SWIM section 4.1).

mod schedule;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Bound;

use herald_core::{Features, NodeName, NodeState, Profile, Time};

use crate::codec::report::SelfReport;
use crate::identity::Epoch;
use crate::timings::TRANSMISSIONS;
use schedule::NewsSchedule;

/// The latest report of each member. The own report is in each datagram that this member sends, so a peer that receives any
/// of them knows its state; reports of others are transmitted [`TRANSMISSIONS`] times when they are new.
pub(super) struct Dissemination {
    own: OwnReport,
    peers: BTreeMap<NodeName, PeerReport>,
    /// The node whose report was transmitted last although it was no news.
    repeated: Option<NodeName>,
    earlier: EarlierProcesses,
    schedule: NewsSchedule,
}

/// What this member reports.
struct OwnReport {
    report: SelfReport,
    encoded: Vec<u8>,
    /// Datagrams in which the report still is news.
    transmissions_left: u8,
}

impl OwnReport {
    /// Replaces the report by `next`, with the version after that of `next`.
    fn replace(&mut self, next: SelfReport) {
        // Peers refuse a report that its node could not replace.
        let version = next.version.saturating_add(1).min(u32::MAX - 1);
        self.report = SelfReport { version, ..next };
        self.encoded = self.report.emit();
        self.transmissions_left = TRANSMISSIONS.get();
    }
}

/// What a peer reported last.
struct PeerReport {
    report: SelfReport,
    encoded: Vec<u8>,
    transmissions_left: u8,
    /// Whether the peer has sent an earlier report of itself than this one since this one came: this one may be forged.
    is_contradicted: bool,
    /// The last report of the peer's process before, and the number of datagrams to the peer that still carry it.
    earlier: Option<(Vec<u8>, u8)>,
}

/// What this process knows of the processes of this node before it.
struct EarlierProcesses {
    /// Starts that are of no earlier process: those of this one, and later ones, which others reported of this node.
    other_starts: Vec<u64>,
    /// The flaps of this node when this process started, as far as reports of peers say.
    flaps: u8,
}

impl EarlierProcesses {
    /// Records a start that is of no earlier process.
    fn exclude(&mut self, started: u64) {
        if self.other_starts.len() < MAX_STARTS && !self.other_starts.contains(&started) {
            self.other_starts.push(started);
        }
    }
}

/// The version after which this process takes a later start, so that versions do not run out. No process reports so often; a
/// forged report may have any version.
const LATEST_VERSION: u32 = u32::MAX / 2;

/// Starts that are remembered, so that forged ones do not fill the memory.
const MAX_STARTS: usize = 64;

/// How often a process is sent the last report of the process before: enough in spite of losses, and soon over.
const EARLIER_TRANSMISSIONS: u8 = 10;

impl Dissemination {
    pub(super) fn new(node: NodeName, epoch: Epoch) -> Self {
        let report = SelfReport {
            node,
            started: epoch.started,
            version: 0,
            state: NodeState::Starting,
            macs: Arc::default(),
            profile: Some(Arc::new(Profile {
                features: Features::OF_THIS_VERSION,
                ..Profile::default()
            })),
        };
        Self {
            earlier: EarlierProcesses {
                other_starts: Vec::new(),
                flaps: 0,
            },
            own: OwnReport {
                encoded: report.emit(),
                report,
                transmissions_left: 0,
            },
            peers: BTreeMap::new(),
            repeated: None,
            schedule: NewsSchedule::default(),
        }
    }

    /// Returns the report of this member.
    pub(super) const fn own(&self) -> &SelfReport {
        &self.own.report
    }

    /// Returns the report of this member as peers parse it: without the lists that a report has no room for.
    pub(super) fn own_as_parsed(&self) -> SelfReport {
        SelfReport::parse(&self.own.encoded).unwrap_or_else(|| self.own.report.clone())
    }

    /// Changes the report of this member; false if it stays the same.
    pub(super) fn update_own(&mut self, change: impl FnOnce(&mut SelfReport)) -> bool {
        let own = &mut self.own;
        let mut next = own.report.clone();
        change(&mut next);
        if next == own.report {
            return false;
        }
        own.replace(next);
        true
    }

    /// Gives this process a later start.
    pub(super) fn supersede(&mut self, started: u64) {
        let before = self.own.report.started;
        let is_later = started > before;
        self.earlier.exclude(before);
        self.update_own(|report| {
            report.started = started;
            report.version = if is_later { 0 } else { report.version };
        });
    }

    /// Handles a report about this node that it did not make: gives its own report a later version, so that all forget the
    /// other one. Returns the start that this process has to supersede, if a later version is not enough.
    pub(super) fn outbid(&mut self, report: &SelfReport) -> Option<u64> {
        let own = &self.own.report;
        if !report.contradicts(own) {
            return None;
        }
        if report.started > own.started {
            self.earlier.exclude(report.started);
        }
        if report.started == own.started {
            let version = report.version.max(own.version);
            let next = SelfReport {
                version,
                ..own.clone()
            };
            self.own.replace(next);
        }
        let is_spent = self.own.report.version > LATEST_VERSION && report.started < Epoch::LATEST_START;
        (report.started > self.own.report.started || is_spent).then_some(report.started)
    }

    /// Handles a report of an earlier process of this node: returns the number of flaps that were not known. A process that
    /// did not report that it drains has failed, and the present one is its return.
    pub(super) fn handle_earlier(&mut self, report: &SelfReport) -> u8 {
        let earlier = &mut self.earlier;
        let own = &self.own.report;
        let is_earlier = report.started < own.started && !earlier.other_starts.contains(&report.started);
        if report.node != own.node || !is_earlier {
            return 0;
        }
        let before = report.profile.as_ref().map_or(0, |profile| profile.flaps);
        let flaps = before.saturating_add(u8::from(report.state == NodeState::Ready));
        let unknown = flaps.saturating_sub(earlier.flaps);
        earlier.flaps += unknown;
        unknown
    }

    /// Returns the report of `node`, if it is of the process with this start.
    pub(super) fn of_process(&self, node: &NodeName, started: u64) -> Option<&SelfReport> {
        self.latest(node).filter(|report| report.started == started)
    }

    /// Returns the latest report of `node`.
    pub(super) fn latest(&self, node: &NodeName) -> Option<&SelfReport> {
        self.peers.get(node).map(|peer| &peer.report)
    }

    /// Handles the report of a peer; false if it is no news, or of this member. A report `from_itself` is one that the present
    /// process of the peer has sent. It counts even if another report has its number, which then is forged; if another one is
    /// later, the peer is sent that one with the next datagram, so that it can outbid it.
    pub(super) fn handle_report(&mut self, report: SelfReport, from_itself: bool) -> bool {
        if report.node == self.own.report.node {
            return false;
        }
        if let Some(known) = self.peers.get_mut(&report.node) {
            let is_forged = from_itself && known.report.contradicts(&report);
            let is_same_number =
                (known.report.started, known.report.version) == (report.started, report.version);
            known.is_contradicted = is_forged && !is_same_number;
            let counts = report.is_later_than(&known.report) || is_forged && is_same_number;
            if !counts {
                return false;
            }
        }
        let earlier = self.peers.remove(&report.node).and_then(|known| {
            if known.report.started == report.started {
                known.earlier
            } else {
                Some((known.encoded, EARLIER_TRANSMISSIONS))
            }
        });
        let peer = PeerReport {
            is_contradicted: false,
            earlier,
            encoded: report.emit(),
            transmissions_left: TRANSMISSIONS.get(),
            report,
        };
        self.peers.insert(peer.report.node.clone(), peer);
        true
    }

    /// Forgets the reports of the members that `is_listed` does not list.
    pub(super) fn retain(&mut self, is_listed: impl Fn(&NodeName) -> bool) {
        self.peers.retain(|node, _| is_listed(node));
    }

    /// Whether a report is still to be transmitted.
    pub(super) fn has_news(&self) -> bool {
        self.own.transmissions_left > 0 || self.peers.values().any(|peer| peer.transmissions_left > 0)
    }

    /// Returns the reports for the next datagram to the process of `to` with this start, the most urgent first: the own
    /// report always, the last report of an earlier process there, which no other member can send to it, then the reports
    /// with the most transmissions left. Beside them the nodes of the last kind.
    pub(super) fn for_datagram(&self, to: &NodeName, started: u64) -> (Vec<NodeName>, Vec<&[u8]>) {
        let earlier = self.peers.get(to).and_then(|peer| match &peer.earlier {
            _ if peer.report.started != started || peer.is_contradicted => Some(&peer.encoded),
            Some((earlier, 1..)) => Some(earlier),
            Some((_, 0)) | None => None,
        });
        let news = self.peers.values().filter(|peer| peer.transmissions_left > 0);
        let mut news: Vec<&PeerReport> = news.collect();
        news.sort_by_key(|peer| Reverse(peer.transmissions_left));
        let nodes = news.iter().map(|peer| peer.report.node.clone()).collect();
        let own = core::iter::once(self.own.encoded.as_slice());
        let encoded = own
            .chain(earlier.map(Vec::as_slice))
            .chain(news.iter().map(|peer| peer.encoded.as_slice()))
            .collect();
        (nodes, encoded)
    }

    /// Returns the next report in turn, news or not, for a datagram to `to` that has room.
    pub(super) fn repetition(&self, to: &NodeName) -> Option<(&NodeName, &[u8])> {
        let after = self.repeated.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.peers.range::<NodeName, _>((after, Bound::Unbounded));
        let mut in_turn = later.chain(&self.peers).filter(|(node, _)| *node != to);
        in_turn.next().map(|(node, peer)| (node, peer.encoded.as_slice()))
    }

    /// Records the node of the repetition that was sent, if one was.
    pub(super) fn set_repeated(&mut self, node: Option<NodeName>) {
        if node.is_some() {
            self.repeated = node;
        }
    }

    /// Records that the own report and those of `nodes` were sent to `to`.
    pub(super) fn handle_sent(&mut self, nodes: &[NodeName], to: &NodeName) {
        if let Some((_, left)) = self.peers.get_mut(to).and_then(|peer| peer.earlier.as_mut()) {
            *left = left.saturating_sub(1);
        }
        self.own.transmissions_left = self.own.transmissions_left.saturating_sub(1);
        for node in nodes {
            if let Some(peer) = self.peers.get_mut(node) {
                peer.transmissions_left = peer.transmissions_left.saturating_sub(1);
            }
        }
    }

    /// When news is to be sent.
    pub(super) const fn next_due(&self) -> Option<Time> {
        self.schedule.next_due()
    }

    /// Makes news due at once, instead of half a period later at each hop.
    pub(super) fn send_soon(&mut self, now: Time) {
        self.schedule.send_soon(now);
    }

    /// Makes news due after the usual period, if it is not due earlier.
    pub(super) fn send_in_turn(&mut self, now: Time) {
        self.schedule.send_in_turn(now);
    }

    /// Whether news is to be sent now; it then counts as sent.
    pub(super) fn poll_round(&mut self, now: Time) -> bool {
        self.schedule.poll_round(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dissemination() -> Dissemination {
        Dissemination::new(NodeName::from("own"), Epoch::default())
    }

    fn report(node: &str, started: u64, version: u32) -> SelfReport {
        SelfReport {
            node: NodeName::from(node),
            started,
            version,
            state: NodeState::Ready,
            macs: Arc::default(),
            profile: None,
        }
    }

    #[test]
    fn only_later_reports_are_news() {
        let mut dissemination = dissemination();
        assert!(dissemination.handle_report(report("a", 2, 5), false));
        for (started, version) in [(2, 5), (2, 4), (1, 9)] {
            assert!(!dissemination.handle_report(report("a", started, version), false));
        }
        assert!(dissemination.handle_report(report("a", 2, 6), false));
        assert!(dissemination.handle_report(report("a", 3, 0), false));
    }

    #[test]
    fn a_report_with_profile_replaces_the_same_report_without() {
        let mut dissemination = dissemination();
        let full = SelfReport {
            profile: Some(Arc::default()),
            ..report("a", 2, 5)
        };
        assert!(dissemination.handle_report(report("a", 2, 5), false));
        assert!(dissemination.handle_report(full.clone(), false));
        assert!(!dissemination.handle_report(report("a", 2, 5), false));
        assert_eq!(dissemination.of_process(&NodeName::from("a"), 2), Some(&full));
    }

    #[test]
    fn a_report_of_its_own_that_this_member_did_not_make_is_outbid() {
        let own = |dissemination: &Dissemination| {
            let own = dissemination.own();
            (own.started, own.version)
        };
        let latest = u32::MAX - 1;
        for (started, version, expected, superseded) in [
            (77, 9, (77, 10), None),
            (77, 1, (77, 2), None),
            (76, 9, (77, 1), None),
            (78, 0, (77, 1), Some(78)),
            (77, latest, (77, latest), Some(77)),
            (Epoch::LATEST_START, 0, (77, 1), Some(Epoch::LATEST_START)),
        ] {
            let mut dissemination = Dissemination::new(NodeName::from("own"), Epoch::first_of(77));
            dissemination.update_own(|own| own.state = NodeState::Ready);
            let forged = SelfReport {
                state: NodeState::Draining,
                ..report("own", started, version)
            };
            assert_eq!(dissemination.outbid(&forged), superseded, "{started} {version}");
            assert_eq!(own(&dissemination), expected, "{started} {version}");
        }
        // A report of its own, as an early version passes it on.
        let mut dissemination = Dissemination::new(NodeName::from("own"), Epoch::first_of(77));
        assert_eq!(
            dissemination.outbid(&SelfReport {
                profile: None,
                ..dissemination.own().clone()
            }),
            None
        );
        assert_eq!(own(&dissemination), (77, 0));
    }

    #[test]
    fn a_report_of_a_node_itself_counts_against_a_forged_one_with_its_number() {
        let mut dissemination = dissemination();
        let draining = SelfReport {
            state: NodeState::Draining,
            ..report("a", 2, 5)
        };
        assert!(dissemination.handle_report(draining.clone(), false));
        assert!(!dissemination.handle_report(report("a", 2, 5), false));
        assert!(dissemination.handle_report(report("a", 2, 5), true));
        assert!(!dissemination.handle_report(draining, false));
        assert_eq!(
            dissemination.latest(&NodeName::from("a")),
            Some(&report("a", 2, 5))
        );
    }

    #[test]
    fn a_node_that_sends_an_earlier_report_than_the_known_one_is_sent_that_one() {
        let mut dissemination = dissemination();
        let to = NodeName::from("a");
        let news = |dissemination: &Dissemination| {
            let (nodes, encoded) = dissemination.for_datagram(&to, 2);
            encoded.len() - nodes.len() - 1
        };
        dissemination.handle_report(report("a", 2, 9), false);
        assert_eq!(news(&dissemination), 0);
        dissemination.handle_report(report("a", 2, 5), false);
        assert_eq!(news(&dissemination), 0, "another node may pass on an old report");
        dissemination.handle_report(report("a", 2, 5), true);
        assert_eq!(news(&dissemination), 1);
        dissemination.handle_report(report("a", 2, 10), true);
        assert_eq!(news(&dissemination), 0);
    }

    #[test]
    fn a_restarted_node_is_sent_its_earlier_report_and_no_other_node_is() {
        let mut dissemination = dissemination();
        dissemination.handle_report(report("a", 1, 1), false);
        while dissemination.has_news() {
            let (nodes, _) = dissemination.for_datagram(&NodeName::from("z"), 1);
            dissemination.handle_sent(&nodes, &NodeName::from("z"));
        }
        for (to, started, expected) in [("a", 2, 2), ("a", 1, 1), ("b", 2, 1)] {
            let (nodes, encoded) = dissemination.for_datagram(&NodeName::from(to), started);
            assert_eq!((nodes.len(), encoded.len()), (0, expected), "{to} {started}");
        }
    }

    #[test]
    fn reports_that_are_no_news_are_repeated_in_turn_but_not_to_their_own_node() {
        let mut dissemination = dissemination();
        for node in ["a", "b", "c"] {
            dissemination.handle_report(report(node, 1, 1), false);
        }
        let repeated: Vec<NodeName> = (0..5)
            .filter_map(|_| {
                let node = dissemination.repetition(&NodeName::from("b"))?.0.clone();
                dissemination.set_repeated(Some(node.clone()));
                Some(node)
            })
            .collect();
        assert_eq!(repeated, ["a", "c", "a", "c", "a"].map(NodeName::from));
    }

    #[test]
    fn an_earlier_process_counts_once_and_only_if_it_did_not_drain() {
        let earlier = |state, flaps| SelfReport {
            state,
            profile: Some(Arc::new(Profile {
                flaps,
                ..Profile::default()
            })),
            ..report("own", 77, 1)
        };
        let mut dissemination = Dissemination::new(NodeName::from("own"), Epoch::first_of(78));
        assert_eq!(dissemination.handle_earlier(&earlier(NodeState::Draining, 0)), 0);
        assert_eq!(dissemination.handle_earlier(&earlier(NodeState::Starting, 1)), 1);
        assert_eq!(dissemination.handle_earlier(&earlier(NodeState::Ready, 2)), 2);
        assert_eq!(dissemination.handle_earlier(&earlier(NodeState::Ready, 2)), 0);
        assert_eq!(dissemination.handle_earlier(&report("other", 77, 1)), 0);
        dissemination.supersede(99);
        let started = |started| SelfReport {
            started,
            ..earlier(NodeState::Ready, 4)
        };
        for own_or_later in [78, 99, 200] {
            assert_eq!(
                dissemination.handle_earlier(&started(own_or_later)),
                0,
                "{own_or_later}"
            );
        }
        // A later start that others reported of this node is of no earlier process once it is superseded.
        assert_eq!(dissemination.outbid(&started(200)), Some(200));
        dissemination.supersede(300);
        assert_eq!(dissemination.handle_earlier(&started(200)), 0);
        // The clock went back: the start of the earlier process is later than the first one of this process.
        assert_eq!(dissemination.handle_earlier(&started(250)), 2);
    }

    #[test]
    fn a_restarted_node_that_reported_first_is_sent_its_earlier_report_a_few_times() {
        let mut dissemination = dissemination();
        let to = NodeName::from("a");
        dissemination.handle_report(report("a", 1, 1), false);
        dissemination.handle_report(report("a", 2, 0), false);
        let mut sent = 0;
        for _ in 0..100 {
            let (nodes, encoded) = dissemination.for_datagram(&to, 2);
            sent += encoded.len() - nodes.len() - 1;
            dissemination.handle_sent(&nodes, &to);
        }
        assert_eq!(sent, usize::from(EARLIER_TRANSMISSIONS));
    }

    #[test]
    fn no_peer_reports_for_this_member() {
        let mut dissemination = dissemination();
        assert!(!dissemination.handle_report(report("own", 9, 9), false));
        assert_eq!(dissemination.own().state, NodeState::Starting);
    }

    #[test]
    fn a_report_of_an_earlier_process_does_not_count_for_a_later_one() {
        let mut dissemination = dissemination();
        dissemination.handle_report(report("a", 2, 5), false);
        assert!(dissemination.of_process(&NodeName::from("a"), 2).is_some());
        assert!(dissemination.of_process(&NodeName::from("a"), 3).is_none());
    }

    #[test]
    fn news_is_transmitted_a_bounded_number_of_times_and_the_newest_first() {
        let mut dissemination = dissemination();
        dissemination.handle_report(report("a", 1, 1), false);
        let (nodes, _) = dissemination.for_datagram(&NodeName::from("z"), 1);
        dissemination.handle_sent(&nodes, &NodeName::from("z"));
        dissemination.handle_report(report("b", 1, 1), false);
        let mut sent = 0;
        while dissemination.has_news() {
            let (nodes, encoded) = dissemination.for_datagram(&NodeName::from("z"), 1);
            assert_eq!(encoded.len(), nodes.len() + 1, "the own report comes first");
            if sent == 0 {
                assert_eq!(nodes, [NodeName::from("b"), NodeName::from("a")]);
            }
            dissemination.handle_sent(&nodes, &NodeName::from("z"));
            sent += 1;
        }
        assert_eq!(sent, u32::from(TRANSMISSIONS.get()));
    }

    #[test]
    fn an_unchanged_report_is_no_news() {
        let mut dissemination = dissemination();
        assert!(dissemination.update_own(|own| own.state = NodeState::Ready));
        assert!(!dissemination.update_own(|own| own.state = NodeState::Ready));
        assert_eq!(dissemination.own().version, 1);
    }
}
