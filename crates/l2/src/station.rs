//! The station of a node: answers and announces its addresses, and probes for addresses.
//!
//! ```text
//!   agent --- Command ---> +-----------------------+ --- Transmission, Answer ---> segment
//!                          | Announcer   Prober    |
//!   agent <-- WireEvent -- +-----------------------+ <-------- frames ------------ segment
//! ```
//!
//! The owner of the sockets drives it:
//! 1. handle all received frames, sending each answer at once;
//! 2. then drain [`Station::poll_event`]: a frame that still waits may be the answer to a probe;
//! 3. drain [`Station::poll_group`] and [`Station::poll_transmit`];
//! 4. wait for a frame, a command or [`Station::poll_timeout`].

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use herald_core::Time;
use herald_core::announce::layer2::{Announcement, Command, WireEvent};

use inquiry::Inquiry;

use crate::prober::ProbeTiming;
use crate::survey::Survey;
use crate::{
    Announcer, Answer, GroupChange, Ignored, Link, LinkIndex, Prober, ReceivedFrame, SurveyAnswers,
    SurveyQuestion, Transmission,
};

mod inquiry;
#[cfg(test)]
mod tests;

/// From such a pause on, the frames that waited in the sockets prove nothing: a machine that was suspended received none,
/// and a successor ends its burst of announcements within 5 s.
const BLIND_PAUSE: Duration = Duration::from_secs(5);

/// How long the agent may take to decide about the claims that waited during a pause, before the addresses are announced again.
const DECISION: Duration = Duration::from_millis(100);

/// Announcer and prober on the same links. Answering a frame allocates nothing.
#[derive(Debug)]
pub struct Station {
    announcer: Announcer,
    prober: Prober,
    inquiry: Inquiry,
    survey: Survey,
}

impl Station {
    /// Creates a station that answers for no address and has no links.
    ///
    /// After its burst an active address is announced again every `refresh`, give or take a tenth, drawn from `seed` so
    /// that the addresses spread out; `None` is never.
    pub fn new(refresh: Option<Duration>, seed: u64) -> Self {
        Self {
            announcer: Announcer::new(refresh, seed),
            prober: Prober::new(ProbeTiming::default()),
            inquiry: Inquiry::new(),
            survey: Survey::new(),
        }
    }

    /// Replaces the links that can be used. Where an address gains a link, or a link gets another MAC address, the
    /// address is announced or probed again from the start.
    pub fn set_links(&mut self, links: Vec<Link>, now: Time) {
        self.prober.set_links(links.clone(), now);
        self.survey.set_links(links.clone());
        self.announcer.set_links(links, now);
    }

    /// Carries out a command of the agent. Frames that the command causes are due from `now` on.
    pub fn handle_command(&mut self, command: Command, now: Time) {
        if let Some(address) = begins_with(&command) {
            self.survey.forget(address);
        }
        match command {
            Command::Announce(Announcement { address, interfaces }) => {
                self.announcer.announce(address, interfaces, now);
            }
            Command::Withdraw(address) => {
                self.announcer.withdraw(address);
                self.prober.cancel(address);
            }
            Command::WithdrawAll => self.announcer.withdraw_all(),
            Command::Reannounce(address) => self.announcer.reannounce(address, now),
            Command::Defend(address) => self.announcer.defend(address, now),
            Command::DefendAgainstForged(address) => self.announcer.defend_against_forged(address, now),
            Command::DefendAtOnce(address) => self.announcer.defend_at_once(address, now),
            Command::Probe(Announcement { address, interfaces }) => {
                self.prober.probe(address, interfaces, now);
            }
            Command::Check {
                announcement: Announcement { address, interfaces },
                target,
            } => self.prober.check(address, interfaces, target, now),
            Command::CancelProbe(address) => self.prober.cancel(address),
        }
    }

    /// Handles a frame that was received on a link, and writes the answer to `answer`. The answer is to be sent on the
    /// same link at once. Whether it is answered or not, the frame may end a probe or be a claim; see
    /// [`Station::poll_event`].
    ///
    /// Answers that go to all nodes are limited on each link: 10 000 at once, and 20 000 a second.
    ///
    /// # Errors
    /// The reason why the frame is not answered.
    ///
    /// # Panics
    /// If the frame is answered and `answer` is shorter than [`crate::wire::MAX_FRAME_LENGTH`].
    pub fn handle_frame(
        &mut self,
        link: LinkIndex,
        frame: &[u8],
        answer: &mut [u8],
        now: Time,
    ) -> Result<Answer, Ignored> {
        // Also a frame that is ignored shows that this link receives.
        self.prober.handle_arrival(link, frame, now);
        match ReceivedFrame::parse(frame) {
            // What this node has asked for is neither a claim nor the answer to another question.
            Ok(received) if self.survey.handle_received(link, &received, now) => Err(Ignored::NotARequest),
            Ok(received) => {
                self.prober.handle_received(link, &received);
                self.announcer.handle_received(link, &received, answer, now)
            }
            Err(_) if !self.announcer.has_link(link) => Err(Ignored::UnknownLink),
            Err(reason) => Err(reason),
        }
    }

    /// Handles the end of a time in which the station did not run although it should have, and returns whether other nodes
    /// may have taken over unnoticed. The frames that waited must have been handled before; `has_lost_frames` is whether
    /// more arrived than could wait.
    ///
    /// The station goes on answering. A node that took over has announced the address, so its claim was among the frames
    /// that waited. Clients believe that claim by now: unless the agent withdraws the address, its burst starts again. Where
    /// frames are missing, the station asks for each active address once: a machine that answers claims the address by that.
    /// Probes start again, since the answers to them may be missing.
    pub fn handle_pause(&mut self, pause: Duration, has_lost_frames: bool, now: Time) -> bool {
        self.announcer.reannounce_claimed(now + DECISION);
        let is_doubtful = has_lost_frames || pause >= BLIND_PAUSE;
        if is_doubtful {
            self.inquiry.request(now);
            self.begin_inquiry(now);
        }
        is_doubtful
    }

    fn begin_inquiry(&mut self, now: Time) {
        if self.inquiry.begin(now) {
            self.prober.restart_probes(now);
        }
    }

    /// Begins a survey: asks these questions, 50 a second at most, and collects all answers. An address that is probed for or
    /// monitored is left out, and so is one that a command begins something for until the survey has ended. A survey under way ends
    /// without a result.
    pub fn begin_survey(&mut self, mut questions: Vec<SurveyQuestion>) {
        questions.retain(|question| !self.prober.concerns(question.address));
        self.survey.begin(questions);
    }

    /// Ends the survey without a result.
    pub fn cancel_survey(&mut self) {
        self.survey.cancel();
    }

    /// Returns the answers to the survey when it has ended. All received frames must have been handled before.
    pub fn poll_survey(&mut self, now: Time) -> Option<SurveyAnswers> {
        self.survey.poll_result(now)
    }

    /// Writes the next frame that is due to `frame`: questions come before announcements, because they decide who may
    /// announce. Returns `None` when nothing is due or the pace allows no frame at `now`.
    ///
    /// # Panics
    /// If a frame is due and `frame` is shorter than [`crate::wire::MAX_FRAME_LENGTH`].
    pub fn poll_transmit(&mut self, frame: &mut [u8], now: Time) -> Option<Transmission> {
        self.begin_inquiry(now);
        self.prober
            .poll_transmit(frame, now)
            .or_else(|| self.inquiry.poll_transmit(&self.announcer, frame, now))
            .or_else(|| self.announcer.poll_transmit(frame, now))
            .or_else(|| self.survey.poll_transmit(frame, now))
    }

    /// Returns the next event for the agent: results of probes and checks, then claims, then announcements that were sent.
    ///
    /// All received frames must have been handled before, because a probe that has lasted long enough ends here.
    pub fn poll_event(&mut self, now: Time) -> Option<WireEvent> {
        if let Some(result) = self.poll_result(now) {
            return Some(result);
        }
        if let Some(claim) = self.announcer.poll_claim() {
            return Some(WireEvent::Claimed(claim.address, claim.mac));
        }
        self.poll_announced()
    }

    /// Returns the next event but leaves claims for later, of which the last one to each active address waits. Commands bound
    /// these events, while other machines decide how many claims there are.
    pub fn poll_event_without_claim(&mut self, now: Time) -> Option<WireEvent> {
        self.poll_result(now).or_else(|| self.poll_announced())
    }

    fn poll_result(&mut self, now: Time) -> Option<WireEvent> {
        let (address, result) = self.prober.poll_result(now)?;
        Some(WireEvent::Probed(address, result))
    }

    fn poll_announced(&mut self) -> Option<WireEvent> {
        self.announcer.poll_announced().map(WireEvent::Announced)
    }

    /// Returns the next solicited-node group to join or to leave.
    pub fn poll_group(&mut self) -> Option<GroupChange> {
        self.announcer.poll_group()
    }

    /// When [`Station::poll_transmit`], [`Station::poll_event`] or [`Station::poll_survey`] has something next, possibly already.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.announcer.is_announced_unreported() {
            return Some(Time::ZERO);
        }
        let due = [
            self.prober.poll_timeout(),
            self.inquiry.poll_timeout(),
            self.announcer.poll_timeout(),
            self.survey.poll_timeout(),
        ];
        due.into_iter().flatten().min()
    }

    /// The addresses that a socket filter on this link must let through: the active ones, and those that are probed or
    /// may be checked again, and those of a survey. Other frames change nothing.
    pub fn addresses_on(&self, link: LinkIndex) -> impl Iterator<Item = IpAddr> + Clone {
        let active = self.announcer.addresses_on(link);
        let asked = self.survey.addresses_on(link);
        active.chain(self.prober.addresses_on(link)).chain(asked)
    }

    /// The links that answer for an address, ascending; `None` when it is not announced.
    pub fn links_of(&self, address: IpAddr) -> Option<&[LinkIndex]> {
        self.announcer.links_of(address)
    }

    /// Whether an address was checked and may be checked again.
    pub fn is_monitored(&self, address: IpAddr) -> bool {
        self.prober.is_monitored(address)
    }
}

/// The address for which a command begins or ends something, so that a survey must not ask for it any more.
const fn begins_with(command: &Command) -> Option<IpAddr> {
    match command {
        Command::Announce(announcement)
        | Command::Probe(announcement)
        | Command::Check { announcement, .. } => Some(announcement.address),
        Command::Withdraw(address) | Command::CancelProbe(address) => Some(*address),
        Command::WithdrawAll
        | Command::Reannounce(_)
        | Command::Defend(_)
        | Command::DefendAgainstForged(_)
        | Command::DefendAtOnce(_) => None,
    }
}
