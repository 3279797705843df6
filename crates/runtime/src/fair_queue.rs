//! A queue in which no tenant delays another by more than one round.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Items that wait, each once: oldest first within a tenant, and one of each tenant in turn. A tenant is a namespace: who
/// may create objects in one may make any number of items wait.
#[derive(Debug)]
pub struct FairQueue<T, K> {
    tenants: BTreeMap<T, VecDeque<K>>,
    /// The tenants with items, in the order of their turns.
    turns: VecDeque<T>,
    queued: BTreeSet<K>,
}

impl<T, K> Default for FairQueue<T, K> {
    fn default() -> Self {
        Self {
            tenants: BTreeMap::new(),
            turns: VecDeque::new(),
            queued: BTreeSet::new(),
        }
    }
}

impl<T: Ord + Clone, K: Ord + Clone> FairQueue<T, K> {
    /// Adds an item of a tenant. An item that waits already keeps its place.
    pub fn push(&mut self, tenant: T, item: K) {
        if !self.queued.insert(item.clone()) {
            return;
        }
        let items = self.tenants.entry(tenant.clone()).or_default();
        if items.is_empty() {
            self.turns.push_back(tenant);
        }
        items.push_back(item);
    }

    /// Removes the next item.
    pub fn pop(&mut self) -> Option<K> {
        let tenant = self.turns.pop_front()?;
        let items = self.tenants.get_mut(&tenant)?;
        let item = items.pop_front()?;
        if items.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.queued.remove(&item);
        Some(item)
    }

    /// Keeps only some items, in their order.
    pub fn retain(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.queued.retain(&is_kept);
        self.tenants.retain(|_, items| {
            items.retain(&is_kept);
            !items.is_empty()
        });
        self.turns.retain(|tenant| self.tenants.contains_key(tenant));
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// Whether no item waits.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut FairQueue<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_tenant_with_many_items_delays_others_by_one_round() {
        let mut queue = FairQueue::default();
        (0..1000).for_each(|item| queue.push('a', item));
        assert_eq!(queue.pop(), Some(0));
        [('b', 2001), ('c', 3001), ('b', 2002), ('a', 1000)]
            .into_iter()
            .for_each(|(tenant, item)| queue.push(tenant, item));
        let order = drain(&mut queue);
        assert_eq!(order[..6], [1, 2001, 3001, 2, 2002, 3]);
        assert_eq!((order.len(), order.last()), (1003, Some(&1000)));
    }

    #[test]
    fn an_item_that_waits_keeps_its_place_and_waits_once() {
        let mut queue = FairQueue::default();
        [1, 2, 1].into_iter().for_each(|item| queue.push('a', item));
        assert_eq!(queue.len(), 2);
        assert_eq!(drain(&mut queue), [1, 2]);
        queue.push('a', 1);
        assert_eq!(drain(&mut queue), [1]);
        [1, 2, 3].into_iter().for_each(|item| queue.push('a', item));
        queue.push('b', 4);
        queue.retain(|item| item % 2 == 1);
        assert_eq!(drain(&mut queue), [1, 3]);
        queue.push('a', 1);
        queue.clear();
        assert!(queue.is_empty());
        assert_eq!(queue.pop(), None);
    }
}
