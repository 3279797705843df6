//! Waiting for a condition instead of for a time.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep};

/// The pause between two polls: short beside everything that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls `check` until it returns a value, for at most `limit`. The error names `what` was awaited and the error of the
/// last poll.
pub async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match check().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() > deadline => {
                return Err(anyhow!("{what}: not within {limit:?}"));
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}: not within {limit:?}")));
            }
            Ok(None) | Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}
