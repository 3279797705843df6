//! What a member reports of itself. Other members pass it on unchanged.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use herald_core::{Features, MacAddr, NodeName, NodeState, Profile};
use serde::{Deserialize, Serialize};

use super::profile;
use crate::identity::Epoch;

/// MAC addresses in a report; a node with more reports the lowest.
pub const MAX_MACS: usize = 16;

/// Longest node name in Kubernetes, in bytes.
pub const MAX_NODE: usize = 253;

/// Largest encoded report: the node's name, [`MAX_MACS`] addresses, 18 bytes of lengths and numbers, and a profile. Subnets
/// and interfaces use the room that name and addresses leave, which on real nodes are much shorter.
pub const MAX_LEN: usize = MAX_NODE + 6 * MAX_MACS + 18 + profile::MIN_ROOM;

/// What a member reports of itself. Of two reports of one node, the later one is valid.
#[derive(Clone, PartialEq, Eq)]
pub struct SelfReport {
    /// The node that reports.
    pub node: NodeName,
    /// Which process of that node ([`crate::identity::Epoch::started`]).
    pub started: u64,
    /// Counts the reports of that process.
    pub version: u32,
    /// Its state.
    pub state: NodeState,
    /// Its MAC addresses, ascending.
    pub macs: Arc<[MacAddr]>,
    /// Its profile; `None` in reports that a version without profiles sent or passed on.
    pub profile: Option<Arc<Profile>>,
}

/// The fields of a report before the profile, in their order on the wire.
#[derive(Serialize, Deserialize)]
struct ReportFields<'a> {
    node: &'a str,
    started: u64,
    version: u32,
    state: u8,
    macs: Vec<[u8; 6]>,
}

impl SelfReport {
    /// Whether this report is later than `other` of the same node, or the same with more fields: early versions pass on no
    /// profiles, or profiles without interfaces, or without features.
    pub fn is_later_than(&self, other: &Self) -> bool {
        let fields = |report: &Self| {
            let profile = report.profile.as_ref();
            profile.map(|profile| {
                (
                    profile.ipv6_interfaces.is_some(),
                    profile.features != Features::NONE,
                    profile.interfaces.is_some(),
                )
            })
        };
        let age = |report: &Self| (report.started, report.version, fields(report));
        age(self) > age(other)
    }

    /// Whether this is another report than `other` of the same process although it has the same number, or one with a later
    /// number. One of them is forged if its node made the other.
    pub fn contradicts(&self, other: &Self) -> bool {
        let number = |report: &Self| (report.started, report.version);
        if number(self) != number(other) {
            return number(self) > number(other);
        }
        let differs = |one: &Profile, other: &Profile| {
            (one.flaps, &one.unresponsive) != (other.flaps, &other.unresponsive)
        };
        let profiles = self.profile.as_ref().zip(other.profile.as_ref());
        // Early versions pass on fewer fields of a profile.
        (self.state, &self.macs) != (other.state, &other.macs)
            || profiles.is_some_and(|(one, other)| differs(one, other))
    }

    /// Returns the profile for a change.
    pub fn profile_mut(&mut self) -> &mut Profile {
        Arc::make_mut(self.profile.get_or_insert_default())
    }

    /// Emits the bytes that [`SelfReport::parse`] takes.
    ///
    /// # Panics
    /// If the node's name is longer than [`MAX_NODE`], or the process started after [`Epoch::LATEST_START`].
    pub fn emit(&self) -> Vec<u8> {
        let fields = ReportFields {
            node: self.node.as_str(),
            started: self.started,
            version: self.version,
            state: match self.state {
                NodeState::Starting => 0,
                NodeState::Ready => 1,
                NodeState::Draining => 2,
            },
            macs: self.macs.iter().take(MAX_MACS).map(|mac| mac.0).collect(),
        };
        let mut buffer = [0; MAX_LEN];
        let used = postcard::to_slice(&fields, &mut buffer);
        let mut bytes = used.expect("a node name of at most 253 bytes fits").to_vec();
        if let Some(profile) = &self.profile {
            bytes.extend(profile::emit(profile, MAX_LEN - bytes.len()));
        }
        bytes
    }

    /// Parses a report. A report that its node could not replace by a later one is refused. A state that this version does not know counts as [`NodeState::Starting`], which owns nothing; bytes
    /// after the known fields are ignored, so that later versions can add fields, as they did with the profile.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = postcard::take_from_bytes::<ReportFields<'_>>(bytes).ok()?;
        if fields.node.is_empty() || fields.node.len() > MAX_NODE || fields.macs.len() > MAX_MACS {
            return None;
        }
        if fields.started > Epoch::LATEST_START || fields.version == u32::MAX {
            return None;
        }
        let profile = match rest {
            [] => None,
            rest => Some(Arc::new(profile::parse(rest)?)),
        };
        Some(Self {
            profile,
            node: NodeName::from(fields.node),
            started: fields.started,
            version: fields.version,
            state: match fields.state {
                1 => NodeState::Ready,
                2 => NodeState::Draining,
                _ => NodeState::Starting,
            },
            macs: fields.macs.into_iter().map(MacAddr).collect(),
        })
    }
}

impl fmt::Debug for SelfReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reports {} (version {})",
            self.node, self.state, self.version
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::profile::tests::any_profile;
    use super::*;

    pub(in super::super) fn any_report() -> impl Strategy<Value = SelfReport> {
        let state = prop_oneof![
            Just(NodeState::Starting),
            Just(NodeState::Ready),
            Just(NodeState::Draining)
        ];
        let macs = proptest::collection::vec(any::<[u8; 6]>().prop_map(MacAddr), 0..=MAX_MACS);
        let profile = proptest::option::of(any_profile());
        (
            "[a-z0-9.-]{1,253}",
            0..=Epoch::LATEST_START,
            0..u32::MAX,
            state,
            macs,
            profile,
        )
            .prop_map(|(node, started, version, state, macs, profile)| SelfReport {
                node: NodeName::new(node),
                started,
                version,
                state,
                macs: macs.into(),
                profile: profile.map(Arc::new),
            })
    }

    /// Returns `report` without the lists that did not fit into its encoding, which `parsed` came from.
    fn shortened(report: &SelfReport, parsed: &SelfReport) -> SelfReport {
        let mut short = report.clone();
        if let (Some(profile), Some(parsed)) = (&mut short.profile, &parsed.profile) {
            let profile = Arc::make_mut(profile);
            profile.subnets.take_if(|_| parsed.subnets.is_none());
            profile.interfaces.take_if(|_| parsed.interfaces.is_none());
            profile
                .ipv6_interfaces
                .take_if(|_| parsed.ipv6_interfaces.is_none());
        }
        short
    }

    proptest! {
        #[test]
        fn an_emitted_report_parses_to_the_same_and_fits(report in any_report()) {
            let bytes = report.emit();
            prop_assert!(bytes.len() <= MAX_LEN, "{} bytes", bytes.len());
            let parsed = SelfReport::parse(&bytes).expect("well-formed");
            prop_assert_eq!(&parsed, &shortened(&report, &parsed));
        }

        #[test]
        fn fields_of_later_versions_are_ignored(report in any_report(), more: Vec<u8>) {
            prop_assume!(report.profile.is_some());
            let mut bytes = report.emit();
            let parsed = SelfReport::parse(&bytes);
            bytes.extend(more);
            prop_assert_eq!(SelfReport::parse(&bytes), parsed);
        }

        #[test]
        fn the_first_version_parses_the_fields_that_it_knows_and_its_own_reports_are_parsed(report in any_report()) {
            let bytes = report.emit();
            let (fields, _) = postcard::take_from_bytes::<ReportFields<'_>>(&bytes).expect("well-formed");
            let macs: Vec<[u8; 6]> = report.macs.iter().map(|mac| mac.0).collect();
            prop_assert_eq!((fields.node, fields.macs), (report.node.as_str(), macs));
            let first = SelfReport { profile: None, ..report };
            prop_assert_eq!(SelfReport::parse(&first.emit()), Some(first));
        }

        #[test]
        fn a_truncated_report_is_refused(report in any_report(), cut: prop::sample::Index) {
            let bytes = report.emit();
            let full = SelfReport::parse(&bytes).expect("well-formed");
            let mut fourth = full.clone();
            fourth.profile.as_mut().map(|profile| Arc::make_mut(profile).ipv6_interfaces.take());
            let mut third = fourth.clone();
            let featureless = |profile: Arc<Profile>| Profile { features: Features::NONE, ..(*profile).clone() };
            third.profile = third.profile.map(|profile| Arc::new(featureless(profile)));
            let mut second = third.clone();
            second.profile.as_mut().map(|profile| Arc::make_mut(profile).interfaces.take());
            let first = SelfReport { profile: None, ..full };
            // Cut where the fields of an early version end, it is a report of that version.
            let mut ends = BTreeMap::from([(first.emit().len(), first)]);
            if second.profile.is_some() {
                ends.insert(second.emit().len() - 6, second);
                ends.insert(third.emit().len() - 5, third);
                ends.insert(fourth.emit().len() - 1, fourth);
            }
            let cut = cut.index(bytes.len());
            prop_assert_eq!(SelfReport::parse(&bytes[..cut]), ends.remove(&cut));
        }

        #[test]
        fn parsing_any_bytes_does_not_panic(bytes: Vec<u8>) {
            let _parsed = SelfReport::parse(&bytes);
        }
    }

    #[test]
    fn a_number_that_nobody_can_exceed_is_refused() {
        let report = |started, version| SelfReport {
            node: NodeName::from("a"),
            started,
            version,
            state: NodeState::Ready,
            macs: Arc::default(),
            profile: None,
        };
        let latest = report(Epoch::LATEST_START, u32::MAX - 1);
        assert_eq!(SelfReport::parse(&latest.emit()), Some(latest));
        for refused in [
            report(1, u32::MAX),
            report(Epoch::LATEST_START + 1, 0),
            report(u64::MAX, u32::MAX),
        ] {
            assert_eq!(
                SelfReport::parse(&refused.emit()),
                None,
                "{} {}",
                refused.started,
                refused.version
            );
        }
    }

    #[test]
    fn a_state_of_a_later_version_counts_as_starting() {
        let bytes = [1, b'a', 1, 1, 9, 0];
        let report = SelfReport::parse(&bytes).expect("well-formed");
        assert_eq!(report.state, NodeState::Starting);
    }
}
