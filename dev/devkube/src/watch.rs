//! Watches: what happens to the selected objects, as a stream of JSON lines.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use crate::faults::state::FaultState;
use crate::kinds::Kind;
use crate::reply::{render, shown};
use crate::request::Format;
use crate::selector::Selector;
use crate::shared::Shared;
use crate::status::ApiError;
use crate::store::Change;

/// kube-apiserver sends a bookmark about once a minute.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// Pieces of a response are no longer than this, up to the last line, in bytes.
const PIECE: usize = 64 * 1024;

/// What a client wants to watch.
#[derive(Debug)]
pub(crate) struct Interest {
    /// The kind, as which objects are shown.
    pub(crate) kind: Arc<Kind>,
    /// One namespace, or all.
    pub(crate) namespace: Option<String>,
    /// Which objects.
    pub(crate) selector: Selector,
    /// In what form.
    pub(crate) format: Format,
    /// The Table's `includeObject`.
    pub(crate) include: String,
    /// Where to start.
    pub(crate) start: Start,
    /// Whether the client understands bookmarks.
    pub(crate) bookmarks: bool,
    /// When the watch ends.
    pub(crate) timeout: Duration,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With everything that there is now, and a bookmark after it if asked for.
    Now {
        /// Mark the end of the initial events (`sendInitialEvents`).
        marked: bool,
    },
    /// After a revision.
    After(u64),
}

/// A running watch.
struct Watch {
    shared: Arc<Shared>,
    interest: Interest,
    changes: Receiver<u64>,
    faults: Receiver<FaultState>,
    /// How many times watches had been cut off when this one began.
    dropped_before: u64,
    position: u64,
    lines: VecDeque<Bytes>,
    deadline: Instant,
    bookmark: Interval,
    /// After this line the stream ends.
    over: bool,
}

/// Starts a watch.
pub(crate) fn stream(
    shared: &Arc<Shared>,
    interest: Interest,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + use<> {
    let faults = shared.faults.subscribe();
    let dropped_before = faults.borrow().dropped_watches;
    let now = Instant::now();
    let mut watch = Watch {
        changes: shared.cluster().store.subscribe(&interest.kind.collection),
        shared: Arc::clone(shared),
        faults,
        dropped_before,
        position: 0,
        lines: VecDeque::new(),
        deadline: now + interest.timeout,
        bookmark: interval_at(now + BOOKMARK_PERIOD, BOOKMARK_PERIOD),
        over: false,
        interest,
    };
    watch.begin();
    futures::stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((frame.map(Frame::data), watch))
    })
}

impl Watch {
    fn begin(&mut self) {
        let shared = Arc::clone(&self.shared);
        let cluster = shared.cluster();
        let current = cluster.store.revision();
        let collection = &self.interest.kind.collection;
        match self.interest.start {
            Start::Now { marked } => {
                let objects = cluster
                    .store
                    .objects(collection, self.interest.namespace.as_deref());
                let selected: Vec<_> = objects
                    .filter(|o| self.interest.selector.matches(o))
                    .cloned()
                    .collect();
                for object in selected {
                    self.push("ADDED", &object);
                }
                if marked {
                    self.push_bookmark(current, true);
                }
                self.position = current;
            }
            Start::After(revision)
                if revision < cluster.store.floor(collection)
                    || (revision > current && !self.faults.borrow().restored) =>
            {
                self.push_expired(revision, cluster.store.floor(collection));
            }
            Start::After(revision) => {
                self.position = revision;
                drop(cluster);
                self.catch_up();
            }
        }
    }

    /// The next piece of the response; none at its end.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let faults = self.faults.borrow_and_update().clone();
            if faults.dropped_watches != self.dropped_before {
                return (!std::mem::replace(&mut self.over, true)).then(|| {
                    Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the watch was cut off",
                    ))
                });
            }
            if faults.stalled {
                self.faults.changed().await.ok()?;
                continue;
            }
            if let Some(piece) = self.take_piece() {
                return Some(Ok(piece));
            }
            if self.over {
                return None;
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.ok()?;
                    self.catch_up();
                }
                changed = self.faults.changed() => changed.ok()?,
                () = sleep_until(self.deadline) => {
                    self.catch_up();
                    self.push_bookmark(self.position, false);
                    self.over = true;
                }
                _ = self.bookmark.tick() => {
                    self.catch_up();
                    self.push_bookmark(self.position, false);
                }
            }
        }
    }

    /// As many lines as wait, up to a size.
    fn take_piece(&mut self) -> Option<Bytes> {
        let first = self.lines.pop_front()?;
        if self.lines.is_empty() {
            return Some(first);
        }
        let mut piece = Vec::from(first);
        while piece.len() < PIECE
            && let Some(line) = self.lines.pop_front()
        {
            piece.extend_from_slice(&line);
        }
        Some(piece.into())
    }

    fn catch_up(&mut self) {
        self.changes.mark_unchanged();
        let (changes, current) = {
            let cluster = self.shared.cluster();
            let changes = cluster
                .store
                .changes_since(&self.interest.kind.collection, self.position);
            (changes, cluster.store.revision())
        };
        match changes {
            Some(changes) => {
                for change in changes {
                    self.push_change(&change);
                }
                // After a restore the position may be in the future.
                self.position = self.position.max(current);
            }
            None => self.push_expired(self.position, current),
        }
    }

    fn push_change(&mut self, change: &Change) {
        let Interest {
            namespace, selector, ..
        } = &self.interest;
        if namespace
            .as_ref()
            .is_some_and(|namespace| *namespace != change.key.namespace)
        {
            return;
        }
        let before = change.before.as_ref().filter(|object| selector.matches(object));
        let after = change.after.as_ref().filter(|object| selector.matches(object));
        match (before, after, &change.after, &change.tombstone) {
            (None, Some(object), ..) => self.push("ADDED", &Arc::clone(object)),
            (Some(_), Some(object), ..) => self.push("MODIFIED", &Arc::clone(object)),
            // It left the selector: as deleted, in its last selected form, at this change's version.
            (Some(last), None, Some(_), _) => {
                let mut last = Value::clone(last);
                last["metadata"]["resourceVersion"] = change.revision.to_string().into();
                self.push("DELETED", &Arc::new(last));
            }
            (Some(_), None, None, Some(tombstone)) => self.push("DELETED", &Arc::clone(tombstone)),
            (Some(_), None, None, None) | (None, None, ..) => {}
        }
    }

    fn push(&mut self, event: &str, stored: &Arc<Value>) {
        let kind = &self.interest.kind;
        let object = shown(kind, stored);
        let line = match self.interest.format {
            Format::Json | Format::Discovery => line(event, &object),
            Format::Table | Format::Metadata => line(
                event,
                &render(kind, self.interest.format, &self.interest.include, &object),
            ),
        };
        self.lines.push_back(line);
    }

    fn push_bookmark(&mut self, revision: u64, end_of_initial_events: bool) {
        if !self.interest.bookmarks || self.over {
            return;
        }
        let kind = &self.interest.kind;
        let mut meta = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if end_of_initial_events {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let bookmark = match self.interest.format {
            Format::Table => {
                let mut table =
                    crate::table::table(kind, std::iter::empty(), "", &json!(revision.to_string()));
                let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta});
                table["rows"] = json!([{"cells": [], "object": object}]);
                table
            }
            Format::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            Format::Json | Format::Discovery => {
                json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": meta})
            }
        };
        self.lines.push_back(line("BOOKMARK", &bookmark));
    }

    fn push_expired(&mut self, asked: u64, oldest: u64) {
        let status = ApiError::expired(format!("too old resource version: {asked} ({oldest})")).status();
        self.lines.push_back(line("ERROR", &status));
        self.over = true;
    }
}

/// One event on a line of its own.
fn line(event: &str, object: &Value) -> Bytes {
    let mut line = format!("{{\"type\":\"{event}\",\"object\":").into_bytes();
    // Writing a `Value` to memory cannot fail.
    let _ = serde_json::to_writer(&mut line, object);
    line.extend_from_slice(b"}\n");
    line.into()
}
