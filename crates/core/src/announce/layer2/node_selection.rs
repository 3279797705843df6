//! What the L2Advertisements of a Service say of one node: on which interfaces it announces, and how much it is
//! preferred.

use alloc::collections::BTreeSet;
use alloc::string::String;

use crate::announce::eligibility::Node;
use crate::config::L2Advertisement;

/// Returns the interfaces on which `node` announces: the union of those that the advertisements name, or `None` (all) as
/// soon as one advertisement that selects the node names none.
pub(super) fn interfaces(advertisements: &[&L2Advertisement], node: &Node) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for advertisement in selecting(advertisements, node) {
        if advertisement.interfaces.is_empty() {
            return None;
        }
        names.extend(advertisement.interfaces.iter().cloned());
    }
    Some(names)
}

/// Returns the preference score of `node`: the sum over the advertisements that select the node.
pub(super) fn preference(advertisements: &[&L2Advertisement], node: &Node) -> i64 {
    let scores = selecting(advertisements, node).map(|advertisement| advertisement.score(&node.labels));
    scores.sum()
}

fn selecting<'a>(
    advertisements: &[&'a L2Advertisement],
    node: &Node,
) -> impl Iterator<Item = &'a L2Advertisement> {
    let advertisements = advertisements.iter().copied();
    advertisements.filter(|advertisement| advertisement.scope.selects_node(&node.labels))
}
