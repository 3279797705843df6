//! Kubernetes Events, sent in the background: nobody waits for them, and a flood is dropped and counted.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus::IntCounter;
use tokio::sync::mpsc;
use tracing::warn;

use crate::log::one_line;

/// More than this many unsent events are dropped: they inform, they are not the state.
const QUEUE: usize = 1024;
/// An API server that does not answer must not hold the queue for longer than this.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits of `events.k8s.io/v1`, in bytes.
const LONGEST_NOTE: usize = 1024;
/// The recorder counts an event as a repetition when action and reason are the same, whatever the note says. The
/// action therefore repeats the note, so that another message is another event.
const LONGEST_ACTION: usize = 128;

/// Whether an event is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Sends events about objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
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
        let dropped = IntCounter::new(
            "herald_events_dropped_total",
            "Kubernetes events that were not sent because the queue was full",
        )?;
        registry.register(Box::new(dropped.clone()))?;
        let (queue, receiver) = mpsc::channel(QUEUE);
        let reporter = Reporter {
            controller: component.to_owned(),
            instance: Some(instance.to_owned()),
        };
        tokio::spawn(send(Recorder::new(client, reporter), receiver));
        Ok(Self { queue, dropped })
    }

    /// Tells users of `about` something. Never waits.
    pub fn emit(&self, about: &ObjectReference, severity: Severity, reason: &str, note: String) {
        let event = Event {
            type_: match severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            action: cut(&note, LONGEST_ACTION).to_owned(),
            note: Some(cut(&note, LONGEST_NOTE).to_owned()),
            secondary: None,
        };
        if self.queue.try_send((event, about.clone())).is_err() {
            self.dropped.inc();
        }
    }
}

/// The beginning of `text`, at most `limit` bytes of it.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

async fn send(recorder: Recorder, mut receiver: mpsc::Receiver<(Event, ObjectReference)>) {
    while let Some((event, about)) = receiver.recv().await {
        match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = one_line(&error);
                warn!(reason = event.reason, error, "an event could not be sent");
            }
            Err(_) => warn!(
                reason = event.reason,
                "the API server did not take an event in time"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("short", 128), "short");
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut(&"x".repeat(2000), LONGEST_NOTE).len(), LONGEST_NOTE);
    }
}
