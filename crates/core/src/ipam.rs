//! Which Service gets which address.
//!
//! [`Allocator`] is a machine without input or output of its own: pools and Services go in, decisions come out.
//! It follows MetalLB's controller with these deliberate differences:
//!
//! * What Services have already is adopted for all of them before anything is given out, so the outcome of a
//!   restart does not depend on the order of anything.
//! * A request that cannot be met leaves the Service what it has until it can be met.
//! * Services that wait are served oldest first as soon as what they wait for is released; there is no timer.
//! * An address that was let go rests ([`DEFAULT_QUARANTINE`]) before another Service gets it, unless there is no other one.
//! * A Service that lost its addresses without asking for it, by deletion for example, gets them back when it
//!   returns, while nobody else has them.
//! * Pools of equal rank are taken in order of name.
//! * Addresses asked for stay in the order asked for.
//!
//! Several controllers may run, of which one is active. The others follow what it does by the statuses it writes, so
//! that whichever takes over lets rest and remembers what the active one would have.

mod books;
mod case;
mod claim;
mod decision;
mod effect;
mod memory;
mod need;
mod pick;
mod sharers;
mod shelf;
mod standby;
#[cfg(test)]
mod tests;
mod waiting;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashMap;

pub use decision::{AllocationOutcome, Assignment, Decision, Note, Refusal, Usage};

use crate::{Addresses, Catalog, PoolName, Service, ServiceKey, Time};
use books::Books;
use case::Case;
use waiting::{Age, Demand, Waiting};

/// How long an address that was let go rests before it is given to another Service, unless nothing else is
/// free: long enough for clients and resolvers with usual time-outs to forget who had it.
pub const DEFAULT_QUARANTINE: Duration = Duration::from_secs(60);

/// How many of its latest decisions on a Service are recognised in the Service's status when they come back
/// from the API server. More than one is on its way only when the API server is slow.
const ECHOES: usize = 8;

/// Gives addresses from pools to Services.
///
/// Feed it pools and every Service, call [`activate`](Self::activate) once everything there is has been
/// listed, and from then on [`poll_decision`](Self::poll_decision) after each input until it is `None`.
/// Until then, and after [`deactivate`](Self::deactivate), it is a standby: it decides nothing and learns from the
/// statuses.
#[derive(Debug, Clone)]
pub struct Allocator {
    desk: Desk,
    /// Boxed, so that the map moves pointers and not Services about.
    /// Found by hash: their names are long and begin alike. Whoever goes through them sorts them first.
    services: HashMap<Arc<ServiceKey>, Box<Entry>>,
    has_pools: bool,
    is_activated: bool,
}

/// Everything that a decision on one Service reads and changes, but for the Service.
#[derive(Debug, Clone)]
struct Desk {
    books: Books,
    withheld: BTreeSet<PoolName>,
    waiting: Waiting,
    /// Services whose decision may differ from the last one reported.
    undelivered: VecDeque<Arc<ServiceKey>>,
}

#[derive(Debug, Clone)]
struct Entry {
    key: Arc<ServiceKey>,
    service: Service,
    held: Option<Assignment>,
    refusal: Option<Refusal>,
    demand: Option<Arc<Demand>>,
    /// Notes on how things are.
    lasting: Vec<Note>,
    /// Notes on what happened since the last report.
    happened: Vec<Note>,
    reported: Option<(AllocationOutcome, Vec<Note>)>,
    is_undelivered: bool,
    /// Addresses reported before the last report and perhaps still on their way into the status.
    echoes: VecDeque<Addresses>,
}

impl Allocator {
    /// An allocator without pools or Services, not yet active, in which addresses rest for [`DEFAULT_QUARANTINE`].
    pub fn new() -> Self {
        Self::with_quarantine(DEFAULT_QUARANTINE)
    }

    /// The same with another rest; with none, an address let go may be given to anybody at once.
    pub fn with_quarantine(rest: Duration) -> Self {
        Self {
            desk: Desk {
                books: Books::new(rest),
                withheld: BTreeSet::new(),
                waiting: Waiting::default(),
                undelivered: VecDeque::new(),
            },
            services: HashMap::new(),
            has_pools: false,
            is_activated: false,
        }
    }

    /// Takes the pools in force. Services whose address is said to be from a pool that exists but has no version in
    /// force (see [`Catalog::withheld`]) keep it untouched, though nothing is given out from there.
    pub fn set_catalog(&mut self, catalog: &Catalog, now: Time) {
        let (pools, withheld) = (catalog.pools(), catalog.withheld());
        if self.has_pools && self.desk.withheld == withheld && self.desk.books.pools().eq(pools) {
            return;
        }
        let was_ready = self.is_ready();
        self.desk.books.set_pools(pools);
        self.desk.withheld = withheld;
        self.has_pools = true;
        if was_ready {
            self.reconsider_all(now);
        } else {
            self.begin(now);
        }
    }

    /// Takes a new or changed Service.
    pub fn set_service(&mut self, service: Service, now: Time) {
        let is_ready = self.is_ready();
        let Some(entry) = self.services.get_mut(&service.key) else {
            let key = Arc::new(service.key.clone());
            let mut entry = Box::new(Entry::new(key.clone(), service));
            if is_ready {
                self.desk.open(&mut entry, now, |case| case.adopt());
                self.desk.decide(&mut entry, now);
            } else {
                self.desk.follow(&entry, &[], &entry.service.assigned, now);
            }
            self.services.insert(key, entry);
            self.serve_waiting(now);
            return;
        };
        if entry.service == service {
            return;
        }
        if let Some(demand) = entry.demand.take() {
            self.desk.waiting.remove(&demand, &entry.age());
        }
        if !is_ready {
            self.desk
                .follow(entry, &entry.service.assigned, &service.assigned, now);
            entry.service = service;
            return;
        }
        let is_foreign = entry.observe(&service.assigned);
        entry.service = service;
        if is_foreign {
            self.desk.open(entry, now, |case| case.validate());
            self.desk.open(entry, now, |case| case.adopt());
        }
        self.desk.decide(entry, now);
        self.serve_waiting(now);
    }

    /// Forgets a Service that was deleted or is no longer ours. Nothing is decided for it any more; should it
    /// return, it gets its addresses back if they are still free.
    pub fn remove_service(&mut self, key: &ServiceKey, now: Time) {
        let Some(mut entry) = self.services.remove(key) else {
            return;
        };
        if let Some(demand) = &entry.demand {
            self.desk.waiting.remove(demand, &entry.age());
        }
        if self.is_ready() {
            self.desk.open(&mut entry, now, |case| case.release_all());
            self.serve_waiting(now);
        } else {
            self.desk.follow(&entry, &entry.service.assigned, &[], now);
        }
    }

    /// Every Service there is has been set: adopts what their status says, then serves those that have nothing,
    /// oldest first. Waits for the pools, if they are not set yet.
    pub fn activate(&mut self, now: Time) {
        if !self.is_activated {
            self.is_activated = true;
            self.begin(now);
        }
    }

    /// The next decision: the first on each Service, then only what differs from the one before.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        while let Some(key) = self.desk.undelivered.pop_front() {
            let decision = self.services.get_mut(&key).and_then(|entry| entry.report());
            if decision.is_some() {
                return decision;
            }
        }
        None
    }

    /// How much of a pool in force is in use.
    pub fn usage(&self, pool: &PoolName) -> Option<Usage> {
        self.desk.books.usage(pool)
    }

    /// The next pool whose usage may have changed since it was last named here; after new pools, each of them.
    pub fn poll_changed_pool(&mut self) -> Option<PoolName> {
        self.desk.books.poll_changed_pool()
    }

    /// What a Service has.
    pub fn assignment(&self, key: &ServiceKey) -> Option<&Assignment> {
        self.services.get(key)?.held.as_ref()
    }

    /// What the status of a Service should say, reported or not; `None` for a Service that is unknown or not
    /// decided on yet.
    pub fn outcome(&self, key: &ServiceKey) -> Option<AllocationOutcome> {
        self.services.get(key)?.outcome()
    }

    const fn is_ready(&self) -> bool {
        self.has_pools && self.is_activated
    }

    fn begin(&mut self, now: Time) {
        if self.is_ready() {
            self.each_by_age(|desk, entry| desk.open(entry, now, |case| case.adopt()));
            self.reconsider_all(now);
        }
    }

    /// Takes away from everybody what they may not keep before anybody gets anything, and gives back what was
    /// lost before anybody else gets it.
    fn reconsider_all(&mut self, now: Time) {
        self.desk.waiting.clear();
        self.each_by_age(|desk, entry| {
            entry.demand = None;
            desk.open(entry, now, |case| case.validate());
        });
        if !self.desk.books.memory.is_empty() {
            self.each_by_age(|desk, entry| desk.open(entry, now, |case| case.restore()));
        }
        self.each_by_age(|desk, entry| desk.decide(entry, now));
        self.serve_waiting(now);
    }

    fn each_by_age(&mut self, mut step: impl FnMut(&mut Desk, &mut Entry)) {
        let mut entries: Vec<&mut Box<Entry>> = self.services.values_mut().collect();
        entries.sort_unstable_by(|a, b| (a.service.created, &a.key).cmp(&(b.service.created, &b.key)));
        for entry in entries {
            step(&mut self.desk, entry);
        }
    }

    /// Offers everything that was released to those who wait for it, oldest first.
    fn serve_waiting(&mut self, now: Time) {
        while let Some(topic) = self.desk.books.released.pop_first() {
            let mut last = None;
            while self.desk.books.offers(&topic, now) {
                let Some(age) = self.desk.waiting.next(&topic, last.as_ref()) else {
                    break;
                };
                if let Some(entry) = self.services.get_mut(&age.1) {
                    self.desk.decide(entry, now);
                }
                last = Some(age);
            }
        }
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    /// Does a part of a case.
    fn open(&mut self, entry: &mut Entry, now: Time, part: impl FnOnce(&mut Case<'_>)) {
        self.books.is_awaited = !self.waiting.is_empty();
        let mut case = entry.case(&mut self.books, &self.withheld, now);
        part(&mut case);
        entry.happened = case.notes;
    }

    /// Decides a case.
    fn decide(&mut self, entry: &mut Entry, now: Time) {
        self.books.is_awaited = !self.waiting.is_empty();
        let verdict = entry.case(&mut self.books, &self.withheld, now).decide();
        if entry.demand.as_deref() != verdict.demand.as_ref() {
            if let Some(demand) = &entry.demand {
                self.waiting.remove(demand, &entry.age());
            }
            entry.demand = verdict.demand.map(Arc::new);
            if let Some(demand) = &entry.demand {
                self.waiting.insert(demand, entry.age());
            }
        }
        entry.settle(verdict.refusal, verdict.notes);
        if !core::mem::replace(&mut entry.is_undelivered, true) {
            self.undelivered.push_back(entry.key.clone());
        }
    }
}

impl Entry {
    fn new(key: Arc<ServiceKey>, service: Service) -> Self {
        Self {
            key,
            service,
            held: None,
            refusal: None,
            demand: None,
            lasting: Vec::new(),
            happened: Vec::new(),
            reported: None,
            is_undelivered: false,
            echoes: VecDeque::new(),
        }
    }

    fn age(&self) -> Age {
        (self.service.created, self.key.clone())
    }

    fn case<'a>(&'a mut self, books: &'a mut Books, withheld: &'a BTreeSet<PoolName>, now: Time) -> Case<'a> {
        Case {
            books,
            withheld,
            key: &self.key,
            service: &self.service,
            held: &mut self.held,
            notes: core::mem::take(&mut self.happened),
            now,
        }
    }

    fn settle(&mut self, refusal: Option<Refusal>, notes: Vec<Note>) {
        self.happened = notes;
        self.lasting = self.happened.extract_if(.., |note| note.lasts()).collect();
        self.refusal = refusal;
    }

    fn outcome(&self) -> Option<AllocationOutcome> {
        let assigned = self.held.clone().map(AllocationOutcome::Assigned);
        assigned.or_else(|| self.refusal.clone().map(AllocationOutcome::Unassigned))
    }

    fn report(&mut self) -> Option<Decision> {
        self.is_undelivered = false;
        let outcome = self.outcome()?;
        let happened = core::mem::take(&mut self.happened);
        let is_known = self
            .reported
            .as_ref()
            .is_some_and(|(known, lasting)| *known == outcome && *lasting == self.lasting);
        if is_known && happened.is_empty() {
            return None;
        }
        let before = self.reported.replace((outcome.clone(), self.lasting.clone()));
        if let Some((AllocationOutcome::Assigned(before), _)) = before {
            self.echoes.truncate(ECHOES - 1);
            self.echoes.push_front(before.addresses);
        }
        let mut notes = happened;
        notes.extend(self.lasting.iter().cloned());
        let service = self.key.clone();
        Some(Decision {
            service,
            outcome,
            unmet: self.lasting.last().cloned(),
            notes,
        })
    }

    /// Looks at a new status. True when somebody else wrote addresses into it: when they are neither what was
    /// there before nor what was decided here.
    fn observe(&mut self, assigned: &[IpAddr]) -> bool {
        let held = self.held.as_ref().map_or(&[][..], |held| &held.addresses);
        if assigned == held {
            self.echoes.clear();
            return false;
        }
        let is_echo = self.was_reported(assigned);
        !assigned.is_empty() && *assigned != self.service.assigned[..] && !is_echo
    }

    /// Whether `assigned` is what a decision said that may still be on its way into the status.
    fn was_reported(&self, assigned: &[IpAddr]) -> bool {
        let last = match &self.reported {
            Some((AllocationOutcome::Assigned(last), _)) => Some(&last.addresses),
            _ => None,
        };
        self.echoes
            .iter()
            .chain(last)
            .any(|addresses| addresses[..] == *assigned)
    }
}
