//! What a member says of itself, in a form that others pass on.

use std::fmt;

use herald_core::{NodeName, NodeState};
use serde::{Deserialize, Serialize};

/// Hardware addresses in a report; a node with more tells the lowest.
pub const MAX_MACS: usize = 16;

/// Longest node name in Kubernetes, in bytes.
pub const MAX_NODE: usize = 253;

/// Largest encoded report: the node's name, [`MAX_MACS`] addresses and 19 bytes of lengths and numbers.
pub const MAX_LEN: usize = MAX_NODE + 6 * MAX_MACS + 19;

/// What a member says of itself. Of two reports of one node the later one is true.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub node: NodeName,
    /// Which process of that node ([`super::super::identity::Epoch::started`]).
    pub started: u64,
    /// Counts what that process said.
    pub version: u32,
    /// Its state.
    pub state: NodeState,
    /// Its hardware addresses, ascending.
    pub macs: Vec<[u8; 6]>,
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
    /// Whether this was said after `other`, a report of the same node.
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.started, self.version) > (other.started, other.version)
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
            macs: self.macs.iter().take(MAX_MACS).copied().collect(),
        };
        let mut buffer = [0; MAX_LEN];
        let used = postcard::to_slice(&wire, &mut buffer);
        used.expect("a node name of at most 253 bytes fits").to_vec()
    }

    /// Reads a report. A state that this version does not know counts as starting, which owns nothing; bytes
    /// after the known fields are left alone, so that later versions can add fields.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (wire, _later_fields) = postcard::take_from_bytes::<Wire<'_>>(bytes).ok()?;
        if wire.node.is_empty() || wire.node.len() > MAX_NODE || wire.macs.len() > MAX_MACS {
            return None;
        }
        Some(Self {
            node: NodeName::from(wire.node),
            started: wire.started,
            version: wire.version,
            state: match wire.state {
                1 => NodeState::Ready,
                2 => NodeState::Draining,
                _ => NodeState::Starting,
            },
            macs: wire.macs,
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

    use super::*;

    pub(in super::super) fn any_report() -> impl Strategy<Value = Report> {
        let state = prop_oneof![
            Just(NodeState::Starting),
            Just(NodeState::Ready),
            Just(NodeState::Draining)
        ];
        let macs = proptest::collection::vec(any::<[u8; 6]>(), 0..=MAX_MACS);
        ("[a-z0-9.-]{1,253}", any::<u64>(), any::<u32>(), state, macs).prop_map(
            |(node, started, version, state, macs)| Report {
                node: NodeName::new(node),
                started,
                version,
                state,
                macs,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_emitted_reads_back_and_fits(report in any_report()) {
            let bytes = report.emit();
            prop_assert!(bytes.len() <= MAX_LEN, "{} bytes", bytes.len());
            prop_assert_eq!(Report::parse(&bytes), Some(report));
        }

        #[test]
        fn fields_of_later_versions_are_left_alone(report in any_report(), more: Vec<u8>) {
            let mut bytes = report.emit();
            bytes.extend(more);
            prop_assert_eq!(Report::parse(&bytes), Some(report));
        }

        #[test]
        fn a_report_cut_short_is_refused(report in any_report(), cut: prop::sample::Index) {
            let bytes = report.emit();
            prop_assert_eq!(Report::parse(&bytes[..cut.index(bytes.len())]), None);
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
