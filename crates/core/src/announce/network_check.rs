//! Network checks: what a speaker sees of its segments and of its peers, for operators. They decide nothing.
//!
//! The agent says which addresses are asked for ([`Agent::free_targets`](super::agent::Agent::free_targets) and its like), the station
//! asks (`herald_l2::survey`), and [`judge`] says what the answers show. [`PeerQuestions`] asks the peers by gossip.

mod peer_questions;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;

pub use peer_questions::PeerQuestions;

use crate::{Family, MacAddr, Member, NodeName, PoolName};

/// The free addresses that a run asks for at most.
pub const MOST_FREE: usize = 256;
/// The addresses of Services, and those of nodes, that a run asks for at most. With [`MOST_FREE`] a run of 50 questions a second ends within 20 s.
pub const MOST_IN_USE: usize = 128;
/// A machine that answers for most free addresses of a pool is a proxy, if so many were asked for at least: a host was given a few
/// addresses by hand, but not those. It may miss some: Linux delays the answers of a proxy, and drops those that it has no room for.
const PROXY: usize = 4;

/// An address that is asked for, and who may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckTarget {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub kind: TargetKind,
}

/// Whose an address is that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    /// It is free: no machine may answer.
    Free(PoolName),
    /// This node announces it: no other machine may answer.
    Own,
    /// This node has no part in it: its owner answers, and no other machine.
    Announced(NodeName),
    /// A node has it: no machine but this node may answer.
    Node(NodeName),
}

impl CheckTarget {
    /// How often the address is asked for until a machine answers. A frame in a hundred may be lost, and silence is a fault where an
    /// answer is due. Several nodes ask for the same free addresses, so each of them asks once.
    pub const fn rounds(&self) -> u32 {
        match self.kind {
            TargetKind::Free(_) => 1,
            TargetKind::Own | TargetKind::Node(_) => 2,
            TargetKind::Announced(_) => 3,
        }
    }
}

/// The addresses that a check asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckTargets {
    /// The addresses.
    pub targets: Vec<CheckTarget>,
    /// Whether there are more, which are not asked for.
    pub are_more: bool,
}

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkFault {
    /// A machine answers for a free address of a pool.
    FreeAddressAnswered,
    /// A machine answers for three quarters of the free addresses of a pool that were asked for, or more.
    ProxyAnswers,
    /// A node answers for an address that another node announces.
    OtherNodeAnswers,
    /// A foreign host answers for an address that a node announces.
    ForeignHostAnswers,
    /// No machine answers for an address of a Service although a node is elected for it.
    OwnerSilent,
    /// Another machine answers for the address of a node.
    NodeAddressTaken,
    /// A peer does not answer by gossip.
    PeerSilent,
}

impl NetworkFault {
    /// All faults.
    pub const ALL: [Self; 7] = [
        Self::FreeAddressAnswered,
        Self::ProxyAnswers,
        Self::OtherNodeAnswers,
        Self::ForeignHostAnswers,
        Self::OwnerSilent,
        Self::NodeAddressTaken,
        Self::PeerSilent,
    ];

    /// The fault as one word.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::FreeAddressAnswered => "FreeAddressAnswered",
            Self::ProxyAnswers => "ProxyAnswers",
            Self::OtherNodeAnswers => "OtherNodeAnswers",
            Self::ForeignHostAnswers => "ForeignHostAnswers",
            Self::OwnerSilent => "OwnerSilent",
            Self::NodeAddressTaken => "NodeAddressTaken",
            Self::PeerSilent => "PeerSilent",
        }
    }
}

/// A fault, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkFinding {
    /// What is wrong.
    pub fault: NetworkFault,
    /// The address; `None` if the fault is about a peer.
    pub address: Option<IpAddr>,
    /// The pool of a free address.
    pub pool: Option<PoolName>,
    /// The node that owns or has the address, or the peer.
    pub node: Option<NodeName>,
    /// The machines that answer although they should not, each with the node that reports this MAC address.
    pub machines: Vec<(MacAddr, Option<NodeName>)>,
}

/// Returns what the answers for the addresses show. `targets` are those that were asked for.
pub fn judge<'a>(
    targets: impl Iterator<Item = &'a CheckTarget> + Clone,
    answers: &BTreeMap<IpAddr, BTreeSet<MacAddr>>,
    own_node: &NodeName,
    members: &[Member],
) -> Vec<NetworkFinding> {
    let asked = targets.filter_map(|target| Some((target, answers.get(&target.address)?)));
    let proxies = proxies(asked.clone());
    let mut findings: Vec<NetworkFinding> = asked
        .filter_map(|(target, machines)| judge_one(target, machines, &proxies, own_node, members))
        .collect();
    for ((pool, _), (mac, address)) in proxies {
        findings.push(NetworkFinding {
            fault: NetworkFault::ProxyAnswers,
            address: Some(address),
            pool: Some(pool.clone()),
            node: None,
            machines: Vec::from([(mac, node_of(mac, members).cloned())]),
        });
    }
    findings.sort();
    findings
}

/// By pool and family, a machine that answers for most free addresses, and the first of these.
type Proxies<'a> = BTreeMap<(&'a PoolName, Family), (MacAddr, IpAddr)>;

/// An address that was asked for, and the machines that answered.
type FreeAnswer<'a> = (IpAddr, &'a BTreeSet<MacAddr>);

fn proxies<'a>(asked: impl Iterator<Item = (&'a CheckTarget, &'a BTreeSet<MacAddr>)>) -> Proxies<'a> {
    let mut by_pool: BTreeMap<(&PoolName, Family), Vec<FreeAnswer<'_>>> = BTreeMap::new();
    for (target, machines) in asked {
        if let TargetKind::Free(pool) = &target.kind {
            let key = (pool, Family::of(target.address));
            by_pool.entry(key).or_default().push((target.address, machines));
        }
    }
    let proxy = |(key, free): (_, Vec<FreeAnswer<'_>>)| {
        let mut counts: BTreeMap<MacAddr, (usize, IpAddr)> = BTreeMap::new();
        for (address, machines) in &free {
            for mac in *machines {
                counts.entry(*mac).or_insert((0, *address)).0 += 1;
            }
        }
        let is_most = |count: usize| free.len() >= PROXY && 4 * count >= 3 * free.len();
        let (mac, (_, first)) = counts.into_iter().find(|(_, (count, _))| is_most(*count))?;
        Some((key, (mac, first)))
    };
    by_pool.into_iter().filter_map(proxy).collect()
}

fn judge_one(
    target: &CheckTarget,
    machines: &BTreeSet<MacAddr>,
    proxies: &Proxies<'_>,
    own_node: &NodeName,
    members: &[Member],
) -> Option<NetworkFinding> {
    let named = |macs: &mut dyn Iterator<Item = MacAddr>| -> Vec<(MacAddr, Option<NodeName>)> {
        macs.map(|mac| (mac, node_of(mac, members).cloned())).collect()
    };
    let has = |node: &NodeName, mac: MacAddr| {
        let mut of_node = members.iter().filter(|member| member.node == *node);
        of_node.any(|member| member.macs.contains(&mac))
    };
    let (pool, node, others) = match &target.kind {
        TargetKind::Free(pool) => {
            let proxy = proxies.get(&(pool, Family::of(target.address)));
            let is_proxy = |mac: &MacAddr| proxy.is_some_and(|(proxy, _)| proxy == mac);
            let mut others = machines.iter().copied().filter(|mac| !is_proxy(mac));
            (Some(pool), None, named(&mut others))
        }
        TargetKind::Own => (None, Some(own_node), named(&mut machines.iter().copied())),
        TargetKind::Announced(node) | TargetKind::Node(node) => {
            let mut others = machines.iter().copied().filter(|mac| !has(node, *mac));
            (None, Some(node), named(&mut others))
        }
    };
    let is_node = |(_, node): &(MacAddr, Option<NodeName>)| node.is_some();
    let fault = match &target.kind {
        TargetKind::Free(_) if !others.is_empty() => NetworkFault::FreeAddressAnswered,
        TargetKind::Announced(_) if machines.is_empty() => NetworkFault::OwnerSilent,
        TargetKind::Own | TargetKind::Announced(_) if others.is_empty() => return None,
        TargetKind::Own | TargetKind::Announced(_) if others.iter().all(is_node) => {
            NetworkFault::OtherNodeAnswers
        }
        TargetKind::Own | TargetKind::Announced(_) => NetworkFault::ForeignHostAnswers,
        // An interface that never announces has a MAC address that its node does not report.
        TargetKind::Node(_) if others.iter().any(is_node) || (machines.len() > 1 && !others.is_empty()) => {
            NetworkFault::NodeAddressTaken
        }
        TargetKind::Free(_) | TargetKind::Node(_) => return None,
    };
    Some(NetworkFinding {
        fault,
        address: Some(target.address),
        pool: pool.cloned(),
        node: node.cloned(),
        machines: others,
    })
}

fn node_of(mac: MacAddr, members: &[Member]) -> Option<&NodeName> {
    let mut with_mac = members.iter().filter(|member| member.macs.contains(&mac));
    with_mac.next().map(|member| &member.node)
}

#[cfg(test)]
mod tests;
