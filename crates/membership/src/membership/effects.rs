//! Collects what foca wants done: datagrams, timers, notifications.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use foca::{Codec as _, Header, Message, Notification, PostcardCodec, ProbeNumber, Runtime, Timer};
use herald_core::Time;

use crate::identity::Identity;

/// What foca asked for during one call.
#[derive(Default)]
pub(super) struct Effects {
    /// Messages to send.
    pub(super) messages: Vec<(Identity, Vec<u8>)>,
    /// Timers to start.
    pub(super) timers: Vec<(Duration, Timer<Identity>)>,
    /// Whether we have peers, as far as the last notification says.
    pub(super) connection: Option<Connection>,
    /// Whether we were declared down and took a new identity.
    pub(super) rejoined: bool,
    /// The number of the last probe.
    pub(super) probe: Option<ProbeNumber>,
}

/// Whether foca probes: it does only while it believes that somebody knows its present identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// Somebody knows us.
    Connected,
    /// Nobody is there, or nobody knows our new identity yet. All timers are dead until a message arrives.
    Alone,
}

impl Effects {
    /// Whom this call began to suspect, or found silent once more.
    pub(super) fn suspects(&self) -> impl Iterator<Item = &Identity> {
        self.timers.iter().filter_map(|(_, timer)| match timer {
            Timer::ChangeSuspectToDown { member_id, .. } => Some(member_id),
            Timer::ProbeRandomMember(_)
            | Timer::SendIndirectProbe { .. }
            | Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => None,
        })
    }
}

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::Active => self.connection = Some(Connection::Connected),
            Notification::Idle | Notification::Defunct => {
                self.connection = Some(Connection::Alone);
            }
            Notification::Rejoin(_) => {
                self.connection = Some(Connection::Alone);
                self.rejoined = true;
            }
            // Read from the membership state instead, where suspicion stands too.
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        let header: Result<Header<Identity>, _> = PostcardCodec.decode_header(data);
        if let Ok(Header {
            message: Message::Ping(number),
            ..
        }) = header
        {
            self.probe = Some(number);
        }
        self.messages.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((after, event));
    }
}

/// Timers that wait, the next one first; among those due at the same instant in foca's order, then in the order
/// in which they were started.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Waiting>,
    started: u64,
}

struct Waiting {
    due: Time,
    started: u64,
    timer: Timer<Identity>,
}

impl Timers {
    pub(super) fn start(&mut self, timer: Timer<Identity>, due: Time) {
        let started = self.started;
        self.started += 1;
        self.heap.push(Waiting { due, started, timer });
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|waiting| waiting.due)
    }

    /// `member` answered the probe, so there is nothing to wake up for before the next one; foca still wants to be told
    /// that it could have asked others by now.
    pub(super) fn handle_answer(&mut self, member: &Identity) {
        let is_next = |waiting: &Waiting| matches!(waiting.timer, Timer::ProbeRandomMember(_));
        let Some(next) = self.heap.iter().filter(|w| is_next(w)).map(|w| w.due).min() else {
            return;
        };
        let mut waiting = std::mem::take(&mut self.heap).into_vec();
        for waiting in &mut waiting {
            if matches!(&waiting.timer, Timer::SendIndirectProbe { probed_id, .. } if probed_id == member) {
                waiting.due = waiting.due.max(next);
            }
        }
        self.heap = waiting.into();
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer<Identity>> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|waiting| waiting.timer)
    }
}

impl Ord for Waiting {
    /// Reversed: the heap's greatest is the next due.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .due
            .cmp(&self.due)
            .then_with(|| other.timer.cmp(&self.timer))
            .then_with(|| other.started.cmp(&self.started))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::since_zero(Duration::from_millis(millis))
    }

    #[test]
    fn an_answered_probe_is_followed_by_the_next_one_without_a_wake_up_between() {
        let member = |name: &str| Identity::unknown(name.into(), ([192, 0, 2, 1], 7946).into());
        let indirect = |name| Timer::SendIndirectProbe {
            probed_id: member(name),
            token: 1,
        };
        let mut timers = Timers::default();
        timers.start(Timer::ProbeRandomMember(1), at(100));
        timers.start(indirect("a"), at(30));
        timers.handle_answer(&member("b"));
        assert_eq!(timers.next_due(), Some(at(30)));
        timers.handle_answer(&member("a"));
        assert_eq!(timers.next_due(), Some(at(100)));
        let fired = [timers.pop_due(at(100)), timers.pop_due(at(100))];
        assert_eq!(fired, [Some(indirect("a")), Some(Timer::ProbeRandomMember(1))]);
    }

    #[test]
    fn timers_fire_by_time_then_in_focas_order_then_as_started() {
        let mut timers = Timers::default();
        timers.start(Timer::PeriodicGossip(1), at(5));
        timers.start(Timer::PeriodicGossip(2), at(5));
        timers.start(Timer::ProbeRandomMember(3), at(5));
        timers.start(Timer::PeriodicGossip(4), at(4));
        assert_eq!(timers.pop_due(at(3)), None);
        let mut fired = Vec::new();
        while let Some(timer) = timers.pop_due(at(5)) {
            fired.push(timer);
        }
        let expected = [
            Timer::PeriodicGossip(4),
            Timer::ProbeRandomMember(3),
            Timer::PeriodicGossip(1),
            Timer::PeriodicGossip(2),
        ];
        assert_eq!(fired, expected);
    }
}
