//! Watches as inputs: what the API server says about a kind, as whole replacements and single changes.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use kube::Api;
use kube::core::Resource;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_kind};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::log::one_line;

/// What happened to the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<T> {
    /// These are all there are; any other is gone. First of all, and after every gap in the watch.
    Replaced(Vec<T>),
    /// This one is new or changed.
    Applied(T),
    /// This one is gone; as it was last.
    Deleted(T),
}

/// How a watch is kept up: a quiet connection is given up after this many seconds (plus five), because a
/// dead peer that drops packets silently is noticed only so.
const WATCH_SECONDS: u32 = 45;

/// Watches a kind for as long as the receiver lives. Each object is reduced by `convert` on arrival, so only
/// what the program uses is kept. Errors are logged and met with retries, from 0.2 s to 5 s apart.
pub async fn watch<K, T, I>(
    api: Api<K>,
    config: watcher::Config,
    convert: impl Fn(K) -> T,
    into: impl Fn(Update<T>) -> I,
    sender: mpsc::Sender<I>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let plural = K::plural(&());
    let mut stream = watch_kind(api, config.timeout(WATCH_SECONDS))
        .backoff(Retry::default())
        .inspect_err(|error| report(&plural, error))
        .boxed();
    let mut listed = Vec::new();
    while let Some(event) = stream.next().await {
        let update = match event {
            Err(_) => continue,
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.push(convert(object));
                continue;
            }
            Ok(Event::InitDone) => {
                info!(kind = %plural, objects = listed.len(), "listed");
                Update::Replaced(std::mem::take(&mut listed))
            }
            Ok(Event::Apply(object)) => Update::Applied(convert(object)),
            Ok(Event::Delete(object)) => Update::Deleted(convert(object)),
        };
        if sender.send(into(update)).await.is_err() {
            return;
        }
    }
}

/// One line with the remedy where there is one.
fn report(plural: &str, error: &watcher::Error) {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchError(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    };
    match status.map(|s| s.code) {
        Some(404) => warn!(
            kind = plural,
            "the API server does not know this kind: install the custom resource definitions (crds/); trying again"
        ),
        Some(400) => {
            warn!(kind = plural, %error, "the API server refuses this watch; for Services it has to be 1.31 or newer")
        }
        Some(403) => {
            warn!(kind = plural, %error, "not allowed to watch: check the RBAC rules of this program; trying again")
        }
        Some(_) | None => {
            let error = one_line(error);
            warn!(kind = plural, %error, "watch interrupted; trying again");
        }
    }
}

/// Back-off of a watch: from 0.2 s doubling to 5 s, with a jitter of a quarter, so that a returning API
/// server is used within seconds and not hit by everybody at once. It starts over after a quiet time and not
/// with the next event: every attempt at a list begins with one.
#[derive(Debug, Clone, Default)]
struct Retry {
    attempts: u32,
    last: Option<Instant>,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);
    /// Twice the longest delay, so that a delay itself is no quiet time.
    const QUIET: Duration = Duration::from_secs(10);

    fn after(&mut self, now: Instant) -> Duration {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) > Self::QUIET)
        {
            self.attempts = 0;
        }
        let delay = Self::FIRST
            .saturating_mul(1 << self.attempts.min(6))
            .min(Self::LAST);
        self.attempts = self.attempts.saturating_add(1);
        self.last = Some(now);
        delay
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after(Instant::now()).mul_f64(jitter(0.75, 1.0)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {}
}

/// A factor between `low` and `high` from the randomness of the standard library's hasher keys.
fn jitter(low: f64, high: f64) -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    let unit = bits as f64 / (1_u64 << 53) as f64;
    low + (high - low) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_slow_down_to_five_seconds_and_start_over_after_a_quiet_time() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        let delays: Vec<Duration> = (0..10)
            .map(|_| {
                let delay = retry.after(now);
                now += delay;
                delay
            })
            .collect();
        assert_eq!(delays[0], Retry::FIRST);
        assert!(delays.is_sorted());
        assert_eq!(delays[9], Retry::LAST);
        assert_eq!(retry.after(now + Duration::from_secs(11)), Retry::FIRST);
    }

    #[test]
    fn a_jitter_stays_within_its_bounds() {
        assert!((0..100).all(|_| (0.75..=1.0).contains(&jitter(0.75, 1.0))));
    }
}
