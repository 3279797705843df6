//! The observed statuses of pools and advertisements, and the desired ones: the counts of a pool, and the conditions `Ready` and
//! `herald.io/Effective`.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::crd::{EFFECTIVE, READY};
use herald_api::reason::ConditionReason;
use herald_core::config::{Catalog, ResourceKind};
use herald_core::ipam::Usage;
use herald_runtime::reconcile::Written;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::announced::ConditionStatus;
use crate::effects::{Effectiveness, Effects};

/// A pool or an advertisement in our namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceId {
    pub(crate) kind: ResourceKind,
    pub(crate) name: String,
}

impl ResourceId {
    pub(crate) fn pool(name: impl Into<String>) -> Self {
        let (kind, name) = (ResourceKind::Pool, name.into());
        Self { kind, name }
    }

    pub(crate) fn l2_advertisement(name: impl Into<String>) -> Self {
        let (kind, name) = (ResourceKind::L2Advertisement, name.into());
        Self { kind, name }
    }
}

/// What is kept of the status of a resource.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ObservedResource {
    /// Only of a pool.
    pub(crate) counts: Option<PoolCounts>,
    pub(crate) conditions: Vec<Condition>,
    /// `status.observedGeneration`.
    pub(crate) observed_generation: Option<i64>,
    pub(crate) generation: Option<i64>,
    pub(crate) version: Option<String>,
}

/// How many addresses of a pool are in use, and how many are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PoolCounts {
    pub(crate) assigned: [i64; 2],
    pub(crate) available: [i64; 2],
}

/// The pools and advertisements that exist, in force or not.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    records: BTreeMap<ResourceId, ResourceRecord>,
    /// Resources whose desired status may differ from the observed one.
    stale: BTreeSet<ResourceId>,
    pub(crate) effects: Effects,
}

#[derive(Debug, Default)]
struct ResourceRecord {
    /// The newest version that is known.
    observed: ObservedResource,
    /// `None` until it was computed.
    effect: Option<Effectiveness>,
    /// The status that was handed out to be written. It stays until the pause after the write is over.
    in_flight: Option<ObservedResource>,
}

impl Resources {
    /// Takes a new or changed resource.
    pub(crate) fn set(&mut self, id: ResourceId, observed: ObservedResource) {
        self.records.entry(id.clone()).or_default().observed = observed;
        self.stale.insert(id);
    }

    /// Takes that a resource is gone.
    pub(crate) fn remove(&mut self, id: &ResourceId) {
        self.records.remove(id);
    }

    /// Computes the conditions of all resources, if one may have changed.
    pub(crate) fn update_effects(&mut self, catalog: &Catalog) {
        if !self.effects.poll_stale() {
            return;
        }
        for (id, record) in &mut self.records {
            let effect = self.effects.effect(catalog, id.kind, &id.name);
            if record.effect.as_ref() != Some(&effect) {
                record.effect = Some(effect);
                self.stale.insert(id.clone());
            }
        }
    }

    /// Takes that another number of addresses of a pool may be in use.
    pub(crate) fn handle_changed(&mut self, id: ResourceId) {
        self.stale.insert(id);
    }

    /// Returns the next resource to be reconciled.
    pub(crate) fn poll_stale(&mut self) -> Option<ResourceId> {
        self.stale.pop_first()
    }

    /// Returns the patch of a resource's status, unless the status is as desired. `usage` is that of a pool in force. One write
    /// is in flight at a time, with a pause after it: what changes in between goes into the next one, so that 10 000
    /// assignments are not 10 000 writes.
    pub(crate) fn reconcile(
        &mut self,
        id: &ResourceId,
        usage: Option<&Usage>,
        now: Timestamp,
    ) -> Option<Value> {
        let record = self.records.get_mut(id)?;
        if record.in_flight.is_some() {
            return None;
        }
        let observed = &record.observed;
        let effect = record.effect.as_ref();
        let conditions = effect.map(|effect| conditions(effect, observed, now));
        let conditions = conditions.filter(|own| {
            observed.observed_generation != observed.generation
                || own.iter().any(|own| !observed.conditions.contains(own))
        });
        let counts = match id.kind {
            ResourceKind::L2Advertisement => None,
            // The definition requires counts beside the condition, also of a pool of which no version is in force.
            ResourceKind::Pool => usage
                .map(PoolCounts::new)
                .or(observed.counts)
                .or_else(|| conditions.as_ref().map(|_| PoolCounts::default())),
        };
        if conditions.is_none() && counts == observed.counts {
            return None;
        }
        let mut desired = ObservedResource {
            counts,
            ..observed.clone()
        };
        let mut patch = json!({"status": counts.map_or_else(|| json!({}), PoolCounts::status)});
        if let Some(own) = conditions {
            // The patch replaces the list, so it is for the version whose conditions of others it keeps.
            desired
                .conditions
                .retain(|condition| own.iter().all(|own| own.type_ != condition.type_));
            desired.conditions.extend(own);
            desired.observed_generation = desired.generation;
            patch["status"]["conditions"] = json!(desired.conditions);
            patch["status"]["observedGeneration"] = json!(desired.generation);
            patch["metadata"] = json!({"resourceVersion": desired.version});
        }
        record.in_flight = Some(desired);
        Some(patch)
    }

    /// Takes that nothing is in flight any more.
    pub(crate) fn handle_cancelled(&mut self) {
        let records = self.records.values_mut();
        records.for_each(|record| record.in_flight = None);
        self.stale.extend(self.records.keys().cloned());
    }

    /// Takes how a write ended. The next one waits until the pause is over.
    pub(crate) fn handle_written(&mut self, id: &ResourceId, written: &Written) {
        let Some(record) = self.records.get_mut(id) else {
            return;
        };
        if let (Written::Version(version), Some(in_flight)) = (written, &record.in_flight) {
            record.observed.clone_from(in_flight);
            record.observed.version = version.map(|version| version.to_string());
        }
        self.stale.insert(id.clone());
    }

    /// Takes that the status of a resource may be written again.
    pub(crate) fn handle_pause_over(&mut self, id: &ResourceId) {
        if let Some(record) = self.records.get_mut(id) {
            record.in_flight = None;
            self.stale.insert(id.clone());
        }
    }
}

impl PoolCounts {
    /// Counts beyond 63 bits stop at their end, as in MetalLB.
    fn new(usage: &Usage) -> Self {
        let counts = |v4: u128, v6: u128| [v4, v6].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        Self {
            assigned: counts(usage.assigned_v4, usage.assigned_v6),
            available: counts(usage.available_v4, usage.available_v6),
        }
    }

    fn status(self) -> Value {
        let (assigned, available) = (self.assigned, self.available);
        json!({
            "assignedIPv4": assigned[0], "assignedIPv6": assigned[1],
            "availableIPv4": available[0], "availableIPv6": available[1],
        })
    }
}

/// Returns the conditions. Each has its status since the observed one, if that has the same status.
fn conditions(effect: &Effectiveness, observed: &ObservedResource, now: Timestamp) -> [Condition; 2] {
    let ready = match effect.is_in_force {
        true => (READY, true, ConditionReason::InForce.reason(), ""),
        false => (READY, false, effect.reason, &*effect.message),
    };
    let effective = (EFFECTIVE, effect.is_effective, effect.reason, &*effect.message);
    [ready, effective].map(|(type_, is_true, reason, message)| {
        let status = match is_true {
            true => ConditionStatus::True,
            false => ConditionStatus::False,
        };
        let mut before = observed.conditions.iter();
        let before = before.find(|before| before.type_ == type_ && before.status == status.as_str());
        Condition {
            type_: type_.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: observed.generation,
            last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(assigned: i64) -> PoolCounts {
        PoolCounts {
            assigned: [assigned, 0],
            available: [10 - assigned, 0],
        }
    }

    fn usage(assigned: u128) -> Usage {
        Usage {
            assigned_v4: assigned,
            available_v4: 10 - assigned,
            ..Usage::default()
        }
    }

    fn ineffective() -> Effectiveness {
        Effectiveness {
            is_in_force: true,
            is_effective: false,
            reason: "NoAdvertisement",
            message: "why".to_owned(),
        }
    }

    fn set_ineffective(resources: &mut Resources) {
        let records = resources.records.values_mut();
        records.for_each(|record| record.effect = Some(ineffective()));
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn observed(counts: Option<PoolCounts>) -> ObservedResource {
        ObservedResource {
            counts,
            generation: Some(3),
            version: Some("70".to_owned()),
            ..ObservedResource::default()
        }
    }

    fn pool() -> ResourceId {
        ResourceId::pool("pool")
    }

    fn reconcile(resources: &mut Resources, assigned: u128) -> Option<Value> {
        resources.reconcile(&pool(), Some(&usage(assigned)), at(9))
    }

    /// Lets the pause after a write pass.
    fn end(resources: &mut Resources, id: &ResourceId, written: Written) {
        resources.handle_written(id, &written);
        resources.handle_pause_over(id);
    }

    #[test]
    fn huge_counts_stop_at_63_bits() {
        let usage = Usage {
            assigned_v6: 1,
            available_v6: u128::MAX,
            ..Usage::default()
        };
        let counts = PoolCounts::new(&usage);
        assert_eq!((counts.assigned[1], counts.available[1]), (1, i64::MAX));
    }

    #[test]
    fn one_write_is_in_flight_until_the_pause_after_it_is_over() {
        let mut resources = Resources::default();
        assert_eq!(reconcile(&mut resources, 1), None);
        resources.set(pool(), observed(None));
        assert_eq!(resources.poll_stale(), Some(pool()));
        let patch = reconcile(&mut resources, 1).expect("a write");
        let status = json!({"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 9, "availableIPv6": 0});
        assert_eq!(patch, json!({"status": status}));
        assert_eq!(reconcile(&mut resources, 2), None);
        resources.handle_written(&pool(), &Written::Version(None));
        assert_eq!(reconcile(&mut resources, 2), None);
        resources.handle_pause_over(&pool());
        assert_eq!(resources.poll_stale(), Some(pool()));
        assert_eq!(reconcile(&mut resources, 1), None);
        assert!(reconcile(&mut resources, 2).is_some());
    }

    #[test]
    fn a_status_that_is_as_desired_is_not_written_and_a_failed_write_is_repeated() {
        let mut resources = Resources::default();
        resources.set(pool(), observed(Some(counts(3))));
        assert_eq!(reconcile(&mut resources, 3), None);
        assert!(reconcile(&mut resources, 4).is_some());
        end(&mut resources, &pool(), Written::Failed(String::new()));
        assert!(reconcile(&mut resources, 4).is_some());
        resources.handle_cancelled();
        assert_eq!(resources.poll_stale(), Some(pool()));
        assert!(reconcile(&mut resources, 4).is_some());
    }

    #[test]
    fn the_conditions_of_a_pool_go_into_the_same_patch_as_its_counts_and_are_written_once() {
        let mut resources = Resources::default();
        resources.set(pool(), observed(None));
        set_ineffective(&mut resources);
        let patch = reconcile(&mut resources, 1).expect("a write");
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "InForce", "message": "",
            "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:09Z",
        });
        let effective = json!({
            "type": "herald.io/Effective", "status": "False", "reason": "NoAdvertisement", "message": "why",
            "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:09Z",
        });
        assert_eq!(patch["status"]["conditions"], json!([ready, effective]));
        assert_eq!(patch["status"]["observedGeneration"], 3);
        assert_eq!(patch["status"]["assignedIPv4"], 1);
        assert_eq!(patch["metadata"], json!({"resourceVersion": "70"}));
        end(&mut resources, &pool(), Written::Version(Some(71)));
        set_ineffective(&mut resources);
        assert_eq!(reconcile(&mut resources, 1), None);
        let patch = reconcile(&mut resources, 2).expect("a write");
        assert_eq!(patch["status"].get("conditions"), None, "only the counts differ");
    }

    #[test]
    fn a_resource_that_is_set_aside_is_not_ready_and_the_other_version_of_it_is() {
        let mut resources = Resources::default();
        let mut seen = Vec::new();
        let bad = Effectiveness {
            is_in_force: false,
            reason: "ConfigurationError",
            ..ineffective()
        };
        for (generation, effect) in [(1, &bad), (2, &bad), (3, &ineffective())] {
            resources.set(
                pool(),
                ObservedResource {
                    conditions: resources
                        .records
                        .get(&pool())
                        .map_or_else(Vec::new, |record| record.observed.conditions.clone()),
                    generation: Some(generation),
                    ..observed(None)
                },
            );
            let record = resources.records.get_mut(&pool()).expect("just set");
            record.effect = Some(effect.clone());
            let patch = resources
                .reconcile(&pool(), None, at(generation))
                .expect("a write");
            assert_eq!(patch["status"]["observedGeneration"], generation);
            let ready = &patch["status"]["conditions"][0];
            assert_eq!(ready["type"], "Ready");
            seen.push(
                ["status", "reason", "message", "lastTransitionTime"].map(|field| ready[field].clone()),
            );
            end(&mut resources, &pool(), Written::Version(Some(71)));
        }
        let since = |second| format!("1970-01-01T00:00:0{second}Z");
        assert_eq!(
            json!(seen),
            json!([
                ["False", "ConfigurationError", "why", since(1)],
                ["False", "ConfigurationError", "why", since(1)],
                ["True", "InForce", "", since(3)],
            ])
        );
    }

    /// A definition without the field drops it and keeps the conditions; tools that wait for it would wait for ever.
    #[test]
    fn a_generation_that_was_dropped_is_written_again() {
        let mut resources = Resources::default();
        resources.set(pool(), observed(None));
        set_ineffective(&mut resources);
        let patch = resources.reconcile(&pool(), None, at(9)).expect("a write");
        end(&mut resources, &pool(), Written::Version(Some(71)));
        assert_eq!(resources.reconcile(&pool(), None, at(9)), None);
        let written = resources.records[&pool()].observed.clone();
        let dropped = ObservedResource {
            observed_generation: None,
            ..written
        };
        resources.set(pool(), dropped);
        set_ineffective(&mut resources);
        assert_eq!(
            resources.reconcile(&pool(), None, at(9)).expect("a write")["status"],
            patch["status"]
        );
    }

    #[test]
    fn an_advertisement_has_only_the_conditions_beside_those_of_others() {
        let id = ResourceId::l2_advertisement("a");
        let mut resources = Resources::default();
        let older = ObservedResource {
            generation: Some(2),
            ..observed(None)
        };
        let [ready, effective] = conditions(&ineffective(), &older, at(5));
        let of_another = Condition {
            type_: "Other".to_owned(),
            ..ready.clone()
        };
        resources.set(
            id.clone(),
            ObservedResource {
                conditions: vec![ready, of_another, effective],
                ..observed(None)
            },
        );
        assert_eq!(resources.reconcile(&id, None, at(9)), None, "it is not known yet");
        set_ineffective(&mut resources);
        let patch = resources.reconcile(&id, None, at(9)).expect("another generation");
        let status = patch["status"].as_object().expect("an object");
        let fields: Vec<&String> = status.keys().collect();
        assert_eq!(fields, ["conditions", "observedGeneration"]);
        let conditions = status["conditions"].as_array().expect("a list");
        let types: Vec<&Value> = conditions.iter().map(|condition| &condition["type"]).collect();
        assert_eq!(types, ["Other", "Ready", "herald.io/Effective"]);
        for condition in conditions {
            let time = &condition["lastTransitionTime"];
            assert_eq!(*time, "1970-01-01T00:00:05Z", "the status is the same");
        }
        end(&mut resources, &id, Written::Version(Some(71)));
        assert_eq!(resources.reconcile(&id, None, at(10)), None);
    }

    #[test]
    fn a_pool_of_which_no_version_is_in_force_says_so_beside_the_counts_that_it_has() {
        for (before, assigned) in [(None, 0), (Some(counts(4)), 4)] {
            let mut resources = Resources::default();
            resources.set(pool(), observed(before));
            assert_eq!(resources.reconcile(&pool(), None, at(9)), None);
            set_ineffective(&mut resources);
            let patch = resources.reconcile(&pool(), None, at(9)).expect("a write");
            assert_eq!(patch["status"]["assignedIPv4"], assigned);
        }
    }
}
