//! Who of several candidates owns an address: MetalLB's function, so that a migration moves nothing.
//!
//! Every speaker computes the same order from the same facts: preference score descending, then
//! SHA-256 of `<node>#<address>` ascending. Removing a candidate moves only what it owned. Restless nodes
//! ([`crate::announce::layer2::flap_damping`]), which MetalLB does not know, come after all others, whatever their preference.

use alloc::string::{String, ToString};
use core::cmp::Reverse;
use core::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::NodeName;

/// A candidate's preference and its hash; the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    score: Reverse<i64>,
    digest: [u8; 32],
}

impl Rank {
    /// The rank of `node` with preference `score` for a Service whose first ingress address is `first`.
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

/// An address as Go's `net.IP` writes it: IPv4-mapped as IPv4, IPv6 by RFC 5952.
fn text(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// A node that may own an address.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// Its preference score.
    pub score: i64,
    /// Whether it comes after all that are not restless.
    pub restless: bool,
    /// Whether it may be dead.
    pub suspect: bool,
}

impl Candidate<'_> {
    /// Its place for a Service whose first ingress address is `first`.
    pub fn place(&self, first: IpAddr) -> Place {
        self.place_for(&text(first))
    }

    fn place_for(&self, first: &str) -> Place {
        Place {
            restless: self.restless,
            rank: Rank::of(self.node, first, self.score),
        }
    }
}

/// Where a candidate comes for an address; the least is the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    restless: bool,
    rank: Rank,
}

/// What the candidates are to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elected<'a> {
    /// Who is first.
    pub owner: &'a NodeName,
    /// Who is first of those that are not suspected to be dead.
    pub heir: Option<&'a NodeName>,
    /// Who is first after the owner, if it is not restless: it watches the owner.
    pub deputy: Option<&'a NodeName>,
    /// The place of the second: who comes later changes neither the owner nor the deputy.
    pub second: Option<Place>,
}

/// The places of the candidates for a Service whose first ingress address is `first`; `None` if there are none.
pub fn elect<'a>(first: IpAddr, candidates: impl IntoIterator<Item = Candidate<'a>>) -> Option<Elected<'a>> {
    let first = text(first);
    let mut best = [None, None];
    let mut heir = None;
    for candidate in candidates {
        let place = (candidate.place_for(&first), candidate.node);
        if !candidate.suspect && heir.is_none_or(|heir| place < heir) {
            heir = Some(place);
        }
        if best[0].is_none_or(|best| place < best) {
            best = [Some(place), best[0]];
        } else if best[1].is_none_or(|second| place < second) {
            best[1] = Some(place);
        }
    }
    let [owner, second] = best;
    Some(Elected {
        owner: owner?.1,
        heir: heir.map(|(_, node)| node),
        deputy: second.filter(|(place, _)| !place.restless).map(|(_, node)| node),
        second: second.map(|(place, _)| place),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Candidates with their scores, the first address, and the order expected.
    type Vector<'a> = (&'a [(&'a str, i64)], &'a str, &'a [&'a str]);

    fn order(first: &str, candidates: &[(&str, i64)]) -> Vec<String> {
        let first: IpAddr = first.parse().expect("an address");
        let mut ranked: Vec<(Rank, String)> = candidates
            .iter()
            .map(|(node, score)| (Rank::new(&NodeName::from(*node), first, *score), node.to_string()))
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, node)| node).collect()
    }

    fn calm(node: &NodeName) -> Candidate<'_> {
        Candidate {
            node,
            score: 0,
            restless: false,
            suspect: false,
        }
    }

    #[test]
    fn the_order_is_metallbs() {
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
        fn losing_a_candidate_moves_only_what_it_owned(count in 2_usize..20, lost in 0_usize..20, bits: u32) {
            let nodes: Vec<NodeName> = (0..count).map(|i| NodeName::new(alloc::format!("node-{i}"))).collect();
            let first = IpAddr::from(core::net::Ipv4Addr::from_bits(bits));
            let lost = &nodes[lost % count];
            let before = elect(first, nodes.iter().map(calm)).expect("candidates");
            let after = elect(first, nodes.iter().filter(|n| *n != lost).map(calm)).expect("candidates");
            let successor = if before.owner == lost { before.deputy } else { Some(before.owner) };
            prop_assert_eq!(Some(after.owner), successor);
        }

        #[test]
        fn the_places_are_those_of_the_sorted_candidates(
            marks in prop::collection::vec((0_i64..3, any::<bool>(), any::<bool>()), 1..8),
            bits: u32,
        ) {
            let nodes: Vec<NodeName> = (0..marks.len()).map(|i| NodeName::new(alloc::format!("node-{i}"))).collect();
            let first = IpAddr::from(core::net::Ipv4Addr::from_bits(bits));
            let mut sorted: Vec<Candidate<'_>> = nodes.iter().zip(&marks).map(|(node, (score, restless, suspect))| Candidate {
                node, score: *score, restless: *restless, suspect: *suspect,
            }).collect();
            let elected = elect(first, sorted.iter().copied()).expect("candidates");
            sorted.sort_by_key(|c| (c.restless, Rank::new(c.node, first, c.score)));
            prop_assert_eq!(elected.owner, sorted[0].node);
            prop_assert_eq!(elected.heir, sorted.iter().find(|c| !c.suspect).map(|c| c.node));
            prop_assert_eq!(elected.deputy, sorted.get(1).filter(|c| !c.restless).map(|c| c.node));
        }
    }
}
