//! The addresses of one pool that are shared under one key, with the ports that are known to be in use there.
//!
//! Services with one key and one port cannot share an address. Without this index the search for each of them would
//! visit the addresses of all others.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::Port;
use crate::address::FreeSet;

/// Consecutive positions of a pool: `from` to `before`, which is not part of them; without `before` there is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PositionRange {
    pub(super) from: u128,
    pub(super) before: Option<u128>,
}

/// Positions of shared addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedAddresses {
    positions: BTreeSet<u128>,
    /// For each port, intervals in which it is known to be in use on every shared address.
    closed: BTreeMap<Port, FreeSet>,
}

impl SharedAddresses {
    /// Returns whether no address is shared.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Adds the address at `position`.
    pub(super) fn add(&mut self, position: u128) {
        self.positions.insert(position);
        for closed in self.closed.values_mut() {
            closed.take(position);
        }
    }

    /// Removes the address at `position`.
    pub(super) fn remove(&mut self, position: u128) {
        self.positions.remove(&position);
    }

    /// Records that `ports` are no longer in use at `position`.
    pub(super) fn open(&mut self, position: u128, ports: &[Port]) {
        for port in ports {
            if let Some(closed) = self.closed.get_mut(port) {
                closed.take(position);
            }
        }
    }

    /// Returns the lowest shared position in `range` at which none of `ports` is in use according to `uses`.
    pub(super) fn first_open(
        &mut self,
        PositionRange { mut from, before }: PositionRange,
        ports: &BTreeSet<Port>,
        uses: impl Fn(u128, Port) -> bool,
    ) -> Option<u128> {
        loop {
            let position = self.positions.range(from..).next().copied()?;
            if before.is_some_and(|before| position >= before) {
                return None;
            }
            let is_closed = |port: &Port| self.closed.get(port)?.end_of(position);
            let end = match ports.iter().find_map(is_closed) {
                Some(end) => end,
                None => {
                    let Some(port) = ports.iter().find(|port| uses(position, **port)) else {
                        return Some(position);
                    };
                    // There is no shared address between `from` and here.
                    self.closed.entry(*port).or_default().give_all(from, position);
                    position
                }
            };
            from = end.checked_add(1)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::Transport;

    fn port(number: u16) -> Port {
        Port {
            protocol: Transport::Tcp,
            number,
        }
    }

    #[test]
    fn a_search_does_not_visit_again_the_addresses_where_the_port_is_known_to_be_in_use() {
        let range = PositionRange {
            from: 0,
            before: None,
        };
        // Every other address is shared, so that their positions are not consecutive.
        let visits = |count: u128| {
            let (mut shared, visits) = (SharedAddresses::default(), Cell::new(0));
            let uses = |_, _| {
                visits.set(visits.get() + 1);
                true
            };
            let ports = BTreeSet::from([port(80)]);
            for position in 0..count {
                assert_eq!(shared.first_open(range, &ports, uses), None);
                shared.add(position * 2);
            }
            for position in 0..count {
                shared.open(position * 2, &[port(80)]);
                shared.remove(position * 2);
                assert_eq!(shared.first_open(range, &ports, uses), None);
                shared.add(position * 2);
            }
            visits.get()
        };
        assert!(
            visits(2000) <= visits(1000) * 2 + 2,
            "{} {}",
            visits(1000),
            visits(2000)
        );
    }

    proptest! {
        #[test]
        fn the_first_open_position_is_found(
            steps in prop::collection::vec((0u128..6, prop::collection::btree_set(1u16..4, 0..3)), 1..60),
            from in 0u128..4,
        ) {
            let mut shared = SharedAddresses::default();
            let mut model: BTreeMap<u128, BTreeSet<u16>> = BTreeMap::new();
            for (position, ports) in steps {
                if let Some(had) = model.remove(&position) {
                    let had: alloc::vec::Vec<Port> = had.into_iter().map(port).collect();
                    shared.open(position, &had);
                    if ports.is_empty() {
                        shared.remove(position);
                    } else {
                        model.insert(position, ports);
                    }
                } else {
                    shared.add(position);
                    model.insert(position, ports);
                }
                for wanted in [BTreeSet::new(), BTreeSet::from([1]), BTreeSet::from([2, 3])] {
                    let uses = |position: u128, port: Port| model[&position].contains(&port.number);
                    let expected = model.range(from..5).find(|(_, used)| used.is_disjoint(&wanted));
                    let wanted = wanted.iter().copied().map(port).collect();
                    let found = shared.first_open(PositionRange { from, before: Some(5) }, &wanted, uses);
                    prop_assert_eq!(found, expected.map(|(position, _)| *position));
                }
            }
        }
    }
}
