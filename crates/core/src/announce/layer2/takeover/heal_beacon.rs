//! Who has lost others by gossip calls for them on the wire.
//!
//! A network that was torn apart may heal while gossip stays blocked, and then nobody tells. Each side answers for every
//! address, so whichever is announced, somebody on the other side has it, too, and hears that. It announces all that it
//! answers for, which others hear, and so on: two announcements later all know, and one of each two yields.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use super::{Effect, Holdings, Stage};
use crate::Time;

/// From one call to the next by anybody on one side, as each takes its turn: so the others are heard well within a second,
/// and a dead node costs the network five broadcasts a second, however many miss it.
const CALL: Duration = Duration::from_millis(200);

/// Who is called for, and by which address.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The one that was announced last.
    last: Option<IpAddr>,
    next: Option<Time>,
}

impl Holdings {
    /// Gossip may have lost somebody, or have found all again.
    pub(super) fn set_calls(&mut self, now: Time) {
        if self.fellows.has_lost(now) {
            self.calls.next.get_or_insert(now + CALL * self.fellows.alive());
        } else {
            self.calls.next = None;
        }
    }

    /// When there is something to call with.
    pub(super) fn next_call(&self) -> Option<Time> {
        let next = self.calls.next?;
        self.held().next().map(|_| next)
    }

    pub(super) fn call(&mut self, now: Time) {
        if self.calls.next.is_none_or(|next| next > now) {
            return;
        }
        self.calls.next = self
            .fellows
            .has_lost(now)
            .then(|| now + CALL * self.fellows.alive());
        let after = self.calls.last.map_or(Bound::Unbounded, Bound::Excluded);
        let is_held = |address: &IpAddr| self.addresses[address].stage == Stage::Holding;
        let mut later = self
            .addresses
            .range((after, Bound::Unbounded))
            .map(|(address, _)| *address);
        self.calls.last = later.find(is_held).or_else(|| self.held().next());
        self.effects.extend(self.calls.last.map(Effect::Defend));
    }

    /// Announces what is answered for, as others do not know of it who may answer, too; all but what is decided already.
    pub(super) fn reannounce_all_but(&mut self, decided: Option<IpAddr>) {
        let held: Vec<IpAddr> = self.held().filter(|address| Some(*address) != decided).collect();
        self.effects.extend(held.into_iter().map(Effect::Reannounce));
    }

    fn held(&self) -> impl Iterator<Item = IpAddr> {
        let held = self.addresses.iter();
        let held = held.filter(|(_, holding)| holding.stage == Stage::Holding);
        held.map(|(address, _)| *address)
    }
}
