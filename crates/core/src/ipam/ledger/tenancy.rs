//! What keeps an address from Services of other namespaces: the scopes of its pool, and its quarantine.

use core::net::IpAddr;

use super::Ledger;
use crate::config::RequestScope;
use crate::ipam::occupancy::Requester;
use crate::ipam::pool_ledger::{PoolIndex, PoolLedger};
use crate::ipam::quarantine::Quarantined;
use crate::ipam::refusal::Refusal;
use crate::{ServiceKey, Time};

impl Ledger {
    /// Checks whether `requester` may get `address` together with its holders.
    ///
    /// # Errors
    /// The reason why not.
    pub(in crate::ipam) fn admits_new(
        &self,
        requester: &Requester<'_>,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let Some(occupancy) = self.occupied.get(&address) else {
            return Ok(());
        };
        occupancy.admits(requester, address)?;
        let pool = self.by_range.find(address).map(|index| &self.pool(*index).pool);
        match pool.filter(|pool| !occupancy.is_in_scope(requester, pool)) {
            None => Ok(()),
            Some(pool) => Err(Refusal::SharingNotAllowed {
                address,
                pool: pool.name.clone(),
            }),
        }
    }

    /// Checks what the request scope of the pool at `index` and the quarantine say of a request for `address` by `key`.
    ///
    /// # Errors
    /// The reason why the request is not met.
    pub(in crate::ipam) fn allows_request(
        &self,
        index: PoolIndex,
        key: &ServiceKey,
        address: IpAddr,
        now: Time,
    ) -> Result<(), Refusal> {
        let PoolLedger { pool, .. } = self.pool(index);
        let is_own = |namespace: &str| *namespace == *key.namespace;
        match pool.requests {
            RequestScope::Any => {}
            RequestScope::SameNamespace => {
                let is_foreign = match self.occupied.get(&address) {
                    Some(occupancy) => !occupancy.reaches(&key.namespace),
                    None => {
                        let mut past = self.past.holders(address).peekable();
                        past.peek().is_some() && !past.any(|holder| is_own(&holder.namespace))
                    }
                };
                if is_foreign {
                    let pool = pool.name.clone();
                    return Err(Refusal::AddressOfOtherNamespace { address, pool });
                }
            }
            RequestScope::Reserved => {
                if pool.reservations.get(&address) != Some(key) {
                    let pool = pool.name.clone();
                    return Err(Refusal::AddressNotReserved { address, pool });
                }
            }
        }
        let is_unreserved = !pool.reservations.contains_key(&address);
        let quarantined = self.quarantine_of(address).filter(|_| is_unreserved);
        match quarantined.filter(|quarantined| quarantined.claim_end > now) {
            Some(quarantined)
                if !is_own(&quarantined.last.namespace)
                    && !self.past.holders(address).any(|past| past == key)
                    && self.is_claim_within_quota(index, address, quarantined) =>
            {
                let until = quarantined.claim_end;
                Err(Refusal::AddressInQuarantine { address, until })
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the namespace that released `address` may keep it from others: what it has, and what it released later,
    /// must leave room in its quota. Otherwise a namespace could request and release one address after the other, and keep them
    /// all.
    fn is_claim_within_quota(&self, index: PoolIndex, address: IpAddr, quarantined: &Quarantined) -> bool {
        let ledger = self.pool(index);
        let Some(quota) = ledger.pool.quota_per_namespace else {
            return true;
        };
        let namespace = &quarantined.last.namespace;
        let held = quota - ledger.quota_left(namespace).min(quota);
        let is_later = |(other, later): &(IpAddr, &Quarantined)| {
            later.last.namespace == *namespace && (later.claim_end, *other) > (quarantined.claim_end, address)
        };
        let later = ledger.quarantined().filter(is_later).count() as u64;
        held + later < quota
    }
}
