//! The election of an address' owner: MetalLB's function, so that a migration moves no address.
//!
//! Every speaker computes the same order from the same facts: preference score descending, then SHA-256 of
//! `<node>#<address>` ascending. A candidate that leaves moves only the addresses that it owned. Flapping nodes
//! ([`flap_damping`](super::flap_damping)), which MetalLB does not know, rank after all others whatever their preference.

use alloc::string::{String, ToString};
use core::cmp::Reverse;
use core::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::NodeName;

/// Preference score and hash of a candidate: MetalLB's order. The least is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    score: Reverse<i64>,
    digest: [u8; 32],
}

impl Order {
    /// Returns the order of `node` with preference `score` for a Service whose first ingress address is `first`.
    pub fn new(node: &NodeName, first: IpAddr, score: i64) -> Self {
        Self::of(node, &text(first), score)
    }

    fn of(node: &NodeName, first: &str, score: i64) -> Self {
        let digest = Sha256::new()
            .chain_update(node.as_str())
            .chain_update("#")
            .chain_update(first)
            .finalize();
        Self {
            score: Reverse(score),
            digest: digest.into(),
        }
    }
}

/// Formats an address as Go's `net.IP` does: IPv4-mapped as IPv4, IPv6 by RFC 5952.
fn text(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// A node that is eligible for an address.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// Its preference score.
    pub score: i64,
    /// Whether it ranks after all nodes that do not flap.
    pub is_flapping: bool,
    /// Whether its speaker is suspect.
    pub is_suspect: bool,
}

impl Candidate<'_> {
    /// Returns its rank for a Service whose first ingress address is `first`.
    pub fn rank(&self, first: IpAddr) -> Rank {
        self.rank_for(&text(first))
    }

    fn rank_for(&self, first: &str) -> Rank {
        Rank {
            is_flapping: self.is_flapping,
            order: Order::of(self.node, first, self.score),
        }
    }
}

/// The place of a candidate in an election; the least is the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    is_flapping: bool,
    order: Order,
}

/// Result of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionResult<'a> {
    /// The candidate of the first rank.
    pub owner: &'a NodeName,
    /// The first candidate that is not suspect.
    pub successor: Option<&'a NodeName>,
    /// The candidate of the second rank, unless it is flapping: it monitors the owner.
    pub backup: Option<&'a NodeName>,
    /// The second rank: a candidate of a later rank changes neither the owner nor the backup.
    pub second: Option<Rank>,
}

/// Elects among the candidates for a Service whose first ingress address is `first`; `None` if there are none.
pub fn elect<'a>(
    first: IpAddr,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
) -> Option<ElectionResult<'a>> {
    let first = text(first);
    let mut best = [None, None];
    let mut successor = None;
    for candidate in candidates {
        let ranked = (candidate.rank_for(&first), candidate.node);
        if !candidate.is_suspect && successor.is_none_or(|successor| ranked < successor) {
            successor = Some(ranked);
        }
        if best[0].is_none_or(|best| ranked < best) {
            best = [Some(ranked), best[0]];
        } else if best[1].is_none_or(|second| ranked < second) {
            best[1] = Some(ranked);
        }
    }
    let [owner, second] = best;
    Some(ElectionResult {
        owner: owner?.1,
        successor: successor.map(|(_, node)| node),
        backup: second.filter(|(rank, _)| !rank.is_flapping).map(|(_, node)| node),
        second: second.map(|(rank, _)| rank),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Candidates with their scores, the first address, and the expected order.
    type Vector<'a> = (&'a [(&'a str, i64)], &'a str, &'a [&'a str]);

    fn order(first: &str, candidates: &[(&str, i64)]) -> Vec<String> {
        let first: IpAddr = first.parse().expect("an address");
        let mut ranked: Vec<(Order, String)> = candidates
            .iter()
            .map(|(node, score)| {
                (
                    Order::new(&NodeName::from(*node), first, *score),
                    node.to_string(),
                )
            })
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, node)| node).collect()
    }

    fn stable(node: &NodeName) -> Candidate<'_> {
        Candidate {
            node,
            score: 0,
            is_flapping: false,
            is_suspect: false,
        }
    }

    #[test]
    fn the_order_is_that_of_metallb() {
        let abc = [("node-a", 0), ("node-b", 0), ("node-c", 0)];
        let iris = [("iris1", 0), ("iris2", 0)];
        let kind = [("kind-control-plane", 0), ("kind-worker", 0), ("kind-worker2", 0)];
        let two = [("edge-a", 100), ("edge-b", 100), ("worker-a", 0)];
        let one = [("edge-a", 100), ("edge-b", 0), ("worker-a", 0), ("worker-b", 0)];
        let vectors: [Vector<'_>; 9] = [
            (&abc, "10.0.0.1", &["node-b", "node-a", "node-c"]),
            (&abc, "10.0.0.2", &["node-b", "node-c", "node-a"]),
            (&iris, "10.20.30.1", &["iris2", "iris1"]),
            (&iris, "10.20.30.2", &["iris1", "iris2"]),
            (&iris, "fc00:f853:0ccd:e799::0001", &["iris1", "iris2"]),
            (
                &kind,
                "192.168.10.0",
                &["kind-worker2", "kind-worker", "kind-control-plane"],
            ),
            (
                &kind,
                "fc00:f853:ccd:e799::",
                &["kind-worker", "kind-worker2", "kind-control-plane"],
            ),
            (&two, "10.20.30.1", &["edge-b", "edge-a", "worker-a"]),
            (&one, "10.20.30.1", &["edge-a", "edge-b", "worker-a", "worker-b"]),
        ];
        for (candidates, first, expected) in vectors {
            assert_eq!(order(first, candidates), expected, "{first}");
        }
    }

    #[test]
    fn a_mapped_address_ranks_as_its_ipv4_form() {
        let nodes = [("node-a", 0), ("node-b", 0), ("node-c", 0)];
        assert_eq!(order("::ffff:10.0.0.2", &nodes), order("10.0.0.2", &nodes));
    }

    proptest! {
        #[test]
        fn a_candidate_that_leaves_moves_only_what_it_owned(count in 2_usize..20, leaving in 0_usize..20, bits: u32) {
            let nodes: Vec<NodeName> = (0..count).map(|i| NodeName::new(alloc::format!("node-{i}"))).collect();
            let first = IpAddr::from(core::net::Ipv4Addr::from_bits(bits));
            let leaving = &nodes[leaving % count];
            let before = elect(first, nodes.iter().map(stable)).expect("candidates");
            let after = elect(first, nodes.iter().filter(|n| *n != leaving).map(stable)).expect("candidates");
            let expected = if before.owner == leaving { before.backup } else { Some(before.owner) };
            prop_assert_eq!(Some(after.owner), expected);
        }

        #[test]
        fn the_ranks_are_those_of_the_sorted_candidates(
            candidates in prop::collection::vec((0_i64..3, any::<bool>(), any::<bool>()), 1..8),
            bits: u32,
        ) {
            let nodes: Vec<NodeName> = (0..candidates.len()).map(|i| NodeName::new(alloc::format!("node-{i}"))).collect();
            let first = IpAddr::from(core::net::Ipv4Addr::from_bits(bits));
            let mut sorted: Vec<Candidate<'_>> = nodes.iter().zip(&candidates).map(|(node, (score, is_flapping, suspect))| Candidate {
                node, score: *score, is_flapping: *is_flapping, is_suspect: *suspect,
            }).collect();
            let elected = elect(first, sorted.iter().copied()).expect("candidates");
            sorted.sort_by_key(|c| (c.is_flapping, Order::new(c.node, first, c.score)));
            prop_assert_eq!(elected.owner, sorted[0].node);
            prop_assert_eq!(elected.successor, sorted.iter().find(|c| !c.is_suspect).map(|c| c.node));
            prop_assert_eq!(elected.backup, sorted.get(1).filter(|c| !c.is_flapping).map(|c| c.node));
        }
    }
}
