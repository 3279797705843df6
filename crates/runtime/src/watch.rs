//! Watches as inputs: what the API server says about a kind, as whole replacements and single changes.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::Api;
use kube::core::Resource;
use kube::runtime::watcher as watch_kind;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::sleep;
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
    let mut stream = watch_kind(api, config.timeout(WATCH_SECONDS)).boxed();
    let mut retry = Retry::default();
    let mut listed = Vec::new();
    while let Some(event) = stream.next().await {
        let update = match event {
            Err(error) => {
                report(&plural, &error);
                let delay = retry.after(Instant::now(), is_gap(&error));
                sleep(delay.mul_f64(jitter(0.75, 1.0))).await;
                continue;
            }
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

/// Whether the server is there but does not remember the version that the watch went on from (410 Gone), so that a new
/// list is due. A restarted API server says so.
fn is_gap(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// Back-off of a watch: from 0.2 s doubling to 5 s, with a jitter of a quarter, so that a returning API
/// server is used within seconds and not hit by everybody at once. It starts over after a quiet time and not
/// with the next event: every attempt at a list begins with one. It also starts over with a gap, unless
/// the list after the last one has led to nothing but another.
#[derive(Debug, Clone, Default)]
struct Retry {
    attempts: u32,
    last: Option<(Instant, bool)>,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);
    /// Twice the longest delay, so that a delay itself is no quiet time.
    const QUIET: Duration = Duration::from_secs(10);

    /// How long to wait after an error met `now`.
    fn after(&mut self, now: Instant, gap: bool) -> Duration {
        if let Some((last, was_gap)) = self.last
            && (now.duration_since(last) > Self::QUIET || (gap && !was_gap))
        {
            self.attempts = 0;
        }
        let delay = Self::FIRST
            .saturating_mul(1 << self.attempts.min(6))
            .min(Self::LAST);
        self.attempts = self.attempts.saturating_add(1);
        self.last = Some((now, gap));
        delay
    }
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
                let delay = retry.after(now, false);
                now += delay;
                delay
            })
            .collect();
        assert_eq!(delays[0], Retry::FIRST);
        assert!(delays.is_sorted());
        assert_eq!(delays[9], Retry::LAST);
        assert_eq!(retry.after(now + Duration::from_secs(11), false), Retry::FIRST);
    }

    #[test]
    fn a_list_after_a_gap_is_not_delayed_by_earlier_failures_but_by_earlier_gaps() {
        let mut retry = Retry::default();
        let now = Instant::now();
        let delays = [false, false, false, true, true, true, false].map(|gap| retry.after(now, gap));
        assert_eq!(
            delays.map(|delay| delay.as_millis()),
            [200, 400, 800, 200, 400, 800, 1600]
        );
    }

    #[test]
    fn a_jitter_stays_within_its_bounds() {
        assert!((0..100).all(|_| (0.75..=1.0).contains(&jitter(0.75, 1.0))));
    }
}
