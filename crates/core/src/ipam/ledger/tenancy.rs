//! What keeps an address from Services of other namespaces: the scopes of its pool, and its quarantine.

use alloc::sync::Arc;
use core::net::IpAddr;

use super::Ledger;
use crate::config::RequestScope;
use crate::ipam::occupancy::Requester;
use crate::ipam::pool_ledger::{PoolIndex, PoolLedger};
use crate::ipam::refusal::Refusal;
use crate::{Family, ServiceKey, Time};

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
        key: &Arc<ServiceKey>,
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
                if pool.reservations.get(&address) != Some(&**key) {
                    let pool = pool.name.clone();
                    return Err(Refusal::AddressNotReserved { address, pool });
                }
            }
        }
        let position = pool.addresses.position(address);
        let list = self.pool(index).free_list(Family::of(address));
        let quarantine = position.and_then(|position| list.quarantine_of(position));
        match quarantine.filter(|(end, _)| *end > now) {
            Some((until, last))
                if !is_own(&last.namespace) && !self.past.holders(address).any(|past| past == key) =>
            {
                let until = *until;
                Err(Refusal::AddressInQuarantine { address, until })
            }
            _ => Ok(()),
        }
    }
}
