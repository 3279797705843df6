//! The controller's metrics, named as MetalLB names them.

use std::collections::BTreeMap;

use herald_core::PoolName;
use herald_core::ipam::Usage;
use herald_runtime::metrics::Register;
use herald_runtime::reconcile::Written;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::reconciler::ServiceState;

/// A gauge with one series for each pool, and the number that it shows.
type PoolGauge = (fn(&Usage) -> u128, GaugeVec);

pub(crate) struct ControllerMetrics {
    pool: [PoolGauge; 6],
    /// Changes of objects that were handled.
    pub(crate) updates: IntCounter,
    errors: IntCounter,
    writes: IntCounterVec,
    services: IntGaugeVec,
    loaded: IntGauge,
    stale: IntGauge,
    /// 1 while this controller has the Lease, even if it waits for MetalLB's; client-go's name.
    leader: IntGauge,
}

/// Name of the Lease by which controllers agree on the active one.
pub(crate) const LEASE: &str = "herald-controller";

impl ControllerMetrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let register = Register(registry);
        let pool = |name: &str, help: &str| register.float_gauges(name, help, &["pool"]);
        let leader = register.gauges(
            "leader_election_master_status",
            "1 if this process holds the lease, 0 if it stands by",
            &["name"],
        )?;
        Ok(Self {
            leader: leader.with_label_values(&[LEASE]),
            pool: [
                (
                    |u| sum(u.capacity.v4, u.capacity.v6),
                    pool("metallb_allocator_addresses_total", "Addresses in the pool")?,
                ),
                (
                    |u| u.capacity.v4,
                    pool("metallb_allocator_ipv4_addresses_total", "IPv4 addresses in the pool")?,
                ),
                (
                    |u| u.capacity.v6,
                    pool("metallb_allocator_ipv6_addresses_total", "IPv6 addresses in the pool")?,
                ),
                (
                    |u| sum(u.assigned_v4, u.assigned_v6),
                    pool("metallb_allocator_addresses_in_use_total", "Addresses of the pool in use")?,
                ),
                (
                    |u| u.assigned_v4,
                    pool("metallb_allocator_ipv4_addresses_in_use_total", "IPv4 addresses of the pool in use")?,
                ),
                (
                    |u| u.assigned_v6,
                    pool("metallb_allocator_ipv6_addresses_in_use_total", "IPv6 addresses of the pool in use")?,
                ),
            ],
            updates: register.counter(
                "metallb_k8s_client_updates_total",
                "Number of Kubernetes objects processed",
            )?,
            errors: register.counter(
                "metallb_k8s_client_update_errors_total",
                "Number of Kubernetes objects that could not be brought to what was decided",
            )?,
            writes: register.counters(
                "herald_status_writes_total",
                "Writes of a Service's status by how they ended: ok, outdated (the object had changed, and is decided again), refused, \
                 failed, fenced (the Lease had expired)",
                &["result"],
            )?,
            services: register.gauges(
                "herald_services",
                "Services by condition: Announced of those with an address, Allocated of those without one",
                &["condition", "status", "reason"],
            )?,
            loaded: register.gauge(
                "metallb_k8s_client_config_loaded_bool",
                "1 once a configuration was accepted",
            )?,
            stale: register.gauge(
                "metallb_k8s_client_config_stale_bool",
                "1 while a resource is set aside as invalid",
            )?,
        })
    }

    /// Counts a write by how it ended.
    pub(crate) fn count_write(&self, result: &Written) {
        let label = match result {
            Written::Version(_) => "ok",
            Written::Outdated => "outdated",
            Written::Refused(_) => "refused",
            Written::Failed(_) => "failed",
            Written::Fenced => "fenced",
        };
        self.writes.with_label_values(&[label]).inc();
        if matches!(result, Written::Refused(_) | Written::Failed(_)) {
            self.errors.inc();
        }
    }

    /// Sets the gauges of a pool.
    pub(crate) fn set_usage(&self, pool: &PoolName, usage: &Usage) {
        for (value, gauge) in &self.pool {
            set(&gauge.with_label_values(&[pool.as_str()]), value(usage));
        }
    }

    /// Removes the series of a pool that is gone.
    pub(crate) fn forget_pool(&self, pool: &PoolName) {
        for (_, gauge) in &self.pool {
            // An error means that there is no such series.
            let _absent = gauge.remove_label_values(&[pool.as_str()]);
        }
    }

    /// Removes the series of all pools.
    pub(crate) fn forget_pools(&self) {
        for (_, gauge) in &self.pool {
            gauge.reset();
        }
    }

    /// Replaces the numbers `last` of Services by their conditions. A scrape at the same time misses none.
    pub(crate) fn set_services(
        &self,
        last: &mut BTreeMap<ServiceState, i64>,
        counts: BTreeMap<ServiceState, i64>,
    ) {
        for (state, count) in &counts {
            self.services.with_label_values(&state.labels()).set(*count);
        }
        for state in last.keys().filter(|state| !counts.contains_key(state)) {
            // An error means that there is no such series.
            let _absent = self.services.remove_label_values(&state.labels());
        }
        *last = counts;
    }

    pub(crate) fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    #[cfg(test)]
    pub(crate) fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    pub(crate) fn set_config(&self, loaded: bool, stale: bool) {
        self.loaded.set(i64::from(loaded));
        self.stale.set(i64::from(stale));
    }
}

const fn sum(v4: u128, v6: u128) -> u128 {
    v4.saturating_add(v6)
}

/// Sets a gauge. As in MetalLB, a value is at most 2^63-1.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; huge pools are approximate"
)]
fn set(gauge: &Gauge, value: u128) {
    gauge.set(value.min(i64::MAX as u128) as f64);
}
