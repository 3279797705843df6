//! The addresses of one pool that are shared under one key, and which of them are known to have a port in use.
//!
//! Many Services with one key and one port cannot share an address. Without knowing where not to look, each of them
//! would look at the addresses of all others.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::Port;
use crate::address::FreeSet;

/// Positions of shared addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Sharers {
    positions: BTreeSet<u128>,
    /// Intervals in which every shared address is known to have the port in use.
    closed: BTreeMap<Port, FreeSet>,
}

impl Sharers {
    /// Whether nothing is shared.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The address at `position` is shared from now on.
    pub(super) fn add(&mut self, position: u128) {
        self.positions.insert(position);
        for closed in self.closed.values_mut() {
            closed.take(position);
        }
    }

    /// The address at `position` is no longer shared.
    pub(super) fn remove(&mut self, position: u128) {
        self.positions.remove(&position);
    }

    /// `ports` at `position` are no longer in use.
    pub(super) fn open(&mut self, position: u128, ports: &[Port]) {
        for port in ports {
            if let Some(closed) = self.closed.get_mut(port) {
                closed.take(position);
            }
        }
    }

    /// The lowest shared position in `from..before` at which none of `ports` is in use, as `uses` tells.
    pub(super) fn first_open(
        &mut self,
        (mut from, before): (u128, Option<u128>),
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
    fn a_port_that_is_in_use_everywhere_is_not_looked_for_everywhere_again() {
        // Every other address is shared, so that those in use are not side by side.
        let looks = |count: u128| {
            let (mut sharers, looks) = (Sharers::default(), Cell::new(0));
            let uses = |_, _| {
                looks.set(looks.get() + 1);
                true
            };
            let ports = BTreeSet::from([port(80)]);
            for position in 0..count {
                assert_eq!(sharers.first_open((0, None), &ports, uses), None);
                sharers.add(position * 2);
            }
            for position in 0..count {
                sharers.open(position * 2, &[port(80)]);
                sharers.remove(position * 2);
                assert_eq!(sharers.first_open((0, None), &ports, uses), None);
                sharers.add(position * 2);
            }
            looks.get()
        };
        assert!(
            looks(2000) <= looks(1000) * 2 + 2,
            "{} {}",
            looks(1000),
            looks(2000)
        );
    }

    proptest! {
        #[test]
        fn the_first_open_position_is_found(
            steps in prop::collection::vec((0u128..6, prop::collection::btree_set(1u16..4, 0..3)), 1..60),
            from in 0u128..4,
        ) {
            let mut sharers = Sharers::default();
            let mut model: BTreeMap<u128, BTreeSet<u16>> = BTreeMap::new();
            for (position, ports) in steps {
                if let Some(had) = model.remove(&position) {
                    let had: alloc::vec::Vec<Port> = had.into_iter().map(port).collect();
                    sharers.open(position, &had);
                    if ports.is_empty() {
                        sharers.remove(position);
                    } else {
                        model.insert(position, ports);
                    }
                } else {
                    sharers.add(position);
                    model.insert(position, ports);
                }
                for wanted in [BTreeSet::new(), BTreeSet::from([1]), BTreeSet::from([2, 3])] {
                    let uses = |position: u128, port: Port| model[&position].contains(&port.number);
                    let expected = model.range(from..5).find(|(_, used)| used.is_disjoint(&wanted));
                    let wanted = wanted.iter().copied().map(port).collect();
                    let found = sharers.first_open((from, Some(5)), &wanted, uses);
                    prop_assert_eq!(found, expected.map(|(position, _)| *position));
                }
            }
        }
    }
}
