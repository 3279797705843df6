//! Interrupts: Ctrl-C, SIGTERM, or a terminal that was closed.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the signals that end a lab. Once the first one came the others are ignored: cleaning up takes
/// less than a second, and an impatient second Ctrl-C must not cut it short.
pub struct Interrupt {
    signals: [Signal; 3],
    received: bool,
}

impl Interrupt {
    /// Listens from now on; the signals do not end the process by themselves any more.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            signals: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ],
            received: false,
        })
    }

    /// Waits for the first signal; returns at once if it came already.
    pub async fn requested(&mut self) {
        if !self.received {
            let [interrupt, terminate, hangup] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            self.received = true;
        }
    }
}
