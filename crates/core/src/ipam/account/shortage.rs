//! What follows when a search finds nothing: the reason, and what to wait for.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Account;
use crate::Family;
use crate::ipam::occupancy::Requester;
use crate::ipam::pool_ledger::PoolIndex;
use crate::ipam::refusal::Refusal;
use crate::ipam::requirement::FamilyRequirement;
use crate::ipam::waiting::{AddressSource, Individual, Sharing, WaitKey};

impl Account<'_> {
    /// Returns the reason why nothing was found in `pools`.
    pub(in crate::ipam) fn shortage(
        &mut self,
        pools: &[PoolIndex],
        requirement: &FamilyRequirement,
    ) -> Refusal {
        if pools.is_empty() {
            return Refusal::NoPoolMatchesService;
        }
        let families = requirement.families().to_vec();
        let has = |index: &PoolIndex, family: &Family| {
            self.ledger
                .pool(*index)
                .pool
                .addresses
                .last_position(*family)
                .is_some()
        };
        let fitting: Vec<PoolIndex> = pools
            .iter()
            .copied()
            .filter(|index| {
                requirement
                    .stages()
                    .iter()
                    .any(|stage| stage.iter().all(|family| has(index, family)))
            })
            .collect();
        if fitting.is_empty() {
            let pools = pools.iter().map(|index| self.pool_name(*index)).collect();
            return Refusal::FamilyUnavailable { pools, families };
        }
        let now = self.now;
        let mut free_families = BTreeSet::new();
        for &index in &fitting {
            let pool = self.ledger.pool_mut(index);
            let free: Vec<Family> = families
                .iter()
                .copied()
                .filter(|family| pool.has_free(*family, now))
                .collect();
            if free.len() == families.len() && pool.quota_left(&self.key.namespace) < families.len() as u64 {
                return self.over_quota(index);
            }
            free_families.extend(free);
        }
        let exhausted: Vec<Family> = families
            .iter()
            .copied()
            .filter(|f| !free_families.contains(f))
            .collect();
        Refusal::PoolExhausted {
            pools: fitting.iter().map(|index| self.pool_name(*index)).collect(),
            // Each family may be free in some pool, but no pool has both.
            families: if exhausted.is_empty() { families } else { exhausted },
        }
    }

    /// Returns what to wait for after nothing was found.
    pub(in crate::ipam) fn wait_key(
        &self,
        source: AddressSource,
        pools: &[PoolIndex],
        requirement: &FamilyRequirement,
    ) -> WaitKey {
        let reserved = |index: &PoolIndex| self.ledger.pool(*index).reserved_for(self.key);
        let reserved: Vec<IpAddr> = pools.iter().flat_map(reserved).copied().collect();
        let had_requested = match &source {
            AddressSource::Pools(_) => false,
            AddressSource::Addresses(requested) => {
                let past = self.ledger.past.recall(self.key).unwrap_or_default();
                requested.iter().any(|address| past.contains(address))
            }
        };
        let is_individual = self.held.is_some() || !reserved.is_empty() || had_requested;
        let has_quota = |index: &PoolIndex| self.ledger.pool(*index).pool.quota_per_namespace.is_some();
        let quotas: Vec<PoolIndex> = pools.iter().copied().filter(has_quota).collect();
        let Requester {
            sharing,
            backend,
            is_local,
            ports,
            ..
        } = self.requester();
        let has_namespace =
            !quotas.is_empty() || !sharing.is_empty() || matches!(source, AddressSource::Addresses(_));
        WaitKey {
            source,
            families: requirement.families().to_vec(),
            any: matches!(requirement, FamilyRequirement::BothOr(_)),
            sharing: (!sharing.is_empty()).then(|| Sharing {
                key: sharing.clone(),
                backend: backend.into(),
                is_local,
                ports: ports.iter().copied().collect(),
            }),
            quotas,
            namespace: has_namespace.then(|| self.key.namespace.clone()),
            individual: is_individual.then(|| Individual {
                key: self.key.clone(),
                reserved,
            }),
        }
    }
}
