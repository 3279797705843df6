//! Leader election by a `coordination.k8s.io/v1` Lease, held as client-go's leader election holds it, so that the usual
//! tools understand it.
//!
//! Every candidate watches the Lease. A candidate takes the Lease when it is free, when it is released, or when it was not
//! renewed for as long as its holder promised, by the candidate's own clock. The holder may rely on it for a shorter time,
//! which [`Leadership::remaining`] returns: call it immediately before each write, and let no write last longer.
//!
//! The Lease is owned by what controls the Pod of its holder, a ReplicaSet. So the API server deletes the Lease with an
//! installation: a controller whose rights are removed before it ends cannot release the Lease, and the first controller of the
//! next installation would wait until it expires. A holder whose Lease is deleted stops writing until it has created it again.

mod candidate;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::client::is_away;
use crate::clock::uptime;
use crate::reconcile::{Failure, controller_of, within};
use crate::{Update, task};
use candidate::{Attempt, AttemptResult, CandidateStep, LeaseCandidate, LeaseRecord};

/// A renewal that has no answer by then is sent again: well within [`Timing::deadline`].
const TIMEOUT: Duration = Duration::from_secs(4);

/// The three times of client-go's leader election, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that was not renewed for this long is free for others.
    pub duration: Duration,
    /// A holder whose last renewal was sent this long ago stops relying on the Lease. Less than `duration`, by more than
    /// a request of the holder can be in flight after the holder gave it up.
    pub deadline: Duration,
    /// From one renewal, or one failed attempt, to the next.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A Lease for which this process is no candidate yet.
pub struct Lease {
    client: Client,
    namespace: String,
    name: String,
    identity: String,
    timing: Timing,
    held: watch::Sender<Option<Held>>,
}

/// Whether this process holds the Lease. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Held>>);

/// A time of holding the Lease without a gap. What was decided in another term may be wrong by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(u64);

impl Term {
    /// The first term of a process.
    pub const FIRST: Self = Self(1);
}

#[derive(Debug, Clone, Copy)]
struct Held {
    term: Term,
    until: Duration,
}

/// The attempt of this process to hold the Lease, and to keep it.
pub struct Candidacy {
    resign: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Lease {
    /// The Lease `name` in `namespace`. This process will be a candidate by the name `identity`, which no other living
    /// process may use: the name of its Pod.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> (Self, Leadership) {
        let (held, receiver) = watch::channel(None);
        let lease = Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing: Timing::default(),
            held,
        };
        (lease, Leadership(receiver))
    }

    /// Starts to be a candidate for the Lease, in the background.
    pub fn start_candidacy(self) -> Candidacy {
        let (resign, resigned) = oneshot::channel();
        Candidacy {
            resign,
            task: tokio::spawn(self.run(resigned)),
        }
    }

    async fn run(self, mut resigned: oneshot::Receiver<()>) {
        let api: Api<Object> = Api::namespaced(self.client.clone(), &self.namespace);
        let (sender, mut updates) = mpsc::channel(16);
        task::spawn(crate::watch::watch(
            api.clone(),
            named(&self.name),
            crate::watch::VERSION_CHECK,
            record,
            |update| update,
            sender,
        ));
        let owner = self.owner().await;
        let mut candidate = LeaseCandidate::new(&self.identity, self.timing);
        let mut attempts = JoinSet::new();
        let mut other_holder = None;
        let mut shown = None;
        let mut term = Term(0);
        // Cancel safety: `recv` and `join_next` lose nothing when another branch wins; the pause is computed in each round.
        loop {
            let step = candidate.poll(uptime(), Timestamp::now());
            self.publish(&candidate, &mut term);
            if candidate.other_holder() != other_holder.as_deref() {
                other_holder = candidate.other_holder().map(str::to_owned);
                if let Some(holder) = &other_holder {
                    info!(holder, "standing by: another holds the lease {}", self.name);
                }
            }
            let pause = match step {
                CandidateStep::Attempt(wanted) => {
                    attempts.spawn(write(api.clone(), self.name.clone(), owner.clone(), wanted));
                    continue;
                }
                CandidateStep::Wait(until) => until.map(|until| until.saturating_sub(uptime())),
            };
            tokio::select! {
                Some(updates) = updates.recv() => for update in updates {
                    handle_update(&mut candidate, &mut shown, update);
                },
                Some(Ok(result)) = attempts.join_next() => candidate.handle_result(result, uptime()),
                () = sleep(pause) => {}
                _ = &mut resigned => break,
            }
        }
        self.held.send_replace(None);
        // The release replaces the version that the last renewal makes.
        while let Some(Ok(result)) = attempts.join_next().await {
            candidate.handle_result(result, uptime());
        }
        if let Some(release) = candidate.resign(uptime(), Timestamp::now())
            && let AttemptResult::Written(_) = write(api, self.name.clone(), owner, release).await
        {
            info!(
                "the lease {} is given back: another may take it at once",
                self.name
            );
        }
    }

    /// Reads what controls our Pod, once.
    async fn owner(&self) -> Option<OwnerReference> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        controller_of(&pods, &self.identity)
            .await
            .unwrap_or_else(|failure| {
                let error = failure.message();
                warn!(
                    pod = self.identity,
                    error,
                    "cannot read our own Pod: the lease {} will not be deleted with this installation",
                    self.name
                );
                None
            })
    }

    fn publish(&self, candidate: &LeaseCandidate, term: &mut Term) {
        let was_held = self.held.borrow().is_some();
        let until = candidate.held_until();
        match (was_held, until) {
            (false, Some(_)) => {
                term.0 += 1;
                info!(identity = self.identity, "holding the lease {}", self.name);
            }
            (true, None) => warn!(identity = self.identity, "the lease {} is lost", self.name),
            (false, None) | (true, Some(_)) => {}
        }
        let term = *term;
        self.held.send_replace(until.map(|until| Held { term, until }));
    }
}

impl Leadership {
    /// Returns how much longer the Lease may be relied on. `None` if this process does not hold it, or if it has expired
    /// unnoticed because this process was paused.
    pub fn remaining(&self) -> Option<Duration> {
        let until = self.0.borrow().as_ref()?.until;
        until.checked_sub(uptime()).filter(|left| !left.is_zero())
    }

    /// Waits until the term is another one than `term`. `None` means that this process does not hold the Lease.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the term is a state.
    pub async fn after(&mut self, term: Option<Term>) -> Option<Term> {
        let is_other = |held: &Option<Held>| held.map(|held| held.term) != term;
        let shown = self.0.wait_for(is_other).await;
        let term = shown.map(|held| held.map(|held| held.term));
        match term {
            Ok(term) => term,
            // The candidacy has ended.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
impl Leadership {
    /// A Lease that is held for `remaining`, or not at all.
    pub(crate) fn of_test(remaining: Option<Duration>) -> Self {
        let held = remaining.map(|remaining| Held {
            term: Term::FIRST,
            until: uptime() + remaining,
        });
        Self(watch::channel(held).1)
    }
}

impl Candidacy {
    /// Releases the Lease, if it is held, so that another candidate takes it at once. No write may be in flight.
    pub async fn resign(self) {
        // An error means that the task has ended already.
        let _ended = self.resign.send(());
        let _panicked = self.task.await;
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Selects the Lease `name`.
fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}"))
}

fn record(object: Object) -> LeaseRecord {
    LeaseRecord {
        version: object.resource_version().unwrap_or_default(),
        spec: object.spec.unwrap_or_default(),
    }
}

/// Takes what the watch shows. `shown` is the record that the watch showed last. After a list that record counts whatever
/// its version is: an API server that was restored from a backup continues from an older version.
fn handle_update(
    candidate: &mut LeaseCandidate,
    shown: &mut Option<LeaseRecord>,
    update: Update<LeaseRecord>,
) {
    match update {
        Update::Applied(record) => {
            *shown = Some(record.clone());
            candidate.handle_shown(Some(record), uptime());
        }
        Update::Deleted(_) => {
            *shown = None;
            candidate.handle_shown(None, uptime());
        }
        Update::Synced => candidate.handle_listed(shown.clone(), uptime()),
    }
}

/// Creates the Lease, or replaces the version that the candidate knows and no other.
async fn write(
    api: Api<Object>,
    name: String,
    owner: Option<OwnerReference>,
    wanted: Attempt,
) -> AttemptResult {
    let object = Object {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            resource_version: wanted.version.clone(),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(wanted.spec),
    };
    let params = PostParams::default();
    let request = async {
        match wanted.version {
            None => api.create(&params, &object).await,
            Some(_) => api.replace(&name, &params, &object).await,
        }
    };
    match within(TIMEOUT, request).await {
        Ok(object) => AttemptResult::Written(record(object)),
        Err(Failure::Outdated(_)) => {
            // The watch lists, so that this needs no further right.
            let this = named(&name);
            match within(TIMEOUT, api.list(&this)).await {
                Ok(list) => AttemptResult::Outdated(list.items.into_iter().next().map(record)),
                Err(_) => AttemptResult::Failed,
            }
        }
        Err(Failure::Refused(error)) => {
            warn!(
                error,
                "not allowed to hold the lease {name}: this controller needs get, list, watch, create and update on leases.coordination.k8s.io in its namespace; until then it gives out no address"
            );
            AttemptResult::Failed
        }
        Err(Failure::Unavailable(error)) => {
            if !is_away() {
                warn!(error, "the lease {name} could not be written; trying again");
            }
            AttemptResult::Failed
        }
    }
}
