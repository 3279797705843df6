//! The backup of an address checks periodically whether the owner answers, and answers instead if it does not.
//!
//! Gossip can work while an owner is deaf or mute: its wire thread hangs, a filter drops ARP, a fabric lost a rule. The
//! backup that finds this out must be sure that it is not deaf itself. It therefore becomes the acting owner only
//!
//! * when the owner has answered one of its checks before, so that frames do pass between the two,
//! * after [`MAX_UNANSWERED`] checks without an answer, while frames of other machines arrived since the first of them,
//! * and after a full probe, as before every take-over.
//!
//! The acting owner goes on checking. When the owner answers again, or announces the address and then answers, the acting
//! owner reminds it, and stops only after the owner has announced the address. An owner that announces but does not answer
//! is contradicted at a limited rate.

use alloc::collections::BTreeSet;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use crate::{MacAddr, Time};

/// Each address is checked once in this time, as long as there are few.
const ROUND: Duration = Duration::from_secs(5);

/// Checks are sent in batches, so that neither side wakes up for each.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Limits the checks to fifty a second: of ten thousand addresses on three nodes each is checked once a minute. That is
/// enough, because one unanswered address puts all other addresses of its owner under suspicion. The wire thread sends
/// them within two milliseconds.
const MAX_BATCH: u32 = 50;

/// Pause between unanswered checks: longer than an answer takes where the processor is busy.
const RECHECK: Duration = Duration::from_millis(300);

/// So many checks in a row remain unanswered by chance once in 400 000 times where 2 % of all frames are lost. The probe
/// that follows is as certain again.
const MAX_UNANSWERED: u8 = 4;

/// Shortest interval at which an owner that announces an address but does not answer is contradicted.
const CONTRADICTION: Duration = Duration::from_secs(5);

/// How the owner of one address has answered lately.
#[derive(Debug)]
pub(super) struct Monitor {
    /// The MAC address of the owner, once it has answered: only it is asked then, by unicast.
    mac: Option<MacAddr>,
    /// Consecutive checks without an answer, and since when.
    unanswered: u8,
    since: Option<Time>,
    /// Whether this node has taken over because of them, and that was counted.
    is_takeover_counted: bool,
    /// Whether enough checks in a row were not answered by an owner that has never answered one.
    is_unheard: bool,
    /// Whether the owner has announced the address and was not contradicted since.
    is_announced: bool,
    contradicted: Option<Time>,
    /// When a machine that announces the address was last checked.
    claim_checked: Option<Time>,
}

/// What follows from an unanswered check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Check again at this time.
    Recheck(Time),
    /// The owner is unresponsive, as far as this node can tell.
    Unresponsive,
    /// This node received no frame of any machine meanwhile: it may be deaf itself.
    Inconclusive,
}

impl Monitor {
    pub(super) const fn new() -> Self {
        Self {
            mac: None,
            unanswered: 0,
            since: None,
            is_takeover_counted: false,
            is_unheard: false,
            is_announced: false,
            contradicted: None,
            claim_checked: None,
        }
    }

    /// Returns the machine to check by unicast; `None` asks all machines, because the last check was not answered.
    pub(super) fn target(&self) -> Option<MacAddr> {
        self.mac.filter(|_| self.unanswered == 0)
    }

    /// Returns how long ago the first of the unanswered checks ended, when this node takes over from the owner; once, until the
    /// owner answers again.
    pub(super) fn poll_takeover(&mut self, now: Time) -> Option<Duration> {
        let is_counted = core::mem::replace(&mut self.is_takeover_counted, true);
        (!is_counted).then(|| now.saturating_since(self.since.unwrap_or(now)))
    }

    /// Forgets unanswered checks.
    pub(super) const fn reset(&mut self) {
        self.unanswered = 0;
        self.since = None;
        self.is_takeover_counted = false;
    }

    /// Records an answer, which is the owner's if `owner` is given. Returns whether the owner was unheard until now.
    pub(super) const fn handle_answer(&mut self, owner: Option<MacAddr>) -> bool {
        self.mac = owner;
        self.reset();
        let was_unheard = self.is_unheard && owner.is_some();
        self.is_unheard &= !was_unheard;
        was_unheard
    }

    /// Records that the owner does not answer and has never answered, which proves nothing: this node takes nothing from it.
    /// Returns whether that is new.
    pub(super) const fn handle_unheard(&mut self) -> bool {
        !core::mem::replace(&mut self.is_unheard, true)
    }

    /// Whether the owner is unheard.
    pub(super) const fn is_unheard(&self) -> bool {
        self.is_unheard
    }

    /// Records a check without an answer. `last_frame` is how long ago a frame of any other machine arrived.
    pub(super) fn handle_unanswered(&mut self, last_frame: Option<Duration>, now: Time) -> Unanswered {
        self.unanswered = self.unanswered.saturating_add(1);
        let since = *self.since.get_or_insert(now);
        if self.unanswered < MAX_UNANSWERED {
            return Unanswered::Recheck(now + RECHECK);
        }
        if last_frame.is_some_and(|ago| now.saturating_since(since) > ago) {
            Unanswered::Unresponsive
        } else {
            Unanswered::Inconclusive
        }
    }

    /// Records that a machine announces the address while this node is the acting owner. Returns whether to check it: a check
    /// that begins again with each frame would never end.
    pub(super) fn handle_claim(&mut self, now: Time) -> bool {
        self.is_announced = true;
        let is_due = self
            .claim_checked
            .is_none_or(|at| now.saturating_since(at) >= RECHECK);
        if is_due {
            self.claim_checked = Some(now);
        }
        is_due
    }

    /// Whether the owner, which announces but does not answer, is to be contradicted now.
    pub(super) fn poll_contradiction(&mut self, now: Time) -> bool {
        let is_due = self
            .contradicted
            .is_none_or(|at| now.saturating_since(at) >= CONTRADICTION);
        let is_contradicted = self.is_announced && is_due;
        if is_contradicted {
            self.is_announced = false;
            self.contradicted = Some(now);
        }
        is_contradicted
    }
}

/// Schedule of the checks of all monitored addresses.
#[derive(Debug)]
pub(super) struct MonitorSchedule {
    monitored: BTreeSet<IpAddr>,
    /// The address that was checked last.
    last: Option<IpAddr>,
    /// When the next batch begins, and how many checks are left in this one.
    next: Option<Time>,
    left: u32,
}

impl MonitorSchedule {
    /// Starts without addresses.
    pub(super) const fn new() -> Self {
        Self {
            monitored: BTreeSet::new(),
            last: None,
            next: None,
            left: 0,
        }
    }

    /// Starts or ends the checks of `address`.
    pub(super) fn set(&mut self, address: IpAddr, is_monitored: bool, now: Time) {
        if is_monitored {
            self.monitored.insert(address);
            self.next.get_or_insert(now + ROUND);
        } else {
            self.monitored.remove(&address);
        }
        if self.monitored.is_empty() {
            (self.next, self.left) = (None, 0);
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.monitored.iter().copied()
    }

    pub(super) const fn poll_timeout(&self) -> Option<Time> {
        self.next
    }

    /// Returns the addresses to check at `now`, one after the other.
    pub(super) fn poll(&mut self, now: Time) -> Option<IpAddr> {
        if self.left == 0 {
            if self.next? > now {
                return None;
            }
            let count = u32::try_from(self.monitored.len()).unwrap_or(u32::MAX).max(1);
            let batches = (ROUND.as_nanos() / BATCH_INTERVAL.as_nanos()) as u32;
            self.left = count.div_ceil(batches).min(MAX_BATCH);
            self.next = Some(now + (ROUND * self.left / count).max(BATCH_INTERVAL));
        }
        self.left -= 1;
        let after = self.last.map(|last| (Bound::Excluded(last), Bound::Unbounded));
        let next = after.and_then(|after| self.monitored.range(after).next());
        self.last = next.or_else(|| self.monitored.first()).copied();
        self.last
    }
}
