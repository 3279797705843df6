//! What a member says of itself, in a form that others pass on.

use std::fmt;
use std::sync::Arc;

use herald_core::{MacAddr, NodeName, NodeState, Profile};
use serde::{Deserialize, Serialize};

use super::profile;

/// Hardware addresses in a report; a node with more tells the lowest.
pub const MAX_MACS: usize = 16;

/// Longest node name in Kubernetes, in bytes.
pub const MAX_NODE: usize = 253;

/// Largest encoded report: the node's name, [`MAX_MACS`] addresses, 19 bytes of lengths and numbers, and a profile. It has
/// as much room for subnets as names and addresses leave, which are never that long on real nodes.
pub const MAX_LEN: usize = MAX_NODE + 6 * MAX_MACS + 19 + profile::MIN_ROOM;

/// What a member says of itself. Of two reports of one node the later one is true.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub node: NodeName,
    /// Which process of that node ([`crate::identity::Epoch::started`]).
    pub started: u64,
    /// Counts what that process said.
    pub version: u32,
    /// Its state.
    pub state: NodeState,
    /// Its hardware addresses, ascending.
    pub macs: Arc<[MacAddr]>,
    /// What else it says; `None` from a version that knows nothing of it, or passed on by one.
    pub profile: Option<Arc<Profile>>,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    node: &'a str,
    started: u64,
    version: u32,
    state: u8,
    macs: Vec<[u8; 6]>,
}

impl Report {
    /// Whether this was said after `other`, a report of the same node, or is the same in full: members of early versions
    /// pass on no profiles, or those without interfaces.
    pub fn is_later_than(&self, other: &Self) -> bool {
        let told = |report: &Self| {
            let profile = report.profile.as_ref();
            profile.map(|profile| profile.interfaces.is_some())
        };
        let age = |report: &Self| (report.started, report.version, told(report));
        age(self) > age(other)
    }

    /// The profile, to be changed.
    pub fn profile_mut(&mut self) -> &mut Profile {
        Arc::make_mut(self.profile.get_or_insert_default())
    }

    /// The bytes that [`Report::parse`] reads.
    ///
    /// # Panics
    /// If the node's name is longer than [`MAX_NODE`].
    pub fn emit(&self) -> Vec<u8> {
        let wire = Wire {
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
        let used = postcard::to_slice(&wire, &mut buffer);
        let mut bytes = used.expect("a node name of at most 253 bytes fits").to_vec();
        if let Some(profile) = &self.profile {
            bytes.extend(profile::emit(profile, MAX_LEN - bytes.len()));
        }
        bytes
    }

    /// Reads a report. A state that this version does not know counts as starting, which owns nothing; bytes
    /// after the known fields are left alone, so that later versions can add fields, as they did with the profile.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (wire, rest) = postcard::take_from_bytes::<Wire<'_>>(bytes).ok()?;
        if wire.node.is_empty() || wire.node.len() > MAX_NODE || wire.macs.len() > MAX_MACS {
            return None;
        }
        let profile = match rest {
            [] => None,
            rest => Some(Arc::new(profile::parse(rest)?)),
        };
        Some(Self {
            profile,
            node: NodeName::from(wire.node),
            started: wire.started,
            version: wire.version,
            state: match wire.state {
                1 => NodeState::Ready,
                2 => NodeState::Draining,
                _ => NodeState::Starting,
            },
            macs: wire.macs.into_iter().map(MacAddr).collect(),
        })
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} says {} (version {})", self.node, self.state, self.version)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::profile::tests::any_profile;
    use super::*;

    pub(in super::super) fn any_report() -> impl Strategy<Value = Report> {
        let state = prop_oneof![
            Just(NodeState::Starting),
            Just(NodeState::Ready),
            Just(NodeState::Draining)
        ];
        let macs = proptest::collection::vec(any::<[u8; 6]>().prop_map(MacAddr), 0..=MAX_MACS);
        let profile = proptest::option::of(any_profile());
        (
            "[a-z0-9.-]{1,253}",
            any::<u64>(),
            any::<u32>(),
            state,
            macs,
            profile,
        )
            .prop_map(|(node, started, version, state, macs, profile)| Report {
                node: NodeName::new(node),
                started,
                version,
                state,
                macs: macs.into(),
                profile: profile.map(Arc::new),
            })
    }

    /// What becomes of a report that is too long: subnets or interfaces are not told. Here those that `read` has not.
    fn shortened(report: &Report, read: &Report) -> Report {
        let mut short = report.clone();
        if let (Some(profile), Some(read)) = (&mut short.profile, &read.profile) {
            let profile = Arc::make_mut(profile);
            profile.subnets.take_if(|_| read.subnets.is_none());
            profile.interfaces.take_if(|_| read.interfaces.is_none());
        }
        short
    }

    proptest! {
        #[test]
        fn what_is_emitted_reads_back_and_fits(report in any_report()) {
            let bytes = report.emit();
            prop_assert!(bytes.len() <= MAX_LEN, "{} bytes", bytes.len());
            let read = Report::parse(&bytes).expect("reads");
            prop_assert_eq!(&read, &shortened(&report, &read));
        }

        #[test]
        fn fields_of_later_versions_are_left_alone(report in any_report(), more: Vec<u8>) {
            prop_assume!(report.profile.is_some());
            let mut bytes = report.emit();
            let read = Report::parse(&bytes);
            bytes.extend(more);
            prop_assert_eq!(Report::parse(&bytes), read);
        }

        #[test]
        fn the_first_version_reads_what_it_knows_of_and_its_own_reports_are_read(report in any_report()) {
            let bytes = report.emit();
            let (wire, _) = postcard::take_from_bytes::<Wire<'_>>(&bytes).expect("reads");
            let macs: Vec<[u8; 6]> = report.macs.iter().map(|mac| mac.0).collect();
            prop_assert_eq!((wire.node, wire.macs), (report.node.as_str(), macs));
            let first = Report { profile: None, ..report };
            prop_assert_eq!(Report::parse(&first.emit()), Some(first));
        }

        #[test]
        fn a_report_cut_short_is_refused(report in any_report(), cut: prop::sample::Index) {
            let bytes = report.emit();
            let mut second = report.clone();
            second.profile.as_mut().map(|profile| Arc::make_mut(profile).interfaces.take());
            let first = Report { profile: None, ..report };
            // Cut where the fields of an early version end it is one of that version.
            let ends = [Some(first.emit().len()), second.profile.as_ref().map(|_| second.emit().len() - 1)];
            let cut = cut.index(bytes.len());
            let read = Report::parse(&bytes[..cut]);
            prop_assert_eq!(read.is_some(), ends.contains(&Some(cut)));
            if let Some(read) = read {
                let expected = if read.profile.is_some() { shortened(&second, &read) } else { first };
                prop_assert_eq!(read, expected);
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _read = Report::parse(&bytes);
        }
    }

    #[test]
    fn a_state_of_a_later_version_counts_as_starting() {
        let bytes = [1, b'a', 1, 1, 9, 0];
        let report = Report::parse(&bytes).expect("reads");
        assert_eq!(report.state, NodeState::Starting);
    }
}
