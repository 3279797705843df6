//! Graceful shutdown on SIGTERM or SIGINT, observable by every task.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::task;

/// Whether shutdown was requested. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for SIGTERM and SIGINT from now on. A second signal ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let (sender, receiver) = watch::channel(false);
        task::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if *sender.borrow() {
                    #[expect(clippy::disallowed_methods, reason = "a second signal asks for it")]
                    std::process::exit(130);
                }
                tracing::info!("shutdown requested");
                sender.send_replace(true);
            }
        });
        Ok(Self(receiver))
    }

    /// Waits until shutdown is requested.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the request is a state.
    pub async fn requested(&mut self) {
        // The sender lives as long as the runtime; without it the program ends anyway.
        let _stopped = self.0.wait_for(|stop| *stop).await;
    }
}
