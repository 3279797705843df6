//! What the machine of one address does on its own account.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::{Effect, Holdings, Interest, RETRY, Report, Stage};
use crate::config::ConflictDetection;
use crate::{MacAddr, NodeName, Time};

/// A stranger is asked again after one second, two, four, and then every five: soon enough after it was unplugged, and
/// seldom enough for ten thousand addresses.
const CONFLICT_RETRY: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// Bounds of the pause after which one of two that probe at the same time tries again (RFC 5227 §2.1.1 has seconds; a
/// probe here takes a tenth of a second).
const CONTENTION: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(400)];

impl Holdings {
    /// Asks who answers, unless the wire is not asked at all.
    pub(super) fn probe(&mut self, address: IpAddr, now: Time) {
        if !self.verification {
            return self.hold(address, now);
        }
        self.set_due(address, None);
        if let Some(holding) = self.addresses.get_mut(&address) {
            holding.stage = Stage::Probing;
            let announcement = holding.announcement(address);
            self.tell(address);
            self.effects.push_back(Effect::Probe(announcement));
        }
    }

    pub(super) fn hold(&mut self, address: IpAddr, now: Time) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        holding.stage = Stage::Holding;
        holding.deferred_to = None;
        let stranger = holding.stranger.take();
        let announcement = holding.announcement(address);
        let predecessor = holding
            .owner
            .take_if(|_| holding.interests.values().any(Interest::is_elected));
        self.effects.push_back(Effect::Announce(announcement));
        self.tell(address);
        if stranger.is_some() {
            self.report(address, Report::Resolved);
        }
        let failed = predecessor.and_then(|node| self.fellows.doubted_since(&node));
        let took_over = failed.map(|since| Effect::TookOver(address, now.saturating_since(since)));
        self.effects.extend(took_over);
    }

    pub(super) fn find_stranger(&mut self, address: IpAddr, mac: MacAddr, now: Time) {
        if let Some(until) = self.introduce(mac, now) {
            return self.wait(address, until.saturating_since(now), now);
        }
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        match holding.detection {
            ConflictDetection::Off => return self.hold(address, now),
            ConflictDetection::Warn => {
                self.report(address, Report::Duplicate(mac));
                return self.hold(address, now);
            }
            ConflictDetection::Enforce => {}
        }
        let seen = holding.stranger.filter(|(known, _)| *known == mac);
        let times = seen.map_or(0, |(_, times)| times + 1);
        holding.stranger = Some((mac, times));
        let pause = CONFLICT_RETRY.get(times).or(CONFLICT_RETRY.last());
        self.wait(address, pause.copied().unwrap_or(RETRY), now);
        if seen.is_none() {
            self.report(address, Report::Conflict(mac));
        }
    }

    pub(super) fn defer(&mut self, address: IpAddr, node: NodeName, now: Time) {
        self.wait(address, RETRY, now);
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        let was_stranger = holding.stranger.take().is_some();
        if holding.deferred_to.as_ref() != Some(&node) {
            holding.deferred_to = Some(node.clone());
            self.report(address, Report::Deferred(node));
        }
        if was_stranger {
            self.report(address, Report::Resolved);
        }
    }

    /// Of two that know each other one asks on, and the other one leaves it the time for that.
    pub(super) fn contend_with(&mut self, address: IpAddr, fellow: &NodeName, now: Time) {
        if self.fellows.comes_before(fellow) {
            self.probe(address, now);
        } else {
            let [_, longest] = CONTENTION;
            self.wait(address, longest, now);
        }
    }

    pub(super) fn contend(&mut self, address: IpAddr, now: Time) {
        let [shortest, longest] = CONTENTION;
        let span = (longest - shortest).as_nanos();
        let drawn = (u128::from(self.draw()) * span) >> 64;
        let pause = shortest + Duration::from_nanos(u64::try_from(drawn).unwrap_or(0));
        self.wait(address, pause, now);
    }

    /// Probes again after `pause`.
    pub(super) fn wait(&mut self, address: IpAddr, pause: Duration, now: Time) {
        if let Some(holding) = self.addresses.get_mut(&address) {
            holding.stage = Stage::Waiting;
            self.set_due(address, Some(now + pause));
        }
    }

    pub(super) fn stages(&self) -> Vec<(IpAddr, Stage)> {
        let stages = self.addresses.iter();
        stages
            .map(|(address, holding)| (*address, holding.stage))
            .collect()
    }

    pub(super) fn set_due(&mut self, address: IpAddr, due: Option<Time>) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        if let Some(before) = holding.due.take() {
            self.due.remove(&(before, address));
        }
        holding.due = due;
        self.due.extend(due.map(|at| (at, address)));
    }

    pub(super) fn forget(&mut self, address: IpAddr) {
        self.set_due(address, None);
        if let Some(mut holding) = self.addresses.remove(&address) {
            let told = core::mem::take(&mut holding.told).into_iter();
            self.effects
                .extend(told.map(|service| Effect::Lost(service, address)));
        }
        self.stand_ins.remove(&address);
        self.rounds.set(address, false, Time::ZERO);
    }

    pub(super) fn report(&mut self, address: IpAddr, report: Report) {
        self.effects.push_back(Effect::Report(address, report));
    }

    /// Xorshift (Marsaglia 2003): enough to part two contenders.
    pub(super) const fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
