//! Watches of the objects of a kind, as a stream of changes. The changes of a list come together.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt;
use herald_core::Backoff;
use kube::Api;
use kube::core::Resource;
use kube::runtime::watcher as watch_kind;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::log::one_line;

/// A change of the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<T> {
    /// The object is new or changed.
    Applied(T),
    /// The object is gone.
    Deleted(ObjectKey),
    /// The API server has listed all objects: at the start, and after every gap in the watch. Before it comes `Deleted`
    /// for each object that went in the gap, then `Applied` for each object that exists, all in one message.
    Synced,
}

/// Name of an object within its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`; empty for objects without a namespace.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// A quiet connection is closed after this many seconds (plus five): a peer that died and drops packets without an
/// answer is noticed only so.
const WATCH_SECONDS: u32 = 45;

/// Watches a kind for as long as the receiver lives. A message has one change, or all changes of a list: in between, an
/// object that was replaced in a gap would be missing. Each object is reduced by `convert` on arrival, so that only what
/// the program uses is kept. Errors are logged and the request is repeated, from 0.2 s to 5 s apart.
///
/// # Cancel safety
/// The future may be dropped at any time; an update that was not sent is lost with it.
pub async fn watch<K, T, I>(
    api: Api<K>,
    config: watcher::Config,
    convert: impl Fn(K) -> T,
    into: impl Fn(Update<T>) -> I,
    sender: mpsc::Sender<Vec<I>>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let plural = K::plural(&());
    let mut stream = watch_kind(api, config.timeout(WATCH_SECONDS)).boxed();
    let mut retry = Retry::default();
    let mut differ = Differ::default();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                report(&plural, &error);
                let delay = retry.after(Instant::now(), is_gap(&error));
                sleep(delay.mul_f64(jitter(0.75, 1.0))).await;
                continue;
            }
        };
        let updates = differ.handle(event, &convert);
        if matches!(updates.last(), Some(Update::Synced)) {
            info!(kind = %plural, objects = differ.present.len(), "listed");
        }
        let message: Vec<I> = updates.into_iter().map(&into).collect();
        if !message.is_empty() && sender.send(message).await.is_err() {
            return;
        }
    }
}

/// Turns lists into changes. Only the names of the objects are kept.
#[derive(Debug)]
struct Differ<T> {
    /// `namespace/name` of the objects that exist.
    present: BTreeSet<Box<str>>,
    /// The objects of the list that is being read.
    listed: Vec<(Box<str>, T)>,
}

impl<T> Default for Differ<T> {
    fn default() -> Self {
        Self {
            present: BTreeSet::new(),
            listed: Vec::new(),
        }
    }
}

impl<T> Differ<T> {
    /// Returns the changes that an event of the watch means. A list that breaks off means none.
    fn handle<K: Resource>(&mut self, event: Event<K>, convert: impl Fn(K) -> T) -> Vec<Update<T>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.push((name_of(&object), convert(object)));
                Vec::new()
            }
            Event::InitDone => self.finish_list(),
            Event::Apply(object) => {
                self.present.insert(name_of(&object));
                vec![Update::Applied(convert(object))]
            }
            Event::Delete(object) => {
                let name = name_of(&object);
                self.present.remove(&name);
                vec![Update::Deleted(ObjectKey::parse(&name))]
            }
        }
    }

    fn finish_list(&mut self) -> Vec<Update<T>> {
        let mut gone = std::mem::take(&mut self.present);
        let mut applied = Vec::with_capacity(self.listed.len());
        for (name, object) in self.listed.drain(..) {
            gone.remove(&name);
            self.present.insert(name);
            applied.push(Update::Applied(object));
        }
        self.listed.shrink_to_fit();
        let deleted = gone.iter().map(|name| Update::Deleted(ObjectKey::parse(name)));
        deleted.chain(applied).chain([Update::Synced]).collect()
    }
}

impl ObjectKey {
    /// Reads `namespace/name`.
    fn parse(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or_default();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// `namespace/name`; neither part can have a slash.
fn name_of(object: &impl Resource) -> Box<str> {
    let meta = object.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}").into_boxed_str()
}

/// Logs an error in one line, with the remedy where there is one.
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

/// Whether the API server does not have the version any more from which the watch continued (410 Gone), so that a new list
/// is due. A restarted API server answers so.
fn is_gap(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// Back-off of a watch: from 0.2 s doubling to 5 s, with a jitter of a quarter, so that an API server that returns is used
/// within seconds and not by all watches at once. The back-off starts over after a quiet time and not with the next event,
/// because every attempt at a list begins with one. It also starts over with a gap, unless the list after the last gap led
/// to another gap.
#[derive(Debug, Clone)]
struct Retry {
    backoff: Backoff,
    last: Option<(Instant, bool)>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(Self::FIRST, Self::LAST),
            last: None,
        }
    }
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);
    /// Twice the longest pause, so that a pause itself is no quiet time.
    const QUIET: Duration = Duration::from_secs(10);

    /// Returns the pause after an error at `now`.
    fn after(&mut self, now: Instant, gap: bool) -> Duration {
        if let Some((last, was_gap)) = self.last
            && (now.duration_since(last) > Self::QUIET || (gap && !was_gap))
        {
            self.backoff.reset();
        }
        self.last = Some((now, gap));
        self.backoff.pause()
    }
}

/// Returns a factor between `low` and `high`, from the randomness of the standard library's hasher keys.
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
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::api::ObjectMeta;

    fn object(name: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("default".to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn updates(differ: &mut Differ<String>, events: Vec<Event<ConfigMap>>) -> Vec<Update<String>> {
        let convert = |object: ConfigMap| object.name_any();
        let updates = events.into_iter().map(|event| differ.handle(event, convert));
        updates.collect::<Vec<_>>().concat()
    }

    fn list(names: &[&str]) -> Vec<Event<ConfigMap>> {
        let objects = names.iter().map(|name| Event::InitApply(object(name)));
        [Event::Init]
            .into_iter()
            .chain(objects)
            .chain([Event::InitDone])
            .collect()
    }

    fn applied(name: &str) -> Update<String> {
        Update::Applied(name.to_owned())
    }

    fn deleted(name: &str) -> Update<String> {
        Update::Deleted(ObjectKey {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn a_list_after_a_gap_deletes_first_what_went_in_the_gap() {
        let mut differ = Differ::default();
        let first = updates(&mut differ, list(&["a", "b"]));
        assert_eq!(first, [applied("a"), applied("b"), Update::Synced]);
        let live = vec![Event::Apply(object("c")), Event::Delete(object("a"))];
        assert_eq!(updates(&mut differ, live), [applied("c"), deleted("a")]);
        let second = updates(&mut differ, list(&["c", "d"]));
        assert_eq!(second, [deleted("b"), applied("c"), applied("d"), Update::Synced]);
        let empty = updates(&mut differ, list(&[]));
        assert_eq!(empty, [deleted("c"), deleted("d"), Update::Synced]);
    }

    #[test]
    fn a_list_that_breaks_off_changes_nothing() {
        let mut differ = Differ::default();
        updates(&mut differ, list(&["a"]));
        let broken = vec![Event::Init, Event::InitApply(object("b"))];
        assert_eq!(updates(&mut differ, broken), []);
        let again = updates(&mut differ, list(&["a"]));
        assert_eq!(again, [applied("a"), Update::Synced]);
    }

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
