//! The solicited-node groups that must be joined on each link, so that solicitations arrive (RFC 4861 section 7.2.1).

use alloc::collections::{BTreeMap, VecDeque};
use core::net::{IpAddr, Ipv6Addr};

use herald_core::queue;

use crate::LinkIndex;
use crate::wire::ndp::solicited_node;

/// A change of multicast group membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupChange {
    /// Index of the link.
    pub link: LinkIndex,
    /// The solicited-node group.
    pub group: Ipv6Addr,
    /// Whether to join; `false` is to leave. On a link that is gone there is nothing to leave.
    pub member: bool,
}

/// Counts the addresses of each group, because addresses with the same last 24 bits share a group.
#[derive(Debug)]
pub(super) struct GroupMemberships {
    members: BTreeMap<(LinkIndex, Ipv6Addr), u32>,
    changes: VecDeque<GroupChange>,
}

impl GroupMemberships {
    pub(super) const fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            changes: VecDeque::new(),
        }
    }

    pub(super) fn poll(&mut self) -> Option<GroupChange> {
        queue::pop(&mut self.changes)
    }

    /// Moves `address` from the links `before` to the links `after`.
    pub(super) fn change(&mut self, address: IpAddr, before: &[LinkIndex], after: &[LinkIndex]) {
        let IpAddr::V6(address) = address else { return };
        let group = solicited_node(address);
        for link in before.iter().filter(|link| !after.contains(link)) {
            self.leave(*link, group);
        }
        for link in after.iter().filter(|link| !before.contains(link)) {
            self.join(*link, group);
        }
    }

    fn join(&mut self, link: LinkIndex, group: Ipv6Addr) {
        let members = self.members.entry((link, group)).or_insert(0);
        *members += 1;
        if *members == 1 {
            let member = true;
            self.changes.push_back(GroupChange { link, group, member });
        }
    }

    fn leave(&mut self, link: LinkIndex, group: Ipv6Addr) {
        let Some(members) = self.members.get_mut(&(link, group)) else {
            unreachable!("a group is left once for each time that it was joined");
        };
        *members -= 1;
        if *members == 0 {
            self.members.remove(&(link, group));
            let member = false;
            self.changes.push_back(GroupChange { link, group, member });
        }
    }
}
