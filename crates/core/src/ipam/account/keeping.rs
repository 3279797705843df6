//! Which of the addresses that a Service has, or that its status shows, it may keep.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Account;
use crate::ipam::decider::StatusOrigin;
use crate::ipam::decision::Assignment;
use crate::ipam::refusal::Refusal;
use crate::{Addresses, PoolName};

/// The addresses of a Service that it may keep, and those that it loses, each with the reason.
#[derive(Debug)]
pub(in crate::ipam) struct Keepable {
    pub(in crate::ipam) assignment: Assignment,
    pub(in crate::ipam) lost: Vec<(IpAddr, Refusal)>,
}

impl Account<'_> {
    /// Splits `addresses`, which the Service has and which are recorded as addresses of the pool `name`, into those that it
    /// may keep and those that it loses. It keeps them although the pool is not open to it, and loses an address that is in
    /// no pool, or that it may not share.
    ///
    /// # Errors
    /// The reason why it loses all of them.
    pub(in crate::ipam) fn keepable(
        &self,
        addresses: &[IpAddr],
        name: Option<&PoolName>,
    ) -> Result<Keepable, Refusal> {
        let outside = || Refusal::AddressOutsidePools(addresses.into());
        let withheld = || name.filter(|name| self.withheld.contains(name)).cloned();
        let mut lost = Vec::new();
        let (pool, owner) = match self.ledger.pool_of(addresses) {
            Some(index) => (self.pool_name(index), None),
            None => match withheld() {
                Some(name) => (name, None),
                None => {
                    let mut owners = addresses
                        .iter()
                        .filter_map(|address| self.ledger.pool_of(&[*address]));
                    let index = owners.next().ok_or_else(outside)?;
                    (self.pool_name(index), Some(index))
                }
            },
        };
        let requester = self.requester();
        let mut kept = Addresses::new();
        for address in addresses {
            let is_owned = owner.is_none_or(|index| self.ledger.pool(index).pool.owns(*address));
            let checked = match is_owned {
                true => self.ledger.admits(&requester, *address),
                false => Err(Refusal::AddressOutsidePools(Addresses::from_slice(&[*address]))),
            };
            match checked {
                Ok(()) => kept.push(*address),
                Err(because) => lost.push((*address, because)),
            }
        }
        if kept.is_empty() {
            return Err(lost
                .into_iter()
                .next()
                .map_or_else(outside, |(_, because)| because));
        }
        let assignment = Assignment {
            addresses: kept,
            pool,
        };
        Ok(Keepable { assignment, lost })
    }

    /// Splits `claimed`, the addresses in the status of the Service, which has none yet, as [`Self::keepable`] does. A status
    /// without a mark was not written by a controller: then the Service gets no address that is reserved for another one, or of
    /// a pool that is not open to it.
    ///
    /// # Errors
    /// The reason why the Service gets none of them.
    pub(in crate::ipam) fn adoptable(
        &self,
        claimed: &[IpAddr],
        origin: StatusOrigin,
    ) -> Result<Keepable, Refusal> {
        let name = self.service.assigned_pool.as_ref();
        let keepable = self.keepable(claimed, name)?;
        let Assignment { addresses, .. } = &keepable.assignment;
        match (self.ledger.pool_of(addresses), origin) {
            (None, StatusOrigin::Controller) => {}
            (Some(_), StatusOrigin::Controller) if self.service.is_marked => {}
            (Some(index), StatusOrigin::Controller) => {
                if !self.ledger.pool(index).pool.allows(self.service) {
                    return Err(Refusal::PoolNotCompatible(self.pool_name(index)));
                }
                let mut foreign = addresses
                    .iter()
                    .filter_map(|address| self.reserved_for_other(index, *address));
                if let Some(refusal) = foreign.next() {
                    return Err(refusal);
                }
            }
            (None, StatusOrigin::Unknown) => return Err(Refusal::AddressOutsidePools(addresses.clone())),
            (Some(index), StatusOrigin::Unknown) => {
                if !self.ledger.pool(index).pool.allows(self.service) {
                    return Err(Refusal::PoolNotCompatible(self.pool_name(index)));
                }
                self.requestable(index, addresses.iter().copied())?;
                self.obtainable(index, addresses)?;
            }
        }
        Ok(keepable)
    }

    /// Returns the refusal that a new Service would get, if the pool of the Service's addresses is not open to it.
    pub(in crate::ipam) fn closed_pool(&self) -> Option<Refusal> {
        let index = self.ledger.find(&self.held.as_ref()?.pool)?;
        let pool = &self.ledger.pool(index).pool;
        (!pool.allows(self.service)).then(|| Refusal::PoolNotCompatible(pool.name.clone()))
    }
}
