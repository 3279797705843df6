//! The events on their way from the wire thread to the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use herald_core::announce::layer2::WireEvent;
use tokio::sync::mpsc;

/// Events that may wait before claims are held back.
pub(super) const WAITING_EVENTS: usize = 4096;

/// Returns both ends of a queue of events.
///
/// The sender never waits, because the wire thread and the sender of commands could wait for each other.
pub(super) fn queue() -> (EventSender, WireEvents) {
    #[expect(
        clippy::disallowed_methods,
        reason = "commands bound the results of probes and the announcements, and `has_room` bounds the claims"
    )]
    let (queue, received) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    let sender = EventSender {
        queue,
        waiting: Arc::clone(&waiting),
    };
    (sender, WireEvents { received, waiting })
}

/// The end of the wire thread.
pub(super) struct EventSender {
    queue: mpsc::UnboundedSender<WireEvent>,
    waiting: Arc<AtomicUsize>,
}

impl EventSender {
    /// Whether few enough events wait that claims may follow. Other machines decide how many claims there are; the other
    /// events follow from commands, and need no room.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < WAITING_EVENTS
    }

    pub(super) fn send(&self, event: WireEvent) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Fails only while the program ends.
        let _ended = self.queue.send(event);
    }
}

/// Receives the events of the station.
pub struct WireEvents {
    received: mpsc::UnboundedReceiver<WireEvent>,
    waiting: Arc<AtomicUsize>,
}

impl WireEvents {
    /// Waits for events and appends at most `limit` of them to `events`. Returns how many, 0 when the wire thread has
    /// ended. A caller that stops waiting loses none.
    pub async fn recv_many(&mut self, events: &mut Vec<WireEvent>, limit: usize) -> usize {
        let received = self.received.recv_many(events, limit).await;
        self.waiting.fetch_sub(received, Ordering::Relaxed);
        received
    }
}
