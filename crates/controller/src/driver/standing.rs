//! Whether this controller decides and writes: it has the Lease, and no MetalLB does.

use std::collections::BTreeMap;

use herald_api::convert::MetalLbPod;
use herald_runtime::Update;
use herald_runtime::lease::Term;
use jiff::Timestamp;
use tracing::{info, warn};

use super::Controller;
use crate::announcements::PodReadiness;

/// Whether this controller may decide and write, and whether it does.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// While the Lease is ours.
    held: Option<Term>,
    /// The term in which this controller decides and writes; the others stand by with warm caches.
    active: Option<Term>,
    /// Whether this controller never decides.
    only_reviews: bool,
    metallb: Option<MetalLbControllers>,
}

/// The Pods of MetalLB's controller, for a controller that may run beside them.
#[derive(Debug, Default)]
struct MetalLbControllers {
    is_listed: bool,
    pods: BTreeMap<String, MetalLbPod>,
    is_reported: bool,
    was_seen: bool,
    is_absence_reported: bool,
}

impl Standing {
    /// Starts as a standby. With `is_beside_metallb` this controller stays one as long as MetalLB's controller may run.
    /// One that is not ready decides and writes as well.
    pub(crate) fn new(is_beside_metallb: bool) -> Self {
        Self {
            metallb: is_beside_metallb.then(MetalLbControllers::default),
            ..Self::default()
        }
    }

    /// Starts as a standby that answers reviews, and stays one also with the Lease.
    pub(crate) fn only_reviews() -> Self {
        Self {
            only_reviews: true,
            ..Self::default()
        }
    }

    /// Sets the term in which the Lease is ours.
    pub(super) const fn set_held(&mut self, term: Option<Term>) {
        self.held = term;
    }

    pub(super) const fn held(&self) -> Option<Term> {
        self.held
    }

    /// Whether this controller has the Lease of those that decide.
    pub(super) const fn is_leader(&self) -> bool {
        self.held.is_some() && !self.only_reviews
    }

    pub(super) const fn active(&self) -> Option<Term> {
        self.active
    }

    pub(super) const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Whether only MetalLB's controller keeps this one from deciding.
    pub(super) fn waits_for_metallb(&self, now: Timestamp) -> bool {
        self.held.is_some() && self.is_kept(now)
    }

    fn is_kept(&self, now: Timestamp) -> bool {
        let metallb = self.metallb.as_ref();
        metallb.is_some_and(|metallb| !metallb.is_listed || metallb.pods.values().any(|pod| pod.is_left(now)))
    }

    /// Takes a change of the Pods in our namespace.
    pub(super) fn handle_pods(&mut self, update: &Update<PodReadiness>) {
        let Some(metallb) = &mut self.metallb else { return };
        match update {
            Update::Applied(pod) => match pod.metallb() {
                Some(controller) => {
                    metallb.was_seen = true;
                    metallb.pods.insert(pod.name().to_owned(), controller.clone());
                }
                None => {
                    metallb.pods.remove(pod.name());
                }
            },
            Update::Deleted(key) => {
                metallb.pods.remove(&key.name);
            }
            Update::Synced => metallb.is_listed = true,
        }
    }

    /// Returns the active term before and from now on, if it has changed.
    pub(super) fn poll_change(&mut self, now: Timestamp) -> Option<(Option<Term>, Option<Term>)> {
        let is_waiting = self.waits_for_metallb(now);
        if let Some(metallb) = self.metallb.as_mut().filter(|metallb| metallb.is_listed) {
            let was_reported = std::mem::replace(&mut metallb.is_reported, is_waiting);
            match (was_reported, is_waiting) {
                (false, true) => {
                    let left = metallb.pods.iter().filter(|(_, pod)| pod.is_left(now));
                    let pods: Vec<&str> = left.map(|(name, _)| name.as_str()).collect();
                    let pods = pods.join(", ");
                    warn!(
                        pods,
                        "MetalLB's controller is there: deciding and writing nothing until it is gone"
                    );
                }
                (false, false) if !metallb.was_seen && !metallb.is_absence_reported => {
                    metallb.is_absence_reported = true;
                    warn!(
                        "this namespace has no Pod with the labels of MetalLB's controller \
                         (app.kubernetes.io/name=metallb and app.kubernetes.io/component=controller, or app=metallb and \
                         component=controller): this controller does not wait for MetalLB's"
                    );
                }
                (true, false) => info!("no Pod of MetalLB's controller is left"),
                (true, true) | (false, false) => {}
            }
        }
        let term = self.held.filter(|_| self.is_leader() && !self.is_kept(now));
        let before = std::mem::replace(&mut self.active, term);
        (before != term).then_some((before, term))
    }
}

impl Controller {
    /// Makes this controller the active one, or a standby.
    pub(super) fn follow_standing(&mut self) {
        self.metrics.set_leader(self.standing.is_leader());
        let Some((before, term)) = self.standing.poll_change(Timestamp::now()) else {
            return;
        };
        let now = self.now();
        if before.is_some() {
            info!("standing by");
            self.reconciler.set_active(false, now);
            self.writes.cancel_all();
            self.resources.handle_cancelled();
            self.metrics.forget_pools();
        }
        if term.is_some() {
            info!("active: deciding from now on");
            self.reconciler.set_active(true, now);
            for event in self.configuration.events() {
                self.emit(event);
            }
        }
        self.show_state();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_runtime::watch::ObjectKey;
    use serde_json::json;

    fn pod(app: &str, phase: &str) -> Update<PodReadiness> {
        let pod = json!({
            "metadata": {"name": "controller", "uid": "1", "labels": {"app": app, "component": "controller"}},
            "status": {"phase": phase},
        });
        Update::Applied(PodReadiness::new(&serde_json::from_value(pod).expect("a Pod")))
    }

    fn deleted() -> Update<PodReadiness> {
        Update::Deleted(ObjectKey {
            namespace: "metallb-system".to_owned(),
            name: "controller".to_owned(),
        })
    }

    /// Returns whether the controller is active after each of these changes.
    fn active_after(is_beside: bool, updates: Vec<Update<PodReadiness>>) -> Vec<bool> {
        let mut standing = Standing::new(is_beside);
        standing.set_held(Some(Term::FIRST));
        let after = |update| {
            standing.handle_pods(&update);
            standing.poll_change(Timestamp::UNIX_EPOCH);
            standing.is_active()
        };
        updates.into_iter().map(after).collect()
    }

    #[test]
    fn a_controller_beside_metallb_decides_only_while_no_controller_of_metallb_may_run() {
        let updates = || {
            vec![
                pod("metallb", "Running"),
                Update::Synced,
                pod("metallb", "Failed"),
                pod("metallb", "Pending"),
                deleted(),
                pod("herald", "Running"),
            ]
        };
        assert_eq!(
            active_after(true, updates()),
            [false, false, true, false, true, true]
        );
        assert_eq!(active_after(false, updates()), [true; 6]);
    }

    #[test]
    fn a_controller_that_only_reviews_never_decides() {
        let mut standing = Standing::only_reviews();
        standing.set_held(Some(Term::FIRST));
        assert_eq!(standing.poll_change(Timestamp::UNIX_EPOCH), None);
        assert!(
            !standing.is_active() && !standing.is_leader(),
            "its Lease is another one"
        );
        assert!(!standing.waits_for_metallb(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn without_the_lease_no_controller_decides() {
        let mut standing = Standing::new(true);
        standing.handle_pods(&Update::Synced);
        assert_eq!(standing.poll_change(Timestamp::UNIX_EPOCH), None);
        assert!(!standing.waits_for_metallb(Timestamp::UNIX_EPOCH));
    }
}
