//! Standing by: another controller decides, and what it does is read off the statuses.
//!
//! ```text
//!             activate: adopt, decide
//!  standby ------------------------------> active
//!  follows <------------------------------ decides
//!             deactivate: forget decisions
//! ```
//!
//! Memory and rests are kept in both, so that a hand-over changes neither who gets an address back nor which one is
//! given out next.

use core::net::IpAddr;

use super::need::is_readable;
use super::{Allocator, Desk, Entry};
use crate::Time;

impl Allocator {
    /// Another controller decides from now on. Nothing is decided or pending any more. Of what was decided only that
    /// counts which the statuses say already; the rest is released.
    pub fn deactivate(&mut self, now: Time) {
        if !self.is_activated {
            return;
        }
        self.is_activated = false;
        self.desk.waiting.clear();
        self.desk.undelivered.clear();
        self.each_by_age(|desk, entry| entry.retire(desk, now));
        self.desk.books.released.clear();
    }
}

impl Desk {
    /// The status of a Service said `shown` and now says `shows`: the active controller took addresses away and gave
    /// others, or the Service was deleted.
    pub(super) fn follow(&mut self, entry: &Entry, shown: &[IpAddr], shows: &[IpAddr], now: Time) {
        if shown == shows {
            return;
        }
        let sharing = &entry.service.sharing_key;
        for address in shown.iter().filter(|address| !shows.contains(address)) {
            self.books.memory.give_way(*address, sharing);
            self.books.let_rest(*address, now);
        }
        if !shows.is_empty() {
            self.books.memory.forget(&entry.key);
        } else if is_readable(shown) {
            self.books.memory.remember(&entry.key, sharing, shown);
        }
    }
}

impl Entry {
    /// Forgets everything decided.
    fn retire(&mut self, desk: &mut Desk, now: Time) {
        if let Some(held) = self.held.take() {
            for address in &held.addresses {
                desk.books.vacate(&self.key, *address);
            }
            desk.follow(self, &held.addresses, &self.service.assigned, now);
        }
        *self = Self::new(self.key.clone(), self.service.clone());
    }
}
