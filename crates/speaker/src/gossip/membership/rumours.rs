//! What members say of themselves, and how often each saying is still to be passed on.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use herald_core::{NodeName, NodeState};

use super::super::codec::report::Report;
use super::super::identity::Epoch;
use super::super::timings::TRANSMISSIONS;

/// The latest report of every member. Our own travels in every datagram that we send, so whoever hears of us at
/// all knows our state; others' are passed on [`TRANSMISSIONS`] times when they are new.
pub(super) struct Rumours {
    own: Report,
    own_encoded: Vec<u8>,
    /// Datagrams in which our own report still is news.
    own_hot: u8,
    others: BTreeMap<NodeName, Rumour>,
}

struct Rumour {
    report: Report,
    encoded: Vec<u8>,
    hot: u8,
}

impl Rumours {
    pub(super) fn new(node: NodeName, epoch: Epoch) -> Self {
        let own = Report {
            node,
            started: epoch.started,
            version: 0,
            state: NodeState::Starting,
            macs: Vec::new(),
        };
        Self {
            own_encoded: own.emit(),
            own,
            own_hot: 0,
            others: BTreeMap::new(),
        }
    }

    /// What we say of ourselves.
    pub(super) fn own(&self) -> &Report {
        &self.own
    }

    /// Says something new; nothing if `change` changes nothing.
    pub(super) fn say(&mut self, change: impl FnOnce(&mut Report)) -> bool {
        let mut next = self.own.clone();
        change(&mut next);
        if next == self.own {
            return false;
        }
        next.version = self.own.version.saturating_add(1);
        self.own_encoded = next.emit();
        self.own = next;
        self.own_hot = TRANSMISSIONS.get();
        true
    }

    /// What `node` says of itself, if that is from its process `started`.
    pub(super) fn of(&self, node: &NodeName, started: u64) -> Option<&Report> {
        let rumour = self.others.get(node)?;
        (rumour.report.started == started).then_some(&rumour.report)
    }

    /// Which process of `node` is the latest that said anything.
    pub(super) fn started(&self, node: &NodeName) -> Option<u64> {
        self.others.get(node).map(|rumour| rumour.report.started)
    }

    /// Takes in a report; false if it is ours or no news.
    pub(super) fn hear(&mut self, report: Report) -> bool {
        if report.node == self.own.node {
            return false;
        }
        let known = self.others.get(&report.node);
        if known.is_some_and(|known| !report.is_later_than(&known.report)) {
            return false;
        }
        let rumour = Rumour {
            encoded: report.emit(),
            hot: TRANSMISSIONS.get(),
            report,
        };
        self.others.insert(rumour.report.node.clone(), rumour);
        true
    }

    /// Forgets the members that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(&NodeName) -> bool) {
        self.others.retain(|node, _| keep(node));
    }

    /// Whether anything is still to be passed on.
    pub(super) fn is_hot(&self) -> bool {
        self.own_hot > 0 || self.others.values().any(|rumour| rumour.hot > 0)
    }

    /// The reports for the next datagram in order of urgency: our own always, then the least passed on.
    pub(super) fn for_datagram(&self) -> (Vec<NodeName>, Vec<&[u8]>) {
        let mut hot: Vec<&Rumour> = self.others.values().filter(|r| r.hot > 0).collect();
        hot.sort_by_key(|rumour| Reverse(rumour.hot));
        let names = hot.iter().map(|r| r.report.node.clone()).collect();
        let own = std::iter::once(self.own_encoded.as_slice());
        let encoded = own.chain(hot.iter().map(|r| r.encoded.as_slice())).collect();
        (names, encoded)
    }

    /// Takes note that our own report and those of `names` went out.
    pub(super) fn passed_on(&mut self, names: &[NodeName]) {
        self.own_hot = self.own_hot.saturating_sub(1);
        for name in names {
            if let Some(rumour) = self.others.get_mut(name) {
                rumour.hot = rumour.hot.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rumours() -> Rumours {
        Rumours::new(NodeName::from("own"), Epoch::default())
    }

    fn report(node: &str, started: u64, version: u32) -> Report {
        Report {
            node: NodeName::from(node),
            started,
            version,
            state: NodeState::Ready,
            macs: Vec::new(),
        }
    }

    #[test]
    fn only_later_reports_are_news() {
        let mut rumours = rumours();
        assert!(rumours.hear(report("a", 2, 5)));
        for (started, version) in [(2, 5), (2, 4), (1, 9)] {
            assert!(!rumours.hear(report("a", started, version)));
        }
        assert!(rumours.hear(report("a", 2, 6)));
        assert!(rumours.hear(report("a", 3, 0)));
    }

    #[test]
    fn nobody_else_speaks_for_us() {
        let mut rumours = rumours();
        assert!(!rumours.hear(report("own", 9, 9)));
        assert_eq!(rumours.own().state, NodeState::Starting);
    }

    #[test]
    fn what_an_earlier_process_said_does_not_count_for_a_later_one() {
        let mut rumours = rumours();
        rumours.hear(report("a", 2, 5));
        assert!(rumours.of(&NodeName::from("a"), 2).is_some());
        assert!(rumours.of(&NodeName::from("a"), 3).is_none());
    }

    #[test]
    fn news_is_passed_on_a_bounded_number_of_times_and_the_freshest_first() {
        let mut rumours = rumours();
        rumours.hear(report("a", 1, 1));
        let (names, _) = rumours.for_datagram();
        rumours.passed_on(&names);
        rumours.hear(report("b", 1, 1));
        let mut sent = 0;
        while rumours.is_hot() {
            let (names, encoded) = rumours.for_datagram();
            assert_eq!(encoded.len(), names.len() + 1, "our own comes first");
            if sent == 0 {
                assert_eq!(names, [NodeName::from("b"), NodeName::from("a")]);
            }
            rumours.passed_on(&names);
            sent += 1;
        }
        assert_eq!(sent, u32::from(TRANSMISSIONS.get()));
    }

    #[test]
    fn saying_the_same_again_is_no_news() {
        let mut rumours = rumours();
        assert!(rumours.say(|own| own.state = NodeState::Ready));
        assert!(!rumours.say(|own| own.state = NodeState::Ready));
        assert_eq!(rumours.own().version, 1);
    }
}
