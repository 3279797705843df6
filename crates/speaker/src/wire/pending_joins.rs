//! Multicast groups that could not be joined. Without membership, switches that snoop do not forward solicitations.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use herald_l2::{GroupChange, LinkIndex};

/// Groups by link, each until it is joined or not needed any more.
#[derive(Debug, Default)]
pub(super) struct PendingJoins {
    groups: BTreeSet<(LinkIndex, Ipv6Addr)>,
    /// The groups that are to be tried again now.
    again: Vec<(LinkIndex, Ipv6Addr)>,
}

impl PendingJoins {
    /// Returns how many groups there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Adds a join that has failed.
    pub(super) fn insert(&mut self, join: GroupChange) {
        self.groups.insert((join.link, join.group));
    }

    /// Removes a group that is joined or left, or about to be.
    pub(super) fn remove(&mut self, change: GroupChange) {
        self.groups.remove(&(change.link, change.group));
    }

    /// Lets [`PendingJoins::pop`] return each group once.
    pub(super) fn try_again(&mut self) {
        self.again = self.groups.iter().copied().collect();
    }

    /// Returns the next join to be tried again.
    pub(super) fn pop(&mut self) -> Option<GroupChange> {
        loop {
            let (link, group) = self.again.pop()?;
            if self.groups.contains(&(link, group)) {
                let member = true;
                return Some(GroupChange { link, group, member });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(link: u32, member: bool) -> GroupChange {
        let link = LinkIndex(link);
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
        GroupChange { link, group, member }
    }

    #[test]
    fn a_failed_join_is_tried_once_each_time_and_not_after_the_group_was_left() {
        let mut pending = PendingJoins::default();
        pending.insert(change(2, true));
        pending.insert(change(3, true));
        assert_eq!(pending.pop(), None);
        for _ in 0..2 {
            pending.try_again();
            assert_eq!(pending.pop(), Some(change(3, true)));
            assert_eq!(pending.pop(), Some(change(2, true)));
            assert_eq!(pending.pop(), None);
        }
        pending.try_again();
        pending.remove(change(3, false));
        assert_eq!(pending.pop(), Some(change(2, true)));
        assert_eq!((pending.pop(), pending.len()), (None, 1));
    }
}
