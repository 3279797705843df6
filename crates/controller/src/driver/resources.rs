//! The statuses of pools and advertisements, and the overlaps of pools with what others use.

use std::net::IpAddr;

use herald_core::PoolName;
use herald_core::config::ResourceKind;
use herald_core::ipam::ExternalUser;
use jiff::Timestamp;
use tracing::warn;

use super::Controller;
use crate::resources::ResourceId;
use crate::write::StatusTarget;

impl Controller {
    /// Writes the statuses that differ from the desired ones, and sets the gauges of the pools.
    pub(super) fn drain_resources(&mut self) {
        while let Some(overlap) = self.reconciler.poll_overlap() {
            warn!(pool = %overlap.pool, "{overlap}");
            if let Some(event) = self.configuration.overlap_event(&overlap) {
                self.emit(event);
            }
        }
        while let Some(pool) = self.reconciler.poll_changed_pool() {
            self.resources.handle_changed(ResourceId::pool(pool.as_str()));
        }
        self.resources.update_effects(self.configuration.catalog());
        while let Some(id) = self.resources.poll_stale() {
            let pool = (id.kind == ResourceKind::Pool).then(|| PoolName::new(&id.name));
            let usage = pool.and_then(|pool| {
                let usage = self.reconciler.usage(&pool)?;
                self.metrics.set_usage(&pool, &usage);
                Some(usage)
            });
            if let Some(patch) = self.resources.reconcile(&id, usage.as_ref(), Timestamp::now()) {
                self.writes.submit(StatusTarget::Resource(id), patch);
            }
        }
    }

    /// Takes the addresses that `user` uses without this controller.
    pub(super) fn set_external_user(&mut self, user: ExternalUser, addresses: &[IpAddr]) {
        let now = self.now();
        self.reconciler.set_external_user(user, addresses, now);
    }
}
