//! The addresses of a pool as a map: each address a cell, as long as there are not too many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_api::convert;
use herald_core::address::AddressRange;
use herald_core::config::Pool;
use serde::Serialize;

use crate::cluster::ClusterView;
use crate::model::external_addresses;

/// The Services of a cell that are named.
const NAMED: usize = 5;
/// The obstacle of an address that a foreign host answers for.
const CONFLICT: &str = "AddressConflict";

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CellState {
    /// No Service has it, and one may get it.
    Free,
    /// One Service has it.
    Used,
    /// Several Services have it.
    Shared,
    /// It is kept for a Service that does not have it.
    Reserved,
    /// A Service released it lately.
    Quarantined,
    /// A foreign host answers for it.
    Conflict,
    /// A node has it, or a Service without Herald.
    UsedExternally,
    /// The pool contains it and does not give it out (`avoidBuggyIPs`).
    NotGivenOut,
}

/// An address, or several that follow each other and are in the same state.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MapCell {
    pub(super) first: String,
    /// The last address; absent if there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<String>,
    /// How many addresses there are; saturates.
    pub(super) count: u64,
    pub(super) state: CellState,
    /// The Services that have the address; some of them, if there are many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) services: Vec<String>,
    /// The nodes that answer for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) answered_by: Vec<String>,
    /// What else is to be said of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// A range of a pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RangeMap {
    /// As the pool has it.
    range: String,
    /// How many addresses it has; saturates.
    size: u64,
    pub(super) cells: Vec<MapCell>,
    /// How many of its addresses are not shown, because there are too many cells.
    pub(super) omitted: u64,
}

/// What is known of an address besides that it is in a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct AddressUse {
    services: Vec<String>,
    answered_by: Vec<String>,
    external: Vec<String>,
    quarantine: Option<String>,
    obstacle: Option<String>,
}

/// The addresses of a cluster that something is known of.
#[derive(Debug, Default)]
pub(super) struct AddressUses(BTreeMap<IpAddr, AddressUse>);

impl AddressUses {
    pub(super) fn of(cluster: &ClusterView) -> Self {
        let mut uses = Self::default();
        uses.add_services(cluster);
        for node in cluster.objects.nodes.iter().map(convert::node) {
            for address in &node.addresses {
                let user = format!("node {} has the address itself", node.name);
                uses.at(*address).external.push(user);
            }
        }
        let quarantine = cluster
            .states
            .controller
            .iter()
            .flat_map(|state| &state.quarantine);
        for quarantined in quarantine {
            if let Ok(address) = quarantined.address.parse() {
                let (until, last) = (&quarantined.until, &quarantined.last_service);
                uses.at(address).quarantine = Some(format!("until {until}; {last} had it last"));
            }
        }
        for state in &cluster.states.speakers {
            for of_address in &state.addresses {
                let Ok(address) = of_address.address.parse() else {
                    continue;
                };
                if of_address.answers {
                    uses.at(address).answered_by.push(state.node.clone());
                }
                if let Some(obstacle) = &of_address.obstacle {
                    let known = &mut uses.at(address).obstacle;
                    if known.as_deref() != Some(CONFLICT) {
                        *known = Some(obstacle.to_string());
                    }
                }
            }
        }
        uses
    }

    fn add_services(&mut self, cluster: &ClusterView) {
        let class = cluster.installation.class();
        for service in &cluster.objects.services {
            let key = convert::key(service).to_string();
            if convert::is_ours(service, class) {
                for address in convert::ingress_addresses(service) {
                    self.at(address).services.push(key.clone());
                }
            }
            for address in external_addresses(service, class) {
                let of_address = self.at(address);
                if !of_address.services.contains(&key) {
                    of_address
                        .external
                        .push(format!("Service {key} uses it without Herald"));
                }
            }
        }
    }

    fn at(&mut self, address: IpAddr) -> &mut AddressUse {
        self.0.entry(address).or_default()
    }

    /// Returns the maps of the ranges of a pool, with `budget` cells at most.
    pub(super) fn map(&self, pool: &Pool, budget: usize) -> Vec<RangeMap> {
        let ranges = pool.addresses.ranges();
        let mut left = budget;
        let mut maps = Vec::new();
        for (place, range) in ranges.iter().enumerate() {
            // The ranges after it get what it does not need.
            let share = left / (ranges.len() - place);
            let map = self.range(pool, *range, share);
            left -= map.cells.len();
            maps.push(map);
        }
        // Ranges without a cell are counted, not listed.
        let shown = maps.iter().filter(|map| !map.cells.is_empty()).count();
        if shown < maps.len() && shown > 0 {
            let others: u64 = maps
                .iter()
                .filter(|map| map.cells.is_empty())
                .map(|map| map.omitted)
                .fold(0, u64::saturating_add);
            maps.retain(|map| !map.cells.is_empty());
            if let Some(last) = maps.last_mut() {
                last.omitted = last.omitted.saturating_add(others);
            }
        }
        maps
    }

    fn range(&self, pool: &Pool, range: AddressRange, budget: usize) -> RangeMap {
        let mut cells = if range.size() <= budget as u128 {
            self.each(pool, range)
        } else {
            // Each address that something is known of apart, and those between them together, if that is not too much.
            let runs = self.runs(pool, range);
            if runs.len() <= budget { runs } else { merged(runs) }
        };
        let size = saturated(range.size());
        cells.truncate(budget);
        let shown: u64 = cells.iter().map(|cell| cell.count).fold(0, u64::saturating_add);
        RangeMap {
            range: range.to_string(),
            size,
            omitted: size.saturating_sub(shown),
            cells,
        }
    }

    fn each(&self, pool: &Pool, range: AddressRange) -> Vec<MapCell> {
        let addresses = std::iter::successors(Some(range.first()), |address| {
            next(*address).filter(|next| range.contains(*next))
        });
        addresses.map(|address| self.cell(pool, address)).collect()
    }

    fn runs(&self, pool: &Pool, range: AddressRange) -> Vec<MapCell> {
        let used = self
            .0
            .range(range.first()..=range.last())
            .map(|(address, _)| *address);
        let reserved = pool.reservations.range(range.first()..=range.last());
        let used: BTreeSet<IpAddr> = used.chain(reserved.map(|(address, _)| *address)).collect();
        let mut cells = Vec::new();
        let mut begin = Some(range.first());
        for address in used {
            if let (Some(first), Some(last)) = (begin, previous(address)) {
                cells.extend(free_run(pool, first, last));
            }
            cells.push(self.cell(pool, address));
            begin = next(address);
        }
        if let Some(first) = begin {
            cells.extend(free_run(pool, first, range.last()));
        }
        cells
    }

    fn cell(&self, pool: &Pool, address: IpAddr) -> MapCell {
        let none = AddressUse::default();
        let known = self.0.get(&address).unwrap_or(&none);
        let reserved = pool.reservations.get(&address).map(ToString::to_string);
        let state = known.state(reserved.is_some(), pool.owns(address));
        let mut notes = known.external.clone();
        notes.extend(
            known
                .obstacle
                .as_ref()
                .map(|obstacle| format!("obstacle: {obstacle}")),
        );
        notes.extend(reserved.map(|service| format!("reserved for {service}")));
        notes.extend(
            known
                .quarantine
                .as_ref()
                .map(|until| format!("in quarantine {until}")),
        );
        if state == CellState::NotGivenOut {
            notes.push("the pool does not give it out (avoidBuggyIPs)".to_owned());
        }
        let mut services = known.services.clone();
        if let more @ 1.. = services.len().saturating_sub(NAMED) {
            services.truncate(NAMED);
            notes.insert(0, format!("and {more} more Services"));
        }
        notes.truncate(NAMED);
        MapCell {
            first: address.to_string(),
            last: None,
            count: 1,
            state,
            services,
            answered_by: known.answered_by.iter().take(NAMED).cloned().collect(),
            notes,
        }
    }
}

impl AddressUse {
    fn state(&self, is_reserved: bool, is_given_out: bool) -> CellState {
        if self.obstacle.as_deref() == Some(CONFLICT) {
            CellState::Conflict
        } else if self.services.len() > 1 {
            CellState::Shared
        } else if !self.services.is_empty() {
            CellState::Used
        } else if !self.external.is_empty() {
            CellState::UsedExternally
        } else if !is_given_out {
            CellState::NotGivenOut
        } else if self.quarantine.is_some() {
            CellState::Quarantined
        } else if is_reserved {
            CellState::Reserved
        } else {
            CellState::Free
        }
    }
}

/// Returns the cell of addresses that nothing is known of; `None` if there are none.
fn free_run(pool: &Pool, first: IpAddr, last: IpAddr) -> Option<MapCell> {
    let range = AddressRange::new(first, last)?;
    let withheld = if pool.avoid_buggy { range.buggy() } else { 0 };
    let notes = if withheld > 0 {
        vec![format!("{withheld} of them are not given out (avoidBuggyIPs)")]
    } else {
        Vec::new()
    };
    Some(MapCell {
        first: first.to_string(),
        last: (first != last).then(|| last.to_string()),
        count: saturated(range.size()),
        state: CellState::Free,
        services: Vec::new(),
        answered_by: Vec::new(),
        notes,
    })
}

/// Joins neighbours in the same state. What is particular to one address is left out.
fn merged(cells: Vec<MapCell>) -> Vec<MapCell> {
    let mut merged: Vec<MapCell> = Vec::new();
    for cell in cells {
        match merged.last_mut() {
            Some(last) if last.state == cell.state => {
                last.count = last.count.saturating_add(cell.count);
                last.last = cell.last.or(Some(cell.first));
                last.services.clear();
                last.answered_by.clear();
                last.notes.clear();
            }
            Some(_) | None => merged.push(cell),
        }
    }
    merged
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn next(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_add(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().checked_add(1)?).into(),
    })
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_sub(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().checked_sub(1)?).into(),
    })
}
