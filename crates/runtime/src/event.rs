//! Kubernetes Events, sent in the background: no caller waits, repetitions are counted instead of written, and statuses come
//! first.

mod correlator;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use correlator::{Correlator, EventRecord, EventWrite};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use prometheus::IntCounter;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;

use crate::log::cut;
use crate::metrics::Register;
use crate::reconcile::{Failure, TIMEOUT, within};

/// More than this many unsent events are dropped: events are for information, they are not the state. 10 000 Services
/// may get an address at once.
const QUEUE: usize = 16_384;

/// Pause after an event while the program writes statuses: ten events a second beside hundreds of statuses.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The longest message that an Event may have, in bytes (Kubernetes validation of `core/v1` Events).
const LONGEST_MESSAGE: usize = 1024;

/// The `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Normal,
    /// Needs attention.
    Warning,
}

impl Severity {
    /// Returns the `type`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Sends events about objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<(EventRecord, Timestamp)>,
    /// Whether the program wrote statuses since the last event.
    busy: Arc<AtomicBool>,
    dropped: IntCounter,
}

/// The task that sends events.
struct EventTask {
    client: Client,
    /// `source.component` and `reportingComponent`.
    component: String,
    /// `reportingInstance`.
    instance: String,
    correlator: Correlator,
    busy: Arc<AtomicBool>,
    dropped: IntCounter,
}

impl Events {
    /// Starts the sending task; events carry `component` as their source and `instance` (the Pod's or node's name).
    ///
    /// # Errors
    /// When the registry has the metric already.
    pub fn start(
        client: Client,
        component: &str,
        instance: &str,
        registry: &prometheus::Registry,
    ) -> anyhow::Result<Self> {
        let dropped = Register(registry).counter(
            "herald_events_dropped_total",
            "Kubernetes events that were not sent: too many at a time, or refused by the API server",
        )?;
        let (queue, receiver) = mpsc::channel(QUEUE);
        let busy = Arc::new(AtomicBool::new(false));
        let task = EventTask {
            client,
            component: component.to_owned(),
            instance: instance.to_owned(),
            correlator: Correlator::default(),
            busy: busy.clone(),
            dropped: dropped.clone(),
        };
        tokio::spawn(task.run(receiver));
        Ok(Self { queue, busy, dropped })
    }

    /// Slows events down for a moment, because the program writes statuses.
    pub fn throttle(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Sends an event about an object. Never waits. A repetition is counted and not written each time.
    pub fn emit(&self, about: &ObjectReference, severity: Severity, reason: &'static str, message: String) {
        let record = EventRecord {
            about: about.clone(),
            severity,
            reason: reason.to_owned(),
            message,
        };
        if self.queue.try_send((record, Timestamp::now())).is_err() {
            self.dropped.inc();
        }
    }
}

impl EventTask {
    async fn run(mut self, mut queue: mpsc::Receiver<(EventRecord, Timestamp)>) {
        loop {
            let due = self.correlator.poll_timeout();
            // Cancel safety: `recv` loses nothing when the time-out wins, and the time-out is computed in each round.
            tokio::select! {
                event = queue.recv() => match event {
                    Some((record, wall)) => self.handle(record, wall),
                    None => return,
                },
                () = sleep_until(due) => {}
            }
            while let Ok((record, wall)) = queue.try_recv() {
                self.handle(record, wall);
            }
            if let Some(write) = self.correlator.poll(Instant::now()) {
                self.write(&write).await;
                if self.busy.swap(false, Ordering::Relaxed) {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
            }
        }
    }

    fn handle(&mut self, record: EventRecord, wall: Timestamp) {
        self.dropped
            .inc_by(self.correlator.handle(record, Instant::now(), wall));
    }

    async fn write(&mut self, write: &EventWrite) {
        let mut result = within(TIMEOUT, self.request(write)).await;
        if write.exists && matches!(result, Err(Failure::Outdated(_))) {
            // The Event has expired: create it again.
            let fresh = EventWrite {
                exists: false,
                ..write.clone()
            };
            result = within(TIMEOUT, self.request(&fresh)).await;
        }
        let Err(failure) = result else {
            return;
        };
        let error = failure.message();
        warn!(
            reason = write.record.reason,
            error, "an event could not be sent; events of the core group need create and patch"
        );
        self.dropped.inc();
        self.correlator.handle_lost(write);
    }

    async fn request(&self, write: &EventWrite) -> kube::Result<()> {
        let about = &write.record.about;
        // As client-go: events about objects without a namespace are in the namespace `default`.
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let name = format!("{}.{:x}", about.name.as_deref().unwrap_or_default(), write.id);
        if write.exists {
            let patch = json!({
                "count": write.count,
                "lastTimestamp": Time(write.last),
                "message": cut(&write.record.message, LONGEST_MESSAGE),
            });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        } else {
            let event = self.event(name, namespace, write);
            api.create(&PostParams::default(), &event).await?;
        }
        Ok(())
    }

    fn event(&self, name: String, namespace: &str, write: &EventWrite) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: write.record.about.clone(),
            type_: Some(write.record.severity.as_str().to_owned()),
            reason: Some(write.record.reason.clone()),
            message: Some(cut(&write.record.message, LONGEST_MESSAGE).to_owned()),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: None,
            }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.instance.clone()),
            count: Some(write.count),
            first_timestamp: Some(Time(write.first)),
            last_timestamp: Some(Time(write.last)),
            ..Event::default()
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
