//! The inquiry: one question for each active address, after a time in which the claims of other machines may have been missed.

use core::net::IpAddr;
use core::time::Duration;

use herald_core::Time;

use crate::pace::Pace;
use crate::prober::question::check;
use crate::{Announcer, LinkIndex, Purpose, Transmission};

/// Shortest time between the beginnings of two inquiries: a node that is overloaded for long asks 10 000 questions no more
/// often than that.
const INTERVAL: Duration = Duration::from_secs(5);

/// Which question is next, and when the next inquiry begins.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// When the next inquiry begins, if one was requested.
    due: Option<Time>,
    /// When the next inquiry may begin.
    earliest: Time,
    is_under_way: bool,
    /// What was asked last in this inquiry, in the order of addresses and links.
    last: Option<(IpAddr, LinkIndex)>,
    pace: Pace,
}

impl Inquiry {
    pub(super) const fn new() -> Self {
        Self {
            due: None,
            earliest: Time::ZERO,
            is_under_way: false,
            last: None,
            pace: Pace::unsolicited(),
        }
    }

    /// Requests an inquiry, which begins as soon as it may.
    pub(super) fn request(&mut self, now: Time) {
        self.due = Some(self.earliest.max(now));
    }

    /// Begins the inquiry if it is due, and returns whether it does.
    pub(super) fn begin(&mut self, now: Time) -> bool {
        let begins = self.due.take_if(|due| *due <= now).is_some();
        if begins {
            self.earliest = now + INTERVAL;
            self.is_under_way = true;
            self.last = None;
        }
        begins
    }

    /// Writes the next question to `frame`. Every machine that has the address answers.
    pub(super) fn poll_transmit(
        &mut self,
        announcer: &Announcer,
        frame: &mut [u8],
        now: Time,
    ) -> Option<Transmission> {
        if !self.is_under_way || self.pace.ready() > now {
            return None;
        }
        let Some((address, link)) = announcer.next_answering(self.last) else {
            self.is_under_way = false;
            return None;
        };
        self.pace.spend(now);
        self.last = Some((address, link.index));
        Some(Transmission {
            link: link.index,
            address,
            length: check(address, link, None, frame),
            purpose: Purpose::Question,
        })
    }

    /// When [`Inquiry::begin`] or [`Inquiry::poll_transmit`] has something next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let question = self.is_under_way.then(|| self.pace.ready());
        self.due.into_iter().chain(question).min()
    }
}
