//! The task that connects the watches, the configuration, the reconciler and the queue of writes.

mod admission;
mod bgp;
mod clock;
mod log;
mod resources;
mod standing;
mod state;

use std::time::{Duration, Instant};

use herald_core::ipam::{Allocator, ExternalUser};
use herald_core::{NodeName, PoolName, ServiceKey, Time};
use herald_runtime::admin::StateRequest;
use herald_runtime::event::Events;
use herald_runtime::health::Beat;
use herald_runtime::lease::{Candidacy, Leadership, Lease};
use herald_runtime::readiness::Awaited;
use herald_runtime::reconcile::QueueEvent;
use herald_runtime::reconcile::object::DesiredObject;
use herald_runtime::{Shutdown, Update};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::admission::ReviewRequest;
use crate::configuration::Configuration;
use crate::effects::EffectSource;
use crate::input::{ClusterChange, ListedKind};
use crate::metrics::ControllerMetrics;
use crate::reconciler::{Reconciler, ServiceEvent};
use crate::resources::{ResourceId, Resources};
use crate::write::{StatusTarget, Writes};
use admission::Reviews;
use clock::Clock;
use log::{log_decision, log_failure};
pub(crate) use standing::Standing;

/// Inputs that are handled before their consequences are computed: enough that a list of pools or namespaces costs little,
/// few enough that writes start early.
const BATCH: usize = 64;
/// The driver comes round at least so often: its beat.
const PULSE: Duration = Duration::from_secs(1);

pub(crate) struct Controller {
    clock: Clock,
    configuration: Configuration,
    reconciler: Reconciler,
    resources: Resources,
    /// Until all is listed. Until then this controller is not ready and does not stand for the Lease.
    listing: Option<Listing>,
    /// From then on.
    candidacy: Option<Candidacy>,
    leadership: Leadership,
    standing: Standing,
    writes: Writes,
    events: Events,
    /// The `ConfigurationState` of the controller.
    state: watch::Sender<Option<DesiredObject>>,
    metrics: ControllerMetrics,
}

/// The time before the first lists.
pub(crate) struct Listing {
    pub(crate) awaited: Awaited<ListedKind>,
    pub(crate) lease: Lease,
}

/// Where the driver writes to.
pub(crate) struct Outputs {
    pub(crate) writes: Writes,
    pub(crate) events: Events,
    pub(crate) state: watch::Sender<Option<DesiredObject>>,
    pub(crate) metrics: ControllerMetrics,
}

impl Controller {
    pub(crate) fn new(
        namespace: String,
        allocator: Allocator,
        listing: Listing,
        leadership: Leadership,
        standing: Standing,
        outputs: Outputs,
    ) -> Self {
        Self {
            clock: Clock::start(),
            configuration: Configuration::new(namespace),
            reconciler: Reconciler::new(allocator),
            resources: Resources::default(),
            listing: Some(listing),
            candidacy: None,
            leadership,
            standing,
            writes: outputs.writes,
            events: outputs.events,
            state: outputs.state,
            metrics: outputs.metrics,
        }
    }

    /// Runs until shutdown is requested; then gives the Lease back, so that another controller takes over at once.
    ///
    /// # Cancel safety
    /// Each branch of the loop only waits and is handled after it won: `recv_many` takes nothing when another branch wins,
    /// ended requests stay in the queue, and the term and the shutdown are states that can be read again.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Vec<ClusterChange>>,
        mut states: mpsc::Receiver<StateRequest>,
        reviews: mpsc::Receiver<ReviewRequest>,
        mut shutdown: Shutdown,
        beat: Beat,
    ) {
        let (mut batch, mut counts) = (Vec::with_capacity(BATCH), Default::default());
        let mut pulse = tokio::time::interval(PULSE);
        let mut reviews = Reviews::new(reviews);
        loop {
            beat.beat();
            let deadline = self.deadline();
            tokio::select! {
                1.. = inputs.recv_many(&mut batch, BATCH) => {
                    self.metrics.updates.inc_by(batch.len() as u64);
                    self.handle_inputs(batch.drain(..).flatten());
                }
                event = self.writes.next() => self.handle_queue(event),
                term = self.leadership.after(self.standing.held()) => {
                    self.standing.set_held(term);
                    self.follow_standing();
                }
                Some(request) = states.recv() => {
                    self.answer(request);
                    continue;
                }
                Some(request) = reviews.next() => reviews.rest_after(self.review(request)),
                _ = pulse.tick() => {
                    self.metrics.set_services(&mut counts, self.reconciler.count_services());
                    // A Pod of MetalLB's controller counts as gone some time after its deletion.
                    self.follow_standing();
                    self.handle_bgp_time();
                }
                () = reached(deadline) => self.handle_deadline(),
                () = shutdown.requested() => break,
            }
            self.drain();
        }
        self.writes.cancel_all();
        self.writes.finish().await;
        if let Some(candidacy) = self.candidacy {
            candidacy.resign().await;
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn handle_deadline(&mut self) {
        let now = self.now();
        self.reconciler.handle_timeout(now);
    }

    /// Returns when the reconciler has something to do without an input.
    fn deadline(&self) -> Option<Instant> {
        let timeout = self.reconciler.poll_timeout()?;
        Some(Instant::now() + (timeout - self.now()))
    }

    fn handle_inputs(&mut self, inputs: impl Iterator<Item = ClusterChange>) {
        for input in inputs {
            match input {
                ClusterChange::Services(update) => {
                    // Pools that came before are in force for this Service.
                    self.apply_configuration();
                    let now = self.now();
                    match update {
                        Update::Applied(observed) => self.reconciler.set_service(observed, now),
                        Update::Deleted(key) => {
                            let key = ServiceKey::new(&key.namespace, &key.name);
                            self.reconciler.remove_service(&key, now);
                        }
                        Update::Synced => {
                            self.reconciler.handle_synced(now);
                            self.handle_listed(ListedKind::Services);
                        }
                    }
                }
                ClusterChange::OtherServices(Update::Applied(service)) => {
                    self.set_external_user(ExternalUser::Service(service.key), &service.external_ips);
                }
                ClusterChange::OtherServices(Update::Deleted(key)) => {
                    let key = ServiceKey::new(&key.namespace, &key.name);
                    self.set_external_user(ExternalUser::Service(key), &[]);
                }
                ClusterChange::OtherServices(Update::Synced) => self.handle_listed(ListedKind::OtherServices),
                ClusterChange::Nodes(Update::Applied(node)) => {
                    self.resources.effects.set_node(&node.name, node.labels);
                    self.set_external_user(ExternalUser::Node(node.name), &node.addresses);
                }
                ClusterChange::Nodes(Update::Deleted(key)) => {
                    let name = NodeName::new(key.name);
                    self.resources.effects.remove_node(&name);
                    self.set_external_user(ExternalUser::Node(name), &[]);
                }
                ClusterChange::Nodes(Update::Synced) => {
                    self.resources.effects.handle_listed(EffectSource::Nodes);
                    self.handle_listed(ListedKind::Nodes);
                }
                ClusterChange::Pools(Update::Applied(pool)) => {
                    self.configuration.set_pool(&pool);
                    self.resources.set(ResourceId::pool(pool.raw.name), pool.observed);
                }
                ClusterChange::Pools(Update::Deleted(key)) => {
                    let name = PoolName::new(key.name);
                    self.resources.remove(&ResourceId::pool(name.as_str()));
                    self.metrics.forget_pool(&name);
                    self.configuration.remove_pool(&name);
                }
                ClusterChange::Pools(Update::Synced) => {
                    self.configuration.handle_synced();
                    self.resources.effects.handle_listed(EffectSource::Pools);
                    self.handle_listed(ListedKind::Pools);
                }
                ClusterChange::Advertisements(Update::Applied(advertisement)) => {
                    self.configuration.set_advertisement(&advertisement);
                    let id = ResourceId::l2_advertisement(advertisement.raw.name);
                    self.resources.set(id, advertisement.observed);
                }
                ClusterChange::Advertisements(Update::Deleted(key)) => {
                    self.configuration.remove_advertisement(&key.name);
                    self.resources.remove(&ResourceId::l2_advertisement(key.name));
                }
                ClusterChange::Advertisements(Update::Synced) => {
                    self.configuration.handle_synced();
                    self.resources.effects.handle_listed(EffectSource::Advertisements);
                }
                ClusterChange::Bgp(kind, update) => self.configuration.bgp.handle(kind, update),
                ClusterChange::Namespaces(Update::Applied((name, labels))) => {
                    self.configuration.set_namespace(name, Some(labels));
                }
                ClusterChange::Namespaces(Update::Deleted(key)) => {
                    self.configuration.set_namespace(key.name, None);
                }
                ClusterChange::Namespaces(Update::Synced) => {
                    self.configuration.handle_synced();
                    self.handle_listed(ListedKind::Namespaces);
                }
                ClusterChange::Announcements(update) => {
                    let now = self.now();
                    self.reconciler.handle_announcements(update, now);
                }
                ClusterChange::BgpAnnouncements(update) => {
                    let now = self.now();
                    self.reconciler.handle_bgp_announcements(update, now);
                }
                ClusterChange::Pods(update) => {
                    self.standing.handle_pods(&update);
                    self.follow_standing();
                    self.reconciler.handle_pods(update);
                }
                ClusterChange::Speakers(update) => self.resources.effects.update_speakers(update),
            }
        }
    }

    /// Starts the candidacy when all is listed.
    fn handle_listed(&mut self, kind: ListedKind) {
        self.apply_configuration();
        if let Some(listing) = &mut self.listing {
            listing.awaited.meet(kind);
        }
        if let Some(listing) = self.listing.take_if(|listing| listing.awaited.is_empty()) {
            info!(
                services = self.reconciler.services(),
                pools = self.configuration.catalog().pools().len(),
                "all listed"
            );
            self.candidacy = Some(listing.lease.start_candidacy());
        }
    }

    /// Puts the configuration in force and reports its new problems.
    fn apply_configuration(&mut self) {
        let Some(problems) = self.configuration.apply() else {
            return;
        };
        let now = self.now();
        self.reconciler.set_catalog(self.configuration.catalog(), now);
        self.resources.effects.handle_catalog();
        self.metrics.set_config(true, self.configuration.is_stale());
        for problem in &problems {
            let namespace = self.configuration.namespace();
            warn!(namespace, "failed to parse the configuration: {problem}");
        }
        if self.standing.is_active() {
            let events = problems.iter();
            for event in events.filter_map(|problem| self.configuration.event(problem)) {
                self.emit(event);
            }
        }
        self.show_state();
    }

    /// Writes the `ConfigurationState` of the active controller.
    fn show_state(&self) {
        let desired = self.standing.active().map(|_| self.configuration.state());
        self.state.send_if_modified(|state| {
            let differs = *state != desired;
            *state = desired;
            differs
        });
    }

    /// Carries out what the last inputs led to: decisions first, then events, then writes.
    fn drain(&mut self) {
        self.apply_configuration();
        self.apply_bgp();
        while let Some((service, outcome, caveat)) = self.reconciler.poll_decision() {
            log_decision(&service, &outcome, caveat.as_ref());
            while let Some(event) = self.reconciler.poll_event() {
                self.emit(event);
            }
        }
        if self.standing.is_active() {
            self.drain_resources();
        }
        // Statuses and deletions take turns.
        while self.writes.has_room() && (self.submit_status() | self.submit_deletion()) {}
        if !self.writes.is_idle() {
            self.events.throttle();
        }
    }

    /// Hands the next status of a Service to the queue. Returns whether there was one.
    fn submit_status(&mut self) -> bool {
        let next = self.reconciler.poll_write(Timestamp::now(), self.now());
        let Some((service, patch)) = next else {
            return false;
        };
        let target = StatusTarget::Service(service);
        match patch {
            Some(patch) => self.writes.submit(target, patch),
            None => self.writes.cancel(&target),
        }
        true
    }

    /// Hands the next deletion of a superseded object to the queue. Returns whether there was one.
    fn submit_deletion(&mut self) -> bool {
        let Some(object) = self.reconciler.poll_superseded() else {
            return false;
        };
        let version = json!(object.version.to_string());
        self.writes
            .submit(StatusTarget::Announcement(object.name), version);
        true
    }

    fn emit(&self, event: ServiceEvent) {
        self.events
            .emit(&event.about, event.severity, event.reason, event.note);
    }

    fn handle_queue(&mut self, event: QueueEvent<StatusTarget>) {
        match event {
            QueueEvent::Written(target, written) => {
                log_failure(&target, &written);
                if !matches!(target, StatusTarget::Announcement(_)) {
                    self.metrics.count_write(&written);
                }
                match target {
                    StatusTarget::Service(service) => self.reconciler.handle_written(&service, &written),
                    StatusTarget::Resource(id) => self.resources.handle_written(&id, &written),
                    // The watch shows that the object is gone.
                    StatusTarget::Announcement(_) => {}
                }
            }
            QueueEvent::PauseOver(StatusTarget::Service(service)) => {
                self.reconciler.handle_pause_over(&service)
            }
            QueueEvent::PauseOver(StatusTarget::Resource(id)) => self.resources.handle_pause_over(&id),
            QueueEvent::PauseOver(StatusTarget::Announcement(object)) => {
                self.reconciler.handle_deletion_over(&object)
            }
        }
    }
}

/// Waits for an instant; without one, for ever.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use herald_core::Labels;
    use herald_core::config::RawPool;
    use herald_runtime::Readiness;
    use herald_runtime::lease::Term;
    use herald_runtime::reconcile::WriteQueue;
    use herald_runtime::watch::ObjectKey;
    use k8s_openapi::api::core::v1::ObjectReference;
    use kube::{Client, Config};
    use prometheus::Registry;

    use crate::announcements::PodReadiness;
    use crate::input::WrittenPool;
    use crate::observed::ObservedService;
    use crate::resources::ObservedResource;

    /// A controller whose API server is away, and the writes that it sends.
    fn controller(readiness: &Readiness) -> (Controller, Arc<Mutex<Vec<StatusTarget>>>) {
        let config = Config::new("http://127.0.0.1:9".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        let registry = Registry::new();
        let (lease, leadership) = Lease::new(client.clone(), "metallb-system", "test", "test");
        let sent = Arc::<Mutex<Vec<StatusTarget>>>::default();
        let log = Arc::clone(&sent);
        let send = move |target, _| {
            log.lock().expect("no panic").push(target);
            std::future::ready(Ok(None))
        };
        let outputs = Outputs {
            writes: WriteQueue::new(Some(leadership.clone()), send),
            events: Events::start(client, "test", "test", &registry).expect("a new registry"),
            state: watch::channel(None).0,
            metrics: ControllerMetrics::register(&registry).expect("a new registry"),
        };
        let awaited = readiness.require(ListedKind::ALL);
        let listing = Listing { awaited, lease };
        let allocator = Allocator::new();
        let controller = Controller::new(
            "metallb-system".to_owned(),
            allocator,
            listing,
            leadership,
            Standing::default(),
            outputs,
        );
        (controller, sent)
    }

    fn service() -> ClusterChange {
        let object = json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "resourceVersion": "7"},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"]},
        });
        let object = serde_json::from_value(object).expect("a Service");
        ClusterChange::Services(Update::Applied(Box::new(ObservedService::new(&object, None))))
    }

    fn pool() -> ClusterChange {
        let raw = RawPool {
            name: "pool".to_owned(),
            addresses: vec!["192.0.2.0/24".to_owned()],
            ..RawPool::default()
        };
        let pool = WrittenPool {
            raw,
            reference: ObjectReference::default(),
            observed: ObservedResource::default(),
        };
        ClusterChange::Pools(Update::Applied(Box::new(pool)))
    }

    #[tokio::test]
    async fn a_controller_is_a_candidate_and_ready_when_all_kinds_are_listed() {
        let readiness = Readiness::default();
        let (mut controller, _) = controller(&readiness);
        let steps = [
            (service(), false),
            (ClusterChange::Services(Update::Synced), false),
            (ClusterChange::OtherServices(Update::Synced), false),
            (ClusterChange::Nodes(Update::Synced), false),
            (pool(), false),
            (ClusterChange::Pools(Update::Synced), false),
            (
                ClusterChange::Namespaces(Update::Applied(("default".to_owned(), Labels::default()))),
                false,
            ),
            (ClusterChange::Namespaces(Update::Synced), true),
        ];
        for (change, is_ready) in steps {
            controller.handle_inputs([change].into_iter());
            controller.drain();
            assert_eq!(readiness.is_ready(), is_ready);
            assert_eq!(controller.candidacy.is_some(), is_ready);
        }
        assert_eq!(controller.configuration.catalog().pools().len(), 1);
        assert_eq!(controller.reconciler.services(), 1);
    }

    #[tokio::test]
    async fn a_standby_writes_nothing() {
        let (mut controller, sent) = controller(&Readiness::default());
        controller.handle_inputs([pool(), service()].into_iter());
        controller.drain();
        controller.standing.set_held(None);
        controller.follow_standing();
        controller.drain();
        assert!(controller.writes.is_idle());
        assert!(sent.lock().expect("no panic").is_empty());
        assert_eq!(*controller.state.borrow(), None);
    }

    #[tokio::test]
    async fn beside_the_controller_of_metallb_this_one_writes_nothing_and_becomes_active_when_that_is_gone() {
        let (mut controller, _) = controller(&Readiness::default());
        controller.standing = Standing::new(true);
        let metallb = json!({
            "metadata": {"name": "controller", "uid": "1", "labels": {"app": "metallb", "component": "controller"}},
        });
        let metallb = PodReadiness::new(&serde_json::from_value(metallb).expect("a Pod"));
        let pods = [Update::Applied(metallb), Update::Synced].map(ClusterChange::Pods);
        let namespace = Update::Applied(("default".to_owned(), Labels::default()));
        let lists = [
            pool(),
            ClusterChange::Pools(Update::Synced),
            ClusterChange::Namespaces(namespace),
            ClusterChange::Namespaces(Update::Synced),
            service(),
            ClusterChange::Services(Update::Synced),
        ];
        controller.handle_inputs(lists.into_iter().chain(pods));
        controller.standing.set_held(Some(Term::FIRST));
        controller.follow_standing();
        controller.drain();
        assert!(controller.writes.is_idle());
        assert_eq!(*controller.state.borrow(), None);
        assert!(
            controller.metrics.is_leader(),
            "no alert says that no controller has the Lease"
        );
        let deleted = Update::Deleted(ObjectKey {
            namespace: "metallb-system".to_owned(),
            name: "controller".to_owned(),
        });
        controller.handle_inputs([ClusterChange::Pods(deleted)].into_iter());
        controller.drain();
        assert!(!controller.writes.is_idle(), "it gives the Service an address");
        assert!(controller.state.borrow().is_some());
    }
}
