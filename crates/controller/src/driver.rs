//! The driver: owns the catalog and the allocator, turns inputs into decisions and decisions into writes.

mod configuration;

use std::collections::BTreeMap;
use std::time::Instant;

use herald_api::reason::EventReason;
use herald_core::config::{Catalog, Problem};
use herald_core::ipam::{AllocationOutcome, Allocator, Decision, Note, Refusal};
use herald_core::{Labels, ServiceKey, Time};
use herald_runtime::event::{Events, Severity};
use herald_runtime::lease::{Campaign, Leadership, Lease, Term};
use herald_runtime::log::cut;
use herald_runtime::readiness::{Awaited, Readiness};
use herald_runtime::reconcile::object::DesiredObject;
use herald_runtime::{Shutdown, Update};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::announced::{Announcements, Report};
use crate::input::{Awaiting, Input};
use crate::metrics::Metrics;
use crate::pools::Pools;
use crate::seen::{Decided, Seen};
use crate::shown::Shown;
use crate::write::{Done, Target, Writes, Written};

pub(crate) struct Driver {
    started: Instant,
    namespace: String,
    catalog: Catalog,
    allocator: Allocator,
    /// Services as the API server last showed them.
    services: BTreeMap<ServiceKey, Seen>,
    /// The addresses that they show.
    shown: Shown,
    announcements: Announcements,
    /// Wishes that are not met although the Service has addresses.
    unmet: BTreeMap<ServiceKey, Note>,
    /// What is being written onto which version, until the API server answers.
    writing: BTreeMap<ServiceKey, (Decided, Option<u64>)>,
    /// The version that our last write made; anything older that the watch still shows is not news.
    written: BTreeMap<ServiceKey, u64>,
    /// What the watch showed last of Services of which it has not shown our last write.
    overtaken: BTreeMap<ServiceKey, Seen>,
    /// Patches that take back what we wrote to Services that stopped being load balancers.
    farewells: BTreeMap<ServiceKey, Value>,
    namespaces: BTreeMap<String, Labels>,
    pools: Pools,
    /// For events.
    advertisements: BTreeMap<String, ObjectReference>,
    problems: Vec<Problem>,
    /// Until everything has been listed.
    listing: Option<Listing>,
    leadership: Leadership,
    /// From then on.
    campaign: Option<Campaign>,
    /// While it is ours this controller decides and writes; the others stand by with warm caches.
    term: Option<Term>,
    writes: Writes,
    outlets: Outlets,
    metrics: Metrics,
}

/// Where users read what the controller thinks, besides the statuses.
pub(crate) struct Outlets {
    pub(crate) events: Events,
    /// Our `ConfigurationState`.
    pub(crate) state: watch::Sender<Option<DesiredObject>>,
}

/// The time before the first lists have come. Until then this controller is not ready and does not stand for the lease.
struct Listing {
    awaited: Awaited<Awaiting>,
    lease: Lease,
}

impl Driver {
    pub(crate) fn new(
        client: Client,
        namespace: String,
        allocator: Allocator,
        (lease, leadership): (Lease, Leadership),
        outlets: Outlets,
        registry: &Registry,
        readiness: &Readiness,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            started: Instant::now(),
            writes: Writes::new(client, leadership.clone(), namespace.clone()),
            namespace,
            catalog: Catalog::new(),
            allocator,
            services: BTreeMap::new(),
            shown: Shown::default(),
            announcements: Announcements::default(),
            unmet: BTreeMap::new(),
            writing: BTreeMap::new(),
            written: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            farewells: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            pools: Pools::default(),
            advertisements: BTreeMap::new(),
            problems: Vec::new(),
            listing: Some(Listing {
                awaited: readiness.require(Awaiting::ALL),
                lease,
            }),
            leadership,
            campaign: None,
            term: None,
            outlets,
            metrics: Metrics::register(registry)?,
        })
    }

    /// Runs until it is told to stop; then another controller may take over at once.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                Some(input) = inputs.recv() => self.handle_input(input),
                done = self.writes.done() => self.handle_done(done),
                term = self.leadership.after(self.term) => self.set_term(term),
                () = shutdown.requested() => break,
            }
            self.drain();
            if !self.writes.is_idle() {
                self.outlets.events.give_way();
            }
        }
        self.writes.cancel_all();
        self.writes.settle().await;
        if let Some(campaign) = self.campaign {
            campaign.resign().await;
        }
    }

    fn now(&self) -> Time {
        Time::since_zero(self.started.elapsed())
    }

    fn handle_input(&mut self, input: Input) {
        self.metrics.updates.inc();
        match input {
            Input::Services(update) => self.handle_services(update),
            Input::Pools(update) => self.handle_pools(update),
            Input::Advertisements(update) => self.handle_advertisements(update),
            Input::Namespaces(update) => self.handle_namespaces(update),
            Input::Announcements(update) => self.handle_announcements(update),
        }
        if let Some(listing) = self.listing.take_if(|listing| listing.awaited.is_empty()) {
            info!(
                services = self.services.len(),
                pools = self.catalog.pools().len(),
                "all listed"
            );
            self.campaign = Some(listing.lease.stand());
        }
    }

    fn handle_listed(&mut self, kind: Awaiting) {
        if let Some(listing) = &mut self.listing {
            listing.awaited.meet(kind);
        }
    }

    /// This controller becomes the active one, or stands by again.
    fn set_term(&mut self, term: Option<Term>) {
        if self.term.is_some() {
            self.stand_by();
        }
        self.term = term;
        self.metrics.set_active(term.is_some());
        if term.is_some() {
            info!("active: deciding from now on");
            self.allocator.activate(self.now());
            self.problems.iter().for_each(|problem| self.tell(problem));
        }
        self.show_state();
    }

    /// What this controller had in mind is worth nothing any more: the next active one goes by what the statuses say.
    fn stand_by(&mut self) {
        info!("standing by");
        self.allocator.deactivate(self.now());
        self.unmet.clear();
        self.writing.clear();
        self.farewells.clear();
        self.writes.cancel_all();
        self.pools.cancel_writes();
        self.metrics.forget_pools();
    }

    fn handle_services(&mut self, update: Update<Box<Seen>>) {
        match update {
            Update::Applied(seen) => self.set_service(*seen),
            Update::Deleted(key) => self.remove_service(&ServiceKey::new(&key.namespace, &key.name)),
            Update::Synced => {
                // A list is never behind our writes, and an API server restored from a backup counts anew.
                self.written.clear();
                let overtaken = std::mem::take(&mut self.overtaken);
                overtaken.into_values().for_each(|seen| self.set_service(seen));
                self.handle_listed(Awaiting::Services);
            }
        }
    }

    fn handle_announcements(&mut self, update: Update<Option<Report>>) {
        let is_synced = matches!(update, Update::Synced);
        let mut changed = self.announcements.update(update);
        if is_synced {
            changed.extend(self.services.keys().cloned());
        }
        changed.iter().for_each(|service| self.reconcile(service));
    }

    fn set_service(&mut self, seen: Seen) {
        let key = seen.service.key.clone();
        if !seen.ours {
            self.forget(&key);
            return;
        }
        if self.is_overtaken(&seen) {
            self.overtaken.insert(key, seen);
            return;
        }
        self.overtaken.remove(&key);
        self.farewells.remove(&key);
        self.allocator.set_service(seen.service.clone(), self.now());
        let freed = self.shown.set(&key, &seen.service.assigned);
        self.services.insert(key.clone(), seen);
        self.reconcile(&key);
        freed.iter().for_each(|waiting| self.reconcile(waiting));
    }

    /// Deleted, or no longer a load balancer. The latter still carries what we wrote; the API server tells the
    /// difference by refusing the patch of a Service that is gone.
    fn remove_service(&mut self, key: &ServiceKey) {
        let last = self.services.get(key).cloned();
        let wrote = self.writing.contains_key(key) || self.written.contains_key(key);
        self.forget(key);
        let Some(last) = last.filter(|last| self.term.is_some() && (wrote || last.is_marked())) else {
            return;
        };
        self.farewells.insert(key.clone(), last.farewell());
        self.writes.submit(Target::Service(key.clone()), last.farewell());
    }

    fn forget(&mut self, key: &ServiceKey) {
        self.allocator.remove_service(key, self.now());
        self.services.remove(key);
        let freed = self.shown.set(key, &[]);
        self.unmet.remove(key);
        self.writing.remove(key);
        self.written.remove(key);
        self.overtaken.remove(key);
        self.farewells.remove(key);
        self.writes.cancel(&Target::Service(key.clone()));
        freed.iter().for_each(|waiting| self.reconcile(waiting));
    }

    /// Takes every decision that the last mutation led to, and shows how full the pools are then.
    fn drain(&mut self) {
        if self.term.is_none() {
            return;
        }
        while let Some(decision) = self.allocator.poll_decision() {
            self.handle_decision(decision);
        }
        while let Some(pool) = self.allocator.poll_changed_pool() {
            self.pools.unsettle(pool);
        }
        while let Some(pool) = self.pools.poll_unsettled() {
            if let Some(usage) = self.allocator.usage(&pool) {
                self.metrics.set_usage(&pool, &usage);
                self.pools.reconcile(&pool, &usage, &mut self.writes);
            }
        }
    }

    fn handle_decision(&mut self, decision: Decision) {
        let key = decision.service;
        let Some(seen) = self.services.get(&key) else {
            return;
        };
        for note in &decision.notes {
            let severity = if note.is_warning() {
                Severity::Warning
            } else {
                Severity::Normal
            };
            self.outlets
                .events
                .emit(&seen.reference, severity, note.reason(), note.to_string());
        }
        match &decision.outcome {
            AllocationOutcome::Assigned(wanted) => {
                info!(service = %key, addresses = ?wanted.addresses, pool = %wanted.pool, "assigned");
            }
            // Kubernetes is about to give it some; there is nothing for the user to do.
            AllocationOutcome::Unassigned(Refusal::NoClusterIps) => {}
            AllocationOutcome::Unassigned(refusal) => {
                let why = refusal.to_string();
                info!(service = %key, reason = refusal.reason(), "no address: {}", cut(&why, 1024));
                let note = format!("Failed to allocate IP for \"{key}\": {why}");
                self.outlets.events.emit(
                    &seen.reference,
                    Severity::Warning,
                    EventReason::AllocationFailed.reason(),
                    note,
                );
            }
        }
        for annotation in &seen.deprecated {
            let note = format!("Service uses deprecated annotation {annotation}");
            self.outlets.events.emit(
                &seen.reference,
                Severity::Warning,
                EventReason::DeprecatedAnnotation.reason(),
                note,
            );
        }
        match decision.notes.into_iter().rfind(Note::lasts) {
            Some(note) => self.unmet.insert(ServiceKey::clone(&key), note),
            None => self.unmet.remove(&key),
        };
        self.reconcile(&key);
    }

    /// Writes the status of a Service unless it is as decided, or just being made so.
    fn reconcile(&mut self, key: &ServiceKey) {
        let (Some(outcome), Some(seen)) = (self.allocator.outcome(key), self.services.get(key)) else {
            return;
        };
        let decided = Decided {
            outcome,
            unmet: self.unmet.get(key).cloned(),
            announced: self.announcements.of(key, seen.announced()),
        };
        let under_way = self
            .writing
            .get(key)
            .is_some_and(|(writing, _)| *writing == decided);
        if under_way || seen.is_already(&decided) || self.is_overtaken(seen) {
            return;
        }
        if let AllocationOutcome::Assigned(wanted) = &decided.outcome {
            let has = |other: &ServiceKey, address| {
                let held = self.allocator.assignment(other);
                held.is_some_and(|held| held.addresses.contains(&address))
            };
            if self.shown.must_wait(key, &wanted.addresses, has) {
                return;
            }
        }
        let patch = seen.patch(&decided, Timestamp::now());
        self.writing.insert(key.clone(), (decided, seen.version()));
        self.writes.submit(Target::Service(key.clone()), patch);
    }

    /// Whether our own last write made a newer version than the watch has shown so far.
    fn is_overtaken(&self, seen: &Seen) -> bool {
        match (seen.version(), self.written.get(&seen.service.key)) {
            (Some(shown), Some(written)) => shown < *written,
            (None, _) | (_, None) => false,
        }
    }

    fn handle_done(&mut self, done: Done) {
        let Done { target, result } = done;
        match &result {
            Written::Refused(error) => {
                warn!(
                    ?target,
                    error,
                    "the API server refuses a status: check the permission to patch services/status and ipaddresspools/status, and admission policies; trying again later"
                );
            }
            Written::Failed(error) => warn!(?target, error, "a status could not be written; trying again"),
            Written::Fenced => warn!(?target, "not written: the lease has run out"),
            Written::Version(_) | Written::Outdated | Written::PauseOver => {}
        }
        self.metrics.count_write(&result);
        match target {
            Target::Service(service) if self.farewells.contains_key(&service) => {
                self.part_with(service, &result)
            }
            Target::Service(service) => self.handle_written(&service, &result),
            Target::Pool(pool) => self.pools.handle_written(&pool, &result),
        }
    }

    fn handle_written(&mut self, service: &ServiceKey, result: &Written) {
        // After a failure the entry stays until the pause is over, so that the same is not tried before.
        if matches!(result, Written::Failed(_) | Written::Refused(_) | Written::Fenced) {
            return;
        }
        let wrote = self.writing.remove(service);
        match result {
            Written::Version(version) => {
                if let (Some(version), Some(_)) = (version, &wrote) {
                    self.written.insert(service.clone(), *version);
                }
                self.reconcile(service);
            }
            // What changed the object comes by the watch, unless it has come already.
            Written::Outdated => {
                let shown = self.services.get(service).and_then(Seen::version);
                if wrote.is_some_and(|(_, version)| version != shown) {
                    self.reconcile(service);
                }
            }
            Written::PauseOver => self.reconcile(service),
            Written::Failed(_) | Written::Refused(_) | Written::Fenced => {}
        }
    }

    /// A Service that is no load balancer any more: what we wrote is taken back until the API server has it.
    fn part_with(&mut self, service: ServiceKey, result: &Written) {
        match result {
            // Refused: another Service of that name, most likely; a policy would have refused the address, too.
            Written::Version(_) | Written::Outdated | Written::Refused(_) => {
                self.farewells.remove(&service);
                // It may have come back meanwhile, and the farewell has emptied its status.
                self.reconcile(&service);
            }
            Written::PauseOver => {
                if let Some(patch) = self.farewells.get(&service) {
                    self.writes.submit(Target::Service(service), patch.clone());
                }
            }
            Written::Failed(_) | Written::Fenced => {}
        }
    }
}
