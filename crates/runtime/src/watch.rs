//! Watches of the objects of a kind, as a stream of changes. The changes of a list come together.
//!
//! ```text
//!   list ──► watch ◄──┐ after 45 s, or when the connection breaks: from the last version
//!    ▲         └──────┘
//!    └─── the version has expired (410), or the API server shows an older one: it was restored from a backup
//! ```
//!
//! Each object is parsed by itself. One that cannot be parsed is logged and skipped: what was known of it before stays.
//!
//! A restored API server accepts a version that it has not reached yet, and says nothing until it reaches it. So a watch asks
//! for the present version after each broken connection, and from time to time.

mod differ;
mod interruption;
mod item;

use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::Api;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::{Request, Resource};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tracing::{info, warn};

use crate::client::outage;
use differ::Differ;
use interruption::{Interruption, Reports, Retry};

pub use differ::{ObjectKey, Update};
pub use item::Item;

/// How often a watch asks whether the API server shows an older version than before.
pub const VERSION_CHECK: Duration = Duration::from_secs(600);
/// A quiet connection is closed after this many seconds (plus [`TOLERANCE`]): a peer that died and drops packets without an
/// answer is noticed only so.
const WATCH_SECONDS: u32 = 45;
/// How much earlier or later than requested the API server may end a watch.
const TOLERANCE: Duration = Duration::from_secs(5);
/// Objects of a list that are requested at a time, as client-go does.
const PAGE: u32 = 500;

/// Watches the objects of a kind that `selected` selects by label and field, for as long as the program runs. A message has
/// one change, or all changes of a list: in between, an object that was replaced in a gap would be missing. Each object is
/// reduced by `convert` on arrival, so that only what the program uses is kept. Errors are logged and the request is repeated,
/// from 0.2 s to 5 s apart. Every `version_check` (about; [`VERSION_CHECK`] outside of tests) the version is asked for.
///
/// # Cancel safety
/// The future may be dropped at any time; an update that was not sent is lost with it.
pub async fn watch<K, T, I>(
    api: Api<K>,
    selected: ListParams,
    version_check: Duration,
    convert: impl Fn(K) -> T,
    into: impl Fn(Update<T>) -> I,
    sender: mpsc::Sender<Vec<I>>,
) -> Infallible
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let plural = K::plural(&());
    let first_check = tokio::time::Instant::now() + version_check.mul_f64(jitter(0.5, 1.0));
    let mut checks = interval_at(first_check, version_check);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let namespace = api.namespace().map(str::to_owned);
    let client = api.into_client();
    let mut source = Source {
        api: match namespace {
            Some(namespace) => Api::namespaced_with(client, &namespace, &()),
            None => Api::all_with(client, &()),
        },
        selected,
        position: None,
        asked: None,
        is_in_doubt: false,
        checks,
        differ: Differ::default(),
    };
    let (mut retry, mut reports) = (Retry::default(), Reports::default());
    let output = Output { into, sender };
    loop {
        let result = match source.position {
            None => source.list(&convert, &output).await,
            Some(_) => source.follow(&convert, &output).await,
        };
        let Err(interruption) = result else {
            continue;
        };
        let now = Instant::now();
        reports.report(&plural, &interruption, now);
        source.handle(&interruption);
        let delay = retry.after(now, interruption.is_gap());
        sleep(delay.mul_f64(jitter(0.75, 1.0))).await;
    }
}

/// Where the changes go.
struct Output<F, I> {
    into: F,
    sender: mpsc::Sender<Vec<I>>,
}

impl<F, I> Output<F, I> {
    async fn send<T>(&self, updates: Vec<Update<T>>)
    where
        F: Fn(Update<T>) -> I,
    {
        let message: Vec<I> = updates.into_iter().map(&self.into).collect();
        if !message.is_empty() && self.sender.send(message).await.is_err() {
            // The program ends.
            std::future::pending::<()>().await;
        }
    }
}

/// The API server as a source of changes.
struct Source<K, T> {
    api: Api<Item<K>>,
    selected: ListParams,
    /// The version that was shown last; without it a list is due.
    position: Option<Version>,
    /// The version that was asked for last; it counts objects of all kinds, so it may be much newer than the position.
    asked: Option<Version>,
    /// Whether the API server may have been restored since.
    is_in_doubt: bool,
    checks: Interval,
    differ: Differ<T>,
}

/// A `resourceVersion`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    text: String,
    /// Its number, by which API servers order versions.
    number: Option<u64>,
}

impl Version {
    fn new(text: String) -> Self {
        let number = text.parse().ok();
        Self { text, number }
    }

    /// Whether this version is older than another one. One that is no number never is.
    fn is_older_than(&self, other: &Self) -> bool {
        let numbers = self.number.zip(other.number);
        numbers.is_some_and(|(this, other)| this < other)
    }
}

impl<K, T> Source<K, T>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Lists all objects.
    async fn list<I>(
        &mut self,
        convert: &impl Fn(K) -> T,
        output: &Output<impl Fn(Update<T>) -> I, I>,
    ) -> Result<(), Interruption> {
        let mut page = self.selected.clone().limit(PAGE);
        self.differ.begin_list();
        loop {
            let list = self.api.list(&page).await?;
            outage::handle_answer();
            for item in list.items {
                match item {
                    Item::Object(object) => self.differ.handle_listed(object, convert),
                    Item::Unreadable { metadata, error } => {
                        let key = self.differ.handle_listed_unreadable(&metadata);
                        report_unreadable::<K>(key, &error);
                    }
                }
            }
            let rest = list.metadata.continue_.filter(|token| !token.is_empty());
            if rest.is_none() {
                let version = list.metadata.resource_version.unwrap_or_default();
                self.position = Some(Version::new(version));
                self.asked = None;
                self.is_in_doubt = false;
                break;
            }
            page.continue_token = rest;
        }
        let updates = self.differ.finish_list();
        info!(kind = %K::plural(&()), objects = self.differ.len(), "listed");
        output.send(updates).await;
        Ok(())
    }

    /// Watches from the last version on, until the API server ends the watch after its time.
    async fn follow<I>(
        &mut self,
        convert: &impl Fn(K) -> T,
        output: &Output<impl Fn(Update<T>) -> I, I>,
    ) -> Result<(), Interruption> {
        if self.is_in_doubt {
            self.check_version().await?;
            self.is_in_doubt = false;
        }
        let params = WatchParams {
            label_selector: self.selected.label_selector.clone(),
            field_selector: self.selected.field_selector.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            send_initial_events: false,
        };
        let from = self.position.as_ref().map_or("", |version| &version.text);
        let mut events = pin!(self.api.watch(&params, from).await?);
        outage::handle_answer();
        let time = Duration::from_secs(WATCH_SECONDS.into());
        let begin = Instant::now();
        let patience = time + TOLERANCE;
        loop {
            // Cancel safety: `next` loses nothing when a check is due.
            let event = tokio::select! {
                event = timeout(patience, events.next()) => event,
                _ = self.checks.tick() => {
                    self.check_version().await?;
                    continue;
                }
            };
            let event = match event {
                Ok(Some(event)) => event?,
                Ok(None) if begin.elapsed() + TOLERANCE < time => return Err(Interruption::Early),
                Ok(None) => return Ok(()),
                Err(_) => return Err(Interruption::Dead),
            };
            let update = match event {
                WatchEvent::Added(item) | WatchEvent::Modified(item) => {
                    self.advance(item.meta().resource_version.clone())?;
                    match item {
                        Item::Object(object) => self.differ.handle_applied(object, convert),
                        Item::Unreadable { metadata, error } => {
                            let key = self.differ.handle_unreadable(&metadata);
                            report_unreadable::<K>(key, &error);
                            continue;
                        }
                    }
                }
                WatchEvent::Deleted(item) => {
                    self.advance(item.meta().resource_version.clone())?;
                    self.differ.handle_deleted(item.meta())
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.advance(Some(bookmark.metadata.resource_version))?;
                    continue;
                }
                WatchEvent::Error(status) => return Err(Interruption::Status(status)),
            };
            output.send(vec![update]).await;
        }
    }

    /// Takes a version that the API server shows.
    fn advance(&mut self, version: Option<String>) -> Result<(), Interruption> {
        let version = Version::new(version.unwrap_or_default());
        if let Some(before) = &self.position
            && version.is_older_than(before)
        {
            return Err(Interruption::Restored);
        }
        self.position = Some(version);
        Ok(())
    }

    /// Asks for the present version.
    async fn check_version(&mut self) -> Result<(), Interruption> {
        let one = self.selected.clone().limit(1);
        let request = Request::new(self.api.resource_url()).list_metadata(&one);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let client = self.api.clone().into_client();
        let list: ObjectList<IgnoredAny> = client.request(request).await?;
        outage::handle_answer();
        let version = Version::new(list.metadata.resource_version.unwrap_or_default());
        let mut before = self.position.iter().chain(&self.asked);
        if before.any(|before| version.is_older_than(before)) {
            return Err(Interruption::Restored);
        }
        self.asked = Some(version);
        Ok(())
    }

    fn handle(&mut self, interruption: &Interruption) {
        if interruption.is_gap() {
            self.position = None;
        }
        self.is_in_doubt = true;
    }
}

/// Logs that an object cannot be parsed, if that is not known.
fn report_unreadable<K: Resource<DynamicType = ()>>(key: Option<ObjectKey>, error: &str) {
    if let Some(ObjectKey { namespace, name }) = key {
        let kind = K::kind(&());
        warn!(%kind, namespace, name, error, "cannot be parsed: changes of this object are ignored until it can");
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

    #[test]
    fn a_jitter_stays_within_its_bounds() {
        assert!((0..100).all(|_| (0.75..=1.0).contains(&jitter(0.75, 1.0))));
    }

    #[test]
    fn versions_are_compared_as_numbers_and_others_are_never_older() {
        let is_older = |one: &str, other: &str| {
            Version::new(one.to_owned()).is_older_than(&Version::new(other.to_owned()))
        };
        assert!(is_older("99", "100"));
        assert!(!is_older("100", "100") && !is_older("101", "100"));
        assert!(!is_older("", "100") && !is_older("a", "b"));
    }
}
