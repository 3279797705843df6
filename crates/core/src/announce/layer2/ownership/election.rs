//! The election for one Service: every node is evaluated, and the fittest candidates compete by rank.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Ownership, is_suspected};
use crate::NodeName;
use crate::announce::eligibility::{Exclusion, Exposure, Node};
use crate::announce::facts::Facts;
use crate::announce::layer2::election::{Candidate, ElectionResult, Rank, elect};
use crate::announce::layer2::node_selection::{interfaces, score};
use crate::announce::layer2::placement::Fitness;
use crate::config::L2Advertisement;

/// Fitness and rank that another candidate has to beat to change the owner or the backup.
pub(super) type Threshold = (Reverse<Fitness>, Rank);

/// Fitness and candidate of one node, or why the node is no candidate.
type Evaluation<'a> = Result<(Fitness, Candidate<'a>), Exclusion>;

/// The nodes that may own the addresses of a Service, and the result.
pub(super) struct Election<'a> {
    advertisements: Vec<&'a L2Advertisement>,
    evaluations: Vec<(&'a Node, Evaluation<'a>)>,
    /// The greatest fitness of all candidates: only candidates that have it compete.
    fitness: Fitness,
    result: Option<ElectionResult<'a>>,
}

impl<'a> Election<'a> {
    pub(super) fn advertisements(&self) -> &[&'a L2Advertisement] {
        &self.advertisements
    }

    /// Returns the result; `None` if there is no candidate.
    pub(super) const fn result(&self) -> Option<&ElectionResult<'a>> {
        self.result.as_ref()
    }

    pub(super) fn threshold(&self) -> Option<Threshold> {
        let second = self.result.and_then(|result| result.second)?;
        Some((Reverse(self.fitness), second))
    }

    /// Returns for each node its preference score, or why it is no candidate.
    pub(super) fn explain(self) -> BTreeMap<&'a NodeName, Result<i64, Exclusion>> {
        let explain = |node: &Node, fitness: Fitness, score| {
            if fitness == self.fitness {
                Ok(score)
            } else if fitness.has_interface == self.fitness.has_interface {
                Err(Exclusion::NotInSubnet)
            } else {
                let names = interfaces(&self.advertisements, node);
                Err(Exclusion::NoInterface(names.unwrap_or_default()))
            }
        };
        let evaluations = self.evaluations.into_iter();
        let explained = evaluations.map(|(node, evaluation)| {
            let explained =
                evaluation.and_then(|(fitness, candidate)| explain(node, fitness, candidate.score));
            (&node.name, explained)
        });
        explained.collect()
    }
}

impl Ownership {
    /// Evaluates all nodes for a Service and elects among the candidates.
    ///
    /// # Errors
    /// The reason why no node can be a candidate.
    pub(super) fn elect<'a>(
        &'a self,
        facts: &'a Facts,
        service: &Exposure,
    ) -> Result<Election<'a>, Exclusion> {
        let endpoints = facts.endpoints(&service.key);
        let view = facts.view();
        let advertisements = view.advertisements_of(&self.advertisements, service, endpoints)?;
        let mut fitness = Fitness::default();
        let mut evaluations = Vec::with_capacity(facts.nodes().len());
        for node in facts.nodes().values() {
            let score = score(&view, &advertisements, service, endpoints, node);
            let evaluation = score.map(|score| {
                let own = self.fitness(service, &advertisements, node);
                fitness = own.max(fitness);
                (own, self.candidate(facts, &node.name, score))
            });
            evaluations.push((node, evaluation));
        }
        // The first address is the key of the election, for dual stack too: one node announces both addresses.
        let first = service.addresses.first().ok_or(Exclusion::NoAddress)?;
        let candidates = evaluations.iter().filter_map(|(_, evaluation)| {
            let (own, candidate) = evaluation.as_ref().ok()?;
            (*own == fitness).then_some(*candidate)
        });
        let result = elect(*first, candidates);
        Ok(Election {
            advertisements,
            evaluations,
            fitness,
            result,
        })
    }

    pub(super) fn fitness(
        &self,
        service: &Exposure,
        advertisements: &[&L2Advertisement],
        node: &Node,
    ) -> Fitness {
        let selected = interfaces(advertisements, node);
        let mut fitness = self
            .placement
            .fitness(&node.name, &service.addresses, selected.as_ref());
        // Gossip has not yet reported an interface that has just disappeared here.
        fitness.has_interface &= node.name != self.own_node || self.has_interface(selected.as_ref());
        fitness
    }

    /// Whether one of these interfaces exists here, as far as is known; `None` is any.
    pub(super) fn has_interface(&self, selected: Option<&BTreeSet<String>>) -> bool {
        match (selected, &self.interfaces) {
            (Some(selected), Some(existing)) => !selected.is_disjoint(existing),
            (None, _) | (_, None) => true,
        }
    }

    pub(super) fn candidate<'a>(&self, facts: &Facts, node: &'a NodeName, score: i64) -> Candidate<'a> {
        Candidate {
            node,
            score,
            is_flapping: self.placement.is_flapping(node),
            is_suspect: is_suspected(facts, node),
        }
    }
}
