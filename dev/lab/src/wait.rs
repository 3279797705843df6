//! Waiting for a condition instead of for a time.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep};

/// Between two looks: short beside everything that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until `check` finds something, at most `patience`. The error names `what` was
/// awaited and what the last look met with.
pub async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut check: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let outcome = check().await;
        match outcome {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() > deadline => {
                return Err(anyhow!("{what}: not within {patience:?}"));
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}: not within {patience:?}")));
            }
            Ok(None) | Err(_) => sleep(LOOK).await,
        }
    }
}
