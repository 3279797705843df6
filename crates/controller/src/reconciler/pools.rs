//! What the allocator knows of pools, and who else uses their addresses.

use std::net::IpAddr;

use herald_core::ipam::{ExternalUser, PoolOverlap, Usage};
use herald_core::{Pool, PoolName, Refusal, Service, ServiceKey, Time};

use super::Reconciler;

impl Reconciler {
    /// Takes the addresses that a Node or a Service uses without this controller; none if it is gone.
    pub(crate) fn set_external_user(&mut self, user: ExternalUser, addresses: &[IpAddr], now: Time) {
        self.allocator.set_external_user(user, addresses, now);
    }

    /// Returns the addresses in quarantine, each with the Service that released it last and the end of the quarantine.
    pub(crate) fn quarantined(&self, now: Time) -> impl Iterator<Item = (IpAddr, &ServiceKey, Time)> {
        self.allocator.quarantined(now)
    }

    /// Returns the next pool of which others use addresses, and did not before.
    pub(crate) fn poll_overlap(&mut self) -> Option<PoolOverlap> {
        self.allocator.poll_overlap()
    }

    /// Returns the next pool of which another number of addresses may be in use.
    pub(crate) fn poll_changed_pool(&mut self) -> Option<PoolName> {
        self.allocator.poll_changed_pool()
    }

    /// Returns how many addresses of a pool are in use.
    pub(crate) fn usage(&self, pool: &PoolName) -> Option<Usage> {
        self.allocator.usage(pool)
    }

    /// Returns why a Service would not get what it requests.
    pub(crate) fn check_request(&mut self, service: &Service, now: Time) -> Option<Refusal> {
        self.allocator.check_request(service, now)
    }

    /// Returns the addresses of nodes that a pool gives out, whether it is in force or not.
    pub(crate) fn node_overlap(&self, pool: &Pool) -> Option<PoolOverlap> {
        self.allocator.node_overlap(pool)
    }
}
