//! What members say of themselves, and how often each saying is still to be passed on.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use herald_core::{NodeName, NodeState, Profile};

use crate::codec::report::Report;
use crate::identity::Epoch;
use crate::timings::TRANSMISSIONS;

/// The latest report of every member. Our own travels in every datagram that we send, so whoever hears of us at
/// all knows our state; others' are passed on [`TRANSMISSIONS`] times when they are new.
pub(super) struct Rumours {
    own: Report,
    own_encoded: Vec<u8>,
    /// Datagrams in which our own report still is news.
    own_hot: u8,
    others: BTreeMap<NodeName, Rumour>,
    /// Whose report was passed on last although it was no news.
    reminded: Option<NodeName>,
    /// By which starts this process has been known.
    lives: Vec<u64>,
    /// How often this node had come back lately when this process started, as far as others know.
    past: u8,
}

struct Rumour {
    report: Report,
    encoded: Vec<u8>,
    hot: u8,
    /// What the process before said last, and to how many datagrams to this one it is still to be added.
    past: Option<(Vec<u8>, u8)>,
}

/// How often a process is told of the one before: in spite of losses, and soon over.
const TOLD_OF_PAST: u8 = 10;

impl Rumours {
    pub(super) fn new(node: NodeName, epoch: Epoch) -> Self {
        let own = Report {
            node,
            started: epoch.started,
            version: 0,
            state: NodeState::Starting,
            macs: Arc::default(),
            profile: Some(Arc::default()),
        };
        Self {
            lives: vec![own.started],
            past: 0,
            own_encoded: own.emit(),
            own,
            own_hot: 0,
            others: BTreeMap::new(),
            reminded: None,
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

    /// Says something new of how we have fared.
    pub(super) fn say_of_profile(&mut self, change: impl FnOnce(&mut Profile)) -> bool {
        self.say(|report| change(report.profile_mut()))
    }

    /// This process is known by a later start from now on.
    pub(super) fn overtake(&mut self, started: u64) {
        self.lives.push(started);
        self.say(|report| report.started = started);
    }

    /// Takes in what an earlier process of this node said last: how many returns this adds to those known. One that had not
    /// said that it goes has failed, and this is its return.
    pub(super) fn hear_of_past(&mut self, report: &Report) -> u8 {
        let is_past = report.node == self.own.node && !self.lives.contains(&report.started);
        if !is_past {
            return 0;
        }
        let before = report.profile.as_ref().map_or(0, |profile| profile.flaps);
        let returns = before.saturating_add(u8::from(report.state == NodeState::Ready));
        let more = returns.saturating_sub(self.past);
        self.past += more;
        more
    }

    /// What `node` says of itself, if that is from its process `started`.
    pub(super) fn of(&self, node: &NodeName, started: u64) -> Option<&Report> {
        self.latest(node).filter(|report| report.started == started)
    }

    /// What `node` said of itself last.
    pub(super) fn latest(&self, node: &NodeName) -> Option<&Report> {
        self.others.get(node).map(|rumour| &rumour.report)
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
        let past = self.others.remove(&report.node).and_then(|known| {
            if known.report.started == report.started {
                known.past
            } else {
                Some((known.encoded, TOLD_OF_PAST))
            }
        });
        let rumour = Rumour {
            past,
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

    /// The reports for the next datagram, to the process of `to` that started so, in order of urgency: our own always, what
    /// an earlier process there said last, which nobody else can tell it, then the least passed on. Beside them the names of
    /// the last.
    pub(super) fn for_datagram(&self, to: &NodeName, started: u64) -> (Vec<NodeName>, Vec<&[u8]>) {
        let past = self.others.get(to).and_then(|rumour| match &rumour.past {
            _ if rumour.report.started != started => Some(&rumour.encoded),
            Some((past, 1..)) => Some(past),
            Some((_, 0)) | None => None,
        });
        let mut hot: Vec<&Rumour> = self.others.values().filter(|r| r.hot > 0).collect();
        hot.sort_by_key(|rumour| Reverse(rumour.hot));
        let names = hot.iter().map(|r| r.report.node.clone()).collect();
        let own = std::iter::once(self.own_encoded.as_slice());
        let encoded = own
            .chain(past.map(Vec::as_slice))
            .chain(hot.iter().map(|r| r.encoded.as_slice()))
            .collect();
        (names, encoded)
    }

    /// The next report in turn, news or not, for a datagram to `to` that has room.
    pub(super) fn reminder(&self, to: &NodeName) -> Option<(&NodeName, &[u8])> {
        let after = self.reminded.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.others.range::<NodeName, _>((after, Bound::Unbounded));
        let mut in_turn = later.chain(&self.others).filter(|(node, _)| *node != to);
        in_turn
            .next()
            .map(|(node, rumour)| (node, rumour.encoded.as_slice()))
    }

    /// Takes note whose turn that was.
    pub(super) fn set_reminded(&mut self, node: Option<NodeName>) {
        if node.is_some() {
            self.reminded = node;
        }
    }

    /// Takes note that our own report and those of `names` went out, to `to`.
    pub(super) fn passed_on(&mut self, names: &[NodeName], to: &NodeName) {
        if let Some((_, left)) = self.others.get_mut(to).and_then(|rumour| rumour.past.as_mut()) {
            *left = left.saturating_sub(1);
        }
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
            macs: Arc::default(),
            profile: None,
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
    fn a_report_in_full_replaces_one_that_lost_its_profile_on_the_way() {
        let mut rumours = rumours();
        let full = Report {
            profile: Some(Arc::default()),
            ..report("a", 2, 5)
        };
        assert!(rumours.hear(report("a", 2, 5)));
        assert!(rumours.hear(full.clone()));
        assert!(!rumours.hear(report("a", 2, 5)));
        assert_eq!(rumours.of(&NodeName::from("a"), 2), Some(&full));
    }

    #[test]
    fn a_restarted_node_is_told_of_its_past_and_no_other_is() {
        let mut rumours = rumours();
        rumours.hear(report("a", 1, 1));
        while rumours.is_hot() {
            let (names, _) = rumours.for_datagram(&NodeName::from("z"), 1);
            rumours.passed_on(&names, &NodeName::from("z"));
        }
        for (to, started, expected) in [("a", 2, 2), ("a", 1, 1), ("b", 2, 1)] {
            let (names, encoded) = rumours.for_datagram(&NodeName::from(to), started);
            assert_eq!((names.len(), encoded.len()), (0, expected), "{to} {started}");
        }
    }

    #[test]
    fn what_is_no_news_is_passed_on_in_turn_but_not_to_whom_it_is_from() {
        let mut rumours = rumours();
        for node in ["a", "b", "c"] {
            rumours.hear(report(node, 1, 1));
        }
        let told: Vec<NodeName> = (0..5)
            .filter_map(|_| {
                let node = rumours.reminder(&NodeName::from("b"))?.0.clone();
                rumours.set_reminded(Some(node.clone()));
                Some(node)
            })
            .collect();
        assert_eq!(told, ["a", "c", "a", "c", "a"].map(NodeName::from));
    }

    #[test]
    fn a_past_counts_once_and_only_if_it_did_not_end_as_planned() {
        let past = |state, returns| Report {
            state,
            profile: Some(Arc::new(Profile {
                flaps: returns,
                ..Profile::default()
            })),
            ..report("own", 77, 1)
        };
        let mut rumours = rumours();
        assert_eq!(rumours.hear_of_past(&past(NodeState::Draining, 0)), 0);
        assert_eq!(rumours.hear_of_past(&past(NodeState::Starting, 1)), 1);
        assert_eq!(rumours.hear_of_past(&past(NodeState::Ready, 2)), 2);
        assert_eq!(rumours.hear_of_past(&past(NodeState::Ready, 2)), 0);
        assert_eq!(rumours.hear_of_past(&report("other", 77, 1)), 0);
        rumours.overtake(99);
        let own = Report {
            started: 99,
            ..past(NodeState::Ready, 5)
        };
        assert_eq!(rumours.hear_of_past(&own), 0);
    }

    #[test]
    fn a_restarted_node_that_was_heard_first_is_told_of_its_past_a_few_times() {
        let mut rumours = rumours();
        let to = NodeName::from("a");
        rumours.hear(report("a", 1, 1));
        rumours.hear(report("a", 2, 0));
        let mut told = 0;
        for _ in 0..100 {
            let (names, encoded) = rumours.for_datagram(&to, 2);
            told += encoded.len() - names.len() - 1;
            rumours.passed_on(&names, &to);
        }
        assert_eq!(told, usize::from(TOLD_OF_PAST));
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
        let (names, _) = rumours.for_datagram(&NodeName::from("z"), 1);
        rumours.passed_on(&names, &NodeName::from("z"));
        rumours.hear(report("b", 1, 1));
        let mut sent = 0;
        while rumours.is_hot() {
            let (names, encoded) = rumours.for_datagram(&NodeName::from("z"), 1);
            assert_eq!(encoded.len(), names.len() + 1, "our own comes first");
            if sent == 0 {
                assert_eq!(names, [NodeName::from("b"), NodeName::from("a")]);
            }
            rumours.passed_on(&names, &NodeName::from("z"));
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
