//! Kubernetes Events, sent in the background: no caller waits, repetitions are counted instead of written, and statuses come
//! first.

mod correlator;

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use correlator::{Correlator, EventRecord, EventWrite};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use prometheus::IntCounter;
use serde_json::json;
use tokio::sync::Notify;
use tracing::warn;

use crate::client::is_away;
use crate::log::shorten;
use crate::metrics::Register;
use crate::reconcile::{Failure, TIMEOUT, within};
use crate::task;

/// Pause after an event while the program writes statuses: ten events a second beside hundreds of statuses.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The longest message that an Event may have, in bytes (Kubernetes validation of `core/v1` Events).
pub const LONGEST_MESSAGE: usize = 1024;

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
pub struct Events(Arc<WaitingEvents>);

/// What callers and the sending task share.
#[derive(Debug)]
struct WaitingEvents {
    correlator: Mutex<Correlator>,
    /// Notifies the task of a new event.
    emitted: Notify,
    /// Whether the program wrote statuses since the last event.
    busy: AtomicBool,
    dropped: IntCounter,
}

/// The task that sends events.
struct EventTask {
    client: Client,
    /// `source.component` and `reportingComponent`.
    component: String,
    /// `reportingInstance`.
    instance: String,
    waiting: Arc<WaitingEvents>,
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
        let waiting = Arc::new(WaitingEvents {
            correlator: Mutex::default(),
            emitted: Notify::new(),
            busy: AtomicBool::new(false),
            dropped,
        });
        let task = EventTask {
            client,
            component: component.to_owned(),
            instance: instance.to_owned(),
            waiting: Arc::clone(&waiting),
        };
        task::spawn(task.run());
        Ok(Self(waiting))
    }

    /// Slows events down for a moment, because the program writes statuses.
    pub fn throttle(&self) {
        self.0.busy.store(true, Ordering::Relaxed);
    }

    /// Sends an event about an object; of a longer message the first [`LONGEST_MESSAGE`] bytes. Never waits for the API
    /// server. A repetition is counted and not written each time.
    pub fn emit(
        &self,
        about: &ObjectReference,
        severity: Severity,
        reason: &'static str,
        message: impl Display,
    ) {
        let record = EventRecord {
            about: about.clone(),
            severity,
            reason,
            message: shorten(message, LONGEST_MESSAGE),
        };
        let (now, wall) = (Instant::now(), Timestamp::now());
        let dropped = self.0.correlator().handle(record, now, wall);
        self.0.dropped.inc_by(dropped);
        self.0.emitted.notify_one();
    }
}

impl WaitingEvents {
    fn correlator(&self) -> MutexGuard<'_, Correlator> {
        // A panic ends the program.
        self.correlator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventTask {
    async fn run(self) -> Infallible {
        loop {
            let (write, due) = {
                let mut correlator = self.waiting.correlator();
                (correlator.poll(Instant::now()), correlator.poll_timeout())
            };
            if let Some(write) = write {
                self.write(&write).await;
                if self.waiting.busy.swap(false, Ordering::Relaxed) {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                continue;
            }
            // Cancel safety: a notification that comes while the task is elsewhere is kept.
            tokio::select! {
                () = self.waiting.emitted.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    async fn write(&self, write: &EventWrite) {
        let Err(failure) = within(TIMEOUT, self.request(write)).await else {
            return;
        };
        let error = failure.message();
        if !is_away() {
            warn!(
                reason = write.record.reason,
                error, "an event could not be sent; events of the core group need create and patch"
            );
        }
        self.waiting.dropped.inc();
        // An Event that another writer changed at the same time is still there: the next repetition has its count.
        if !(write.exists && matches!(failure, Failure::Outdated(_))) {
            self.waiting.correlator().handle_lost(write);
        }
    }

    async fn request(&self, write: &EventWrite) -> kube::Result<()> {
        let about = &write.record.about;
        // As client-go: events about objects without a namespace are in the namespace `default`.
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let (object, first) = (
            about.name.as_deref().unwrap_or_default(),
            write.first.as_nanosecond(),
        );
        let name = format!("{object}.{first:x}");
        if write.exists {
            let patch = json!({
                "count": write.count,
                "lastTimestamp": Time(write.last),
                "message": write.record.message,
            });
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                // It has expired.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => return result.map(drop),
            }
        }
        let event = self.event(name, namespace, write);
        api.create(&PostParams::default(), &event).await?;
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
            reason: Some(write.record.reason.to_owned()),
            message: Some(write.record.message.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What 1 000 hostile changes may cost.
    const MOST: usize = 10_000_000;

    /// Events of a program whose API server is away.
    fn events() -> Events {
        let config = kube::Config::new("http://127.0.0.1:9".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        Events::start(client, "test", "test", &prometheus::Registry::new()).expect("a new registry")
    }

    fn service(namespace: &str, name: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("Service".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }
    }

    #[tokio::test]
    async fn memory_is_bounded_whatever_is_said() {
        let events = events();
        let long = "x".repeat(256 * 1024);
        for i in 0..1000 {
            let about = service("tenant", &format!("service-{}", i % 100));
            events.emit(&about, Severity::Warning, "Failed", format_args!("{i}: {long}"));
        }
        let after_patches = events.0.correlator().bytes();
        assert!(after_patches < MOST, "{after_patches}");
        for i in 0..50_000 {
            let about = service("tenant", &format!("other-{i}"));
            events.emit(&about, Severity::Warning, "Failed", &long);
        }
        let after_flood = events.0.correlator().bytes();
        assert!(after_flood < 2 * MOST, "{after_flood}");
    }

    #[tokio::test]
    async fn a_message_is_cut_when_it_is_made_and_marked_as_cut() {
        let events = events();
        let about = service("default", "web");
        events.emit(
            &about,
            Severity::Normal,
            "Reason",
            "x".repeat(LONGEST_MESSAGE + 1),
        );
        let write = events.0.correlator().poll(Instant::now()).expect("a write");
        assert_eq!(write.record.message.len(), LONGEST_MESSAGE);
        assert!(write.record.message.ends_with("... (cut)"));
    }
}
