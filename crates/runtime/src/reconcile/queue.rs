//! Writes to many objects: several at a time, one for each object, the newest replaces one that waits, and the namespaces take
//! turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use herald_core::{Backoff, ServiceKey};
use tokio::task::JoinSet;

use super::{Failure, TIMEOUT, within};
use crate::fair_queue::FairQueue;
use crate::lease::Leadership;

/// Requests in flight at a time: enough to hide the latency of an API server, few enough not to crowd it.
const PARALLEL: usize = 32;
/// Writes that wait before the caller should keep further ones to itself: enough that no request waits for the caller. A patch
/// takes some kilobytes, and thousands of objects may change at once.
const ROOM: usize = 2 * PARALLEL;
/// Pause after the first failure in a row; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause while the API server is away or busy, so that writes go on soon after it returns.
const AWAY_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause after a refusal: an administrator has to change a permission or a policy first.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// Sends a write to an object and returns the `resourceVersion` that it made.
type SendWrite<K, W> = dyn Fn(K, W) -> BoxFuture<'static, kube::Result<Option<String>>> + Send + Sync;

/// An object that writes go to.
pub trait WriteTarget: Ord + Clone + Send + Sync + 'static {
    /// Returns the namespace whose users cause the writes.
    fn namespace(&self) -> &str;

    /// Returns the pause after a success.
    fn spacing(&self) -> Option<Duration> {
        None
    }
}

/// The Service that an object is about.
impl WriteTarget for ServiceKey {
    fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// The writes that wait or are in flight.
pub struct WriteQueue<K, W> {
    send: Arc<SendWrite<K, W>>,
    /// The fence: without the Lease nothing is sent. `None` where each process writes its own objects only.
    leadership: Option<Leadership>,
    /// One write for each object that waits.
    waiting: BTreeMap<K, W>,
    /// The objects that wait, without those in flight. A write that was cancelled leaves its place.
    turns: FairQueue<String, K>,
    in_flight: BTreeSet<K>,
    /// Of the objects whose last write failed.
    backoffs: BTreeMap<K, Backoff>,
    requests: JoinSet<QueueEvent<K>>,
}

/// Something that happened to the writes of an object.
#[derive(Debug)]
pub enum QueueEvent<K> {
    /// A write ended.
    Written(K, Written),
    /// The pause after a failure, or after a success of an object with spacing, is over.
    PauseOver(K),
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It succeeded. The object has this version now, if versions are numbers.
    Version(Option<u64>),
    /// The object has changed or is gone: the watch will show it. Should it show nothing new, [`QueueEvent::PauseOver`]
    /// allows another attempt.
    Outdated,
    /// The API server refuses the write.
    Refused(String),
    /// The API server is away or busy.
    Failed(String),
    /// It was not sent: another process may hold the Lease by now.
    Fenced,
}

impl<K, W> WriteQueue<K, W>
where
    K: WriteTarget,
    W: Send + 'static,
{
    /// A queue of writes that `send` sends while `leadership` holds, or at any time without one. After a success the object
    /// is left alone for its [`WriteTarget::spacing`].
    pub fn new<F>(leadership: Option<Leadership>, send: impl Fn(K, W) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = kube::Result<Option<String>>> + Send + 'static,
    {
        Self {
            send: Arc::new(move |object, write| send(object, write).boxed()),
            leadership,
            waiting: BTreeMap::new(),
            turns: FairQueue::default(),
            in_flight: BTreeSet::new(),
            backoffs: BTreeMap::new(),
            requests: JoinSet::new(),
        }
    }

    /// Sends `write` as soon as there is room. It replaces a write that waits for the same object.
    pub fn submit(&mut self, object: K, write: W) {
        let is_in_flight = self.in_flight.contains(&object);
        if self.waiting.insert(object.clone(), write).is_none() && !is_in_flight {
            self.turns.push(object.namespace().to_owned(), object);
        }
        self.start();
    }

    /// Whether few enough writes wait that the next ones should be made. A caller that makes them only then keeps what it
    /// knows of each object instead of a patch. Each event of [`Self::next`] may make room.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < ROOM
    }

    /// Drops the write that waits for an object.
    pub fn cancel(&mut self, object: &K) {
        self.waiting.remove(object);
    }

    /// Drops all writes that wait. Those in flight go on.
    pub fn cancel_all(&mut self) {
        self.waiting.clear();
        self.turns.clear();
    }

    /// Waits until nothing is in flight.
    pub async fn finish(&mut self) {
        while !self.in_flight.is_empty() {
            self.next().await;
        }
    }

    /// Whether nothing waits or is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// Returns the next event. Waits while there is none.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: requests run in tasks of their own, and their events stay until they are taken.
    ///
    /// # Panics
    /// When a request panicked.
    pub async fn next(&mut self) -> QueueEvent<K> {
        match self.requests.join_next().await {
            Some(Ok(event)) => {
                if let QueueEvent::Written(object, written) = &event {
                    self.handle_written(object, written);
                    self.start();
                }
                event
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }

    /// Starts the pause of one object; other objects do not wait for it.
    fn handle_written(&mut self, object: &K, written: &Written) {
        let limit = match written {
            Written::Version(_) => None,
            Written::Outdated | Written::Failed(_) | Written::Fenced => Some(AWAY_PAUSE),
            Written::Refused(_) => Some(REFUSED_PAUSE),
        };
        let pause = match limit {
            Some(limit) => {
                let backoff = self.backoffs.entry(object.clone());
                let backoff = backoff.or_insert(Backoff::new(FIRST_PAUSE, REFUSED_PAUSE));
                Some(backoff.pause_within(limit))
            }
            None => {
                self.backoffs.remove(object);
                object.spacing()
            }
        };
        self.in_flight.remove(object);
        if self.waiting.contains_key(object) {
            self.turns.push(object.namespace().to_owned(), object.clone());
        }
        if let Some(pause) = pause {
            let object = object.clone();
            self.requests.spawn(async move {
                tokio::time::sleep(pause).await;
                QueueEvent::PauseOver(object)
            });
        }
    }

    /// Starts what may start: an object whose last write is still in flight waits for its end.
    fn start(&mut self) {
        while self.in_flight.len() < PARALLEL
            && let Some(object) = self.turns.pop()
        {
            if let Some(write) = self.waiting.remove(&object) {
                self.in_flight.insert(object.clone());
                let (send, leadership) = (Arc::clone(&self.send), self.leadership.clone());
                self.requests.spawn(async move {
                    let written = fenced(leadership.as_ref(), || send(object.clone(), write)).await;
                    QueueEvent::Written(object, written)
                });
            }
        }
    }
}

/// Asks for the Lease at the last moment, because this process may have been paused since the decision. The Lease outlasts
/// the request, so that the next holder finds none of our requests in flight.
async fn fenced(
    leadership: Option<&Leadership>,
    request: impl FnOnce() -> BoxFuture<'static, kube::Result<Option<String>>>,
) -> Written {
    let Some(remaining) = leadership.map_or(Some(TIMEOUT), Leadership::remaining) else {
        return Written::Fenced;
    };
    match within(remaining.min(TIMEOUT), request()).await {
        Ok(version) => Written::Version(version.and_then(|version| version.parse().ok())),
        Err(Failure::Outdated(_)) => Written::Outdated,
        Err(Failure::Refused(message)) => Written::Refused(message),
        Err(Failure::Unavailable(message)) => Written::Failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    impl WriteTarget for &'static str {
        /// `namespace/name`, or a name.
        fn namespace(&self) -> &str {
            self.split_once('/').unwrap_or_default().0
        }

        fn spacing(&self) -> Option<Duration> {
            (*self == "counted").then_some(Duration::from_millis(1))
        }
    }

    type Sent = Arc<Mutex<Vec<(&'static str, u32)>>>;

    /// A queue whose requests end when `gate` lets them. `"conflict"` and `"away"` are objects that fail.
    fn queue(leadership: Option<Leadership>) -> (WriteQueue<&'static str, u32>, Sent, Arc<Semaphore>) {
        let (sent, gate) = (Sent::default(), Arc::new(Semaphore::new(0)));
        let (log, pass) = (Arc::clone(&sent), Arc::clone(&gate));
        let queue = WriteQueue::new(leadership, move |object, write| {
            log.lock().expect("no panic").push((object, write));
            let pass = Arc::clone(&pass);
            async move {
                pass.acquire().await.expect("open").forget();
                match object {
                    "conflict" => Err(failure(409)),
                    "away" => Err(failure(503)),
                    _ => Ok(Some(write.to_string())),
                }
            }
        });
        (queue, sent, gate)
    }

    fn failure(code: u16) -> kube::Error {
        kube::Error::Api(kube::core::Status::failure("text", "x").with_code(code).boxed())
    }

    fn held() -> Leadership {
        Leadership::of_test(Some(Duration::from_secs(60)))
    }

    #[tokio::test]
    async fn one_write_of_an_object_is_in_flight_and_the_newest_follows() {
        let (mut queue, sent, gate) = queue(Some(held()));
        for write in 1..=3 {
            queue.submit("a", write);
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        for expected in [1, 3] {
            let event = queue.next().await;
            assert!(matches!(event, QueueEvent::Written("a", Written::Version(Some(v))) if v == expected));
        }
        assert!(queue.is_idle());
        assert_eq!(*sent.lock().expect("no panic"), [("a", 1), ("a", 3)]);
    }

    #[tokio::test]
    async fn a_namespace_with_many_writes_delays_others_by_one_round() {
        let (mut queue, sent, gate) = queue(Some(held()));
        for i in 0..1000 {
            queue.submit(format!("noisy/{i}").leak(), 1);
        }
        queue.submit("quiet/web", 1);
        queue.submit("other/web", 1);
        gate.add_permits(PARALLEL + 4);
        for _ in 0..4 {
            queue.next().await;
        }
        queue.cancel_all();
        queue.finish().await;
        let sent = sent.lock().expect("no panic");
        assert_eq!(sent.len(), PARALLEL + 4);
        assert!(
            ["quiet/web", "other/web"]
                .iter()
                .all(|object| sent.contains(&(*object, 1)))
        );
    }

    #[tokio::test]
    async fn there_is_room_again_as_soon_as_writes_end() {
        let (mut queue, _, gate) = queue(Some(held()));
        let mut made = 0;
        while queue.has_room() {
            queue.submit(format!("default/{made}").leak(), 1);
            made += 1;
        }
        assert_eq!(made, PARALLEL + ROOM);
        gate.add_permits(1);
        queue.next().await;
        assert!(queue.has_room());
    }

    #[tokio::test]
    async fn a_failure_pauses_its_object_only() {
        let (mut queue, _, gate) = queue(Some(held()));
        gate.add_permits(8);
        for (object, expected) in [
            ("conflict", Written::Outdated),
            ("away", Written::Failed("text".to_owned())),
        ] {
            queue.submit(object, 1);
            let event = queue.next().await;
            assert!(matches!(event, QueueEvent::Written(o, written) if o == object && written == expected));
        }
        queue.submit("a", 1);
        assert!(matches!(queue.next().await, QueueEvent::Written("a", _)));
        assert!(matches!(queue.next().await, QueueEvent::PauseOver("conflict")));
        assert!(matches!(queue.next().await, QueueEvent::PauseOver("away")));
    }

    #[tokio::test]
    async fn an_object_with_spacing_pauses_after_a_success_too() {
        let (mut queue, _, gate) = queue(Some(held()));
        gate.add_permits(1);
        queue.submit("counted", 1);
        assert!(matches!(
            queue.next().await,
            QueueEvent::Written("counted", Written::Version(_))
        ));
        assert!(matches!(queue.next().await, QueueEvent::PauseOver("counted")));
    }

    #[tokio::test]
    async fn nothing_is_sent_without_the_lease() {
        let (mut queue, sent, _) = queue(Some(Leadership::of_test(None)));
        queue.submit("a", 1);
        assert!(matches!(
            queue.next().await,
            QueueEvent::Written("a", Written::Fenced)
        ));
        assert!(sent.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn where_each_process_has_its_own_objects_no_lease_is_needed() {
        let (mut queue, sent, gate) = queue(None);
        gate.add_permits(1);
        queue.submit("a", 1);
        assert!(matches!(
            queue.next().await,
            QueueEvent::Written("a", Written::Version(Some(1)))
        ));
        assert_eq!(*sent.lock().expect("no panic"), [("a", 1)]);
    }

    #[tokio::test]
    async fn a_cancelled_write_is_not_sent() {
        let (mut queue, sent, gate) = queue(Some(held()));
        queue.submit("a", 1);
        queue.submit("a", 2);
        queue.cancel(&"a");
        gate.add_permits(1);
        queue.finish().await;
        assert!(queue.is_idle());
        assert_eq!(*sent.lock().expect("no panic"), [("a", 1)]);
    }
}
