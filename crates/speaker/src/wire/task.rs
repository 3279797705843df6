//! The loop of the wire thread: drives the [`Station`] with commands, frames and time.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_core::announce::layer2::{Announcement, Command, WireEvent};
use herald_core::{Family, Time};
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::{LinkIndex, Purpose, Station, SurveyAnswers, SurveyQuestion, Transmission};
use herald_netio::{Frames, Interface, Poller};
use herald_runtime::clock::uptime;
use herald_runtime::health::Beat;
use regex::Regex;
use tokio::sync::oneshot;

use super::events::EventSender;
use super::link_sockets::socket_of;
use super::metrics::WireMetrics;
use super::outgoing::Outgoing;
use super::sockets::{Remaining, Sockets};
use super::{WireOptions, links};

/// Commands and group changes done before frames are looked at again, so that 10 000 addresses that move at once
/// delay no answer by more than this many system calls.
const CHORES: usize = 32;

/// The longest wait for frames, so that the thread notices when it was paused.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// A thread that runs so much too late was paused: by then other nodes may have taken over. Gossip suspects a node within
/// some 150 ms, and a probe takes another 100 ms.
const PAUSE: Duration = Duration::from_millis(200);

/// Batches of frames that are handled at each socket after a pause, before anything else is done; more than wait in a socket
/// with the largest buffer that it asks for.
const BACKLOG: usize = 128;

/// Input of the wire thread.
pub(super) enum WireInput {
    Command(Command),
    Interfaces(Vec<Interface>),
    Survey(Vec<SurveyQuestion>, oneshot::Sender<SurveyAnswers>),
}

/// State of the wire thread.
pub(super) struct WireTask {
    exclude: Vec<Regex>,
    inputs: Receiver<WireInput>,
    events: EventSender,
    pub(super) station: Station,
    pub(super) sockets: Sockets,
    /// Who awaits the answers of the survey under way.
    pub(super) survey: Option<oneshot::Sender<SurveyAnswers>>,
    received: Frames,
    outgoing: Outgoing,
    metrics: WireMetrics,
    zero: Instant,
}

/// Whether there is more of the same to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    Idle,
    Stop,
}

/// What a command means for the filters of the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterChange {
    /// Frames about this address must get through, before a frame about it is sent.
    Admit(IpAddr),
    /// Frames about some address do not matter any more.
    Narrow,
    Keep,
}

impl WireTask {
    pub(super) fn new(
        options: WireOptions,
        inputs: Receiver<WireInput>,
        events: EventSender,
        metrics: WireMetrics,
        seed: u64,
    ) -> Self {
        Self {
            exclude: options.exclude,
            inputs,
            events,
            station: Station::new(options.refresh, seed),
            sockets: Sockets::new(),
            survey: None,
            received: Frames::default(),
            outgoing: Outgoing::new(),
            metrics,
            zero: Instant::now(),
        }
    }

    /// Works until the handle is dropped.
    pub(super) fn run(mut self, mut poller: Poller, beat: &Beat) -> anyhow::Result<()> {
        let mut woken = uptime();
        loop {
            beat.beat();
            let inputs = self.handle_inputs(&poller);
            if inputs == Progress::Stop {
                return Ok(());
            }
            if self.sockets.poll_retry(self.now()) {
                self.open_sockets(&poller);
            }
            let groups = self.change_groups();
            self.transmit();
            self.set_filters();
            let is_busy = [inputs, groups].contains(&Progress::More);
            let timeout = wait(is_busy, self.poll_timeout(), self.now());
            let ready = poller.wait(Some(timeout)).context("cannot wait for packets")?;
            let before = std::mem::replace(&mut woken, uptime());
            for token in ready {
                let (link, family) = socket_of(token);
                self.answer(link, family);
            }
            if let Some(pause) = pause(woken.saturating_sub(before), timeout) {
                self.handle_pause(pause);
            }
            // After the frames, so that no answer to a probe that is over lies unread.
            self.report_events();
            self.report_survey();
        }
    }

    pub(super) fn now(&self) -> Time {
        Time::since_zero(self.zero.elapsed())
    }

    fn poll_timeout(&self) -> Option<Time> {
        let due = [self.station.poll_timeout(), self.sockets.poll_timeout()];
        due.into_iter().flatten().min()
    }

    fn handle_inputs(&mut self, poller: &Poller) -> Progress {
        for _ in 0..CHORES {
            match self.inputs.try_recv() {
                Ok(WireInput::Command(command)) => self.handle_command(command),
                Ok(WireInput::Interfaces(interfaces)) => {
                    if self.sockets.set_links(links(&interfaces, &self.exclude)) {
                        self.open_sockets(poller);
                    }
                }
                Ok(WireInput::Survey(questions, answer)) => self.begin_survey(questions, answer),
                Err(TryRecvError::Empty) => return Progress::Idle,
                Err(TryRecvError::Disconnected) => return Progress::Stop,
            }
        }
        Progress::More
    }

    /// Lets frames about an address get through, before a frame about it is sent.
    pub(super) fn admit(&mut self, address: IpAddr) {
        if self.sockets.admit(address, self.now()) == Remaining::NotAll {
            self.use_links();
        }
    }

    fn handle_command(&mut self, command: Command) {
        match &command {
            Command::Announce(announcement) => self.metrics.add(announcement.address),
            Command::Withdraw(address) => self.metrics.remove(*address),
            Command::WithdrawAll
            | Command::Reannounce(_)
            | Command::Defend(_)
            | Command::DefendAgainstForged(_)
            | Command::DefendAtOnce(_)
            | Command::Probe(_)
            | Command::Check { .. }
            | Command::CancelProbe(_) => {}
        }
        let now = self.now();
        match FilterChange::of(&command) {
            FilterChange::Admit(address) => self.admit(address),
            FilterChange::Narrow => self.sockets.request_filters(now),
            FilterChange::Keep => {}
        }
        self.station.handle_command(command, now);
    }

    /// This thread did not run although it should have: the machine is overloaded, the process was paused, or the machine
    /// suspended. Handles all frames that waited, before results of probes are reported.
    fn handle_pause(&mut self, pause: Duration) {
        let mut has_lost_frames = false;
        for (link, family) in self.sockets.list() {
            has_lost_frames |= (0..BACKLOG).all(|_| self.answer(link, family) == Progress::More);
        }
        has_lost_frames |= self.sockets.poll_losses();
        if self.station.handle_pause(pause, has_lost_frames, self.now()) {
            tracing::warn!(
                ?pause,
                "this process did not run for a while and may have missed announcements: asking whether other machines answer"
            );
        }
    }

    /// Passes events on to the agent; claims only while few events wait for it.
    fn report_events(&mut self) {
        let now = self.now();
        while let Some(event) = self.poll_event(now) {
            match event {
                WireEvent::Probed(address, result) => {
                    self.metrics.probed(result);
                    if !self.station.is_monitored(address) {
                        self.sockets.request_filters(now);
                    }
                }
                WireEvent::Claimed(..) => self.metrics.claims.inc(),
                WireEvent::Announced(_) => {}
            }
            self.events.send(event);
        }
    }

    fn poll_event(&mut self, now: Time) -> Option<WireEvent> {
        if self.events.has_room() {
            self.station.poll_event(now)
        } else {
            self.station.poll_event_without_claim(now)
        }
    }

    fn open_sockets(&mut self, poller: &Poller) {
        self.sockets.open(poller, self.now());
        self.use_links();
    }

    /// Gives the station the links that have sockets, so that no link without sockets wins an address that another link
    /// could serve.
    fn use_links(&mut self) {
        let usable = self.sockets.take_usable(self.now());
        self.station.set_links(usable, self.now());
    }

    fn lose(&mut self, link: LinkIndex, error: &std::io::Error) {
        self.sockets.close(link, error, self.now());
        self.use_links();
    }

    fn set_filters(&mut self) {
        let station = &self.station;
        let now = Time::since_zero(self.zero.elapsed());
        self.sockets.set_filters(|link| station.addresses_on(link), now);
    }

    fn change_groups(&mut self) -> Progress {
        let mut progress = Progress::More;
        for _ in 0..CHORES {
            let change = self.station.poll_group();
            let Some(change) = change.or_else(|| self.sockets.poll_join()) else {
                progress = Progress::Idle;
                break;
            };
            self.sockets.change_group(change, self.now());
        }
        self.metrics.set_pending_joins(self.sockets.pending_joins());
        progress
    }

    /// Answers the frames that wait at one socket, a batch at most: other sockets have their turn, too. Returns whether more
    /// frames may wait.
    fn answer(&mut self, link: LinkIndex, family: Family) -> Progress {
        let Some(socket) = self.sockets.socket(link, family) else {
            return Progress::Idle;
        };
        if let Err(error) = socket.receive(&mut self.received) {
            self.metrics.receive_errors.inc();
            self.lose(link, &error);
            return Progress::Idle;
        }
        let now = self.now();
        for frame in self.received.iter() {
            let answer = self.outgoing.push(|buffer| {
                let answer = self.station.handle_frame(link, frame, buffer, now)?;
                Ok((answer.address, answer.length))
            });
            if let Err(reason) = answer {
                self.metrics.ignored(reason);
            }
        }
        let metrics = &self.metrics;
        let sent = self.outgoing.send(socket, metrics, |address, is_sent| {
            metrics.request(address, is_sent)
        });
        if let Err(error) = sent {
            self.lose(link, &error);
        }
        if self.received.is_full() {
            Progress::More
        } else {
            Progress::Idle
        }
    }

    /// Sends the probes and announcements that are due, as many as the pace allows: those for one socket with one system call,
    /// so that receivers, too, wake up once for all of them.
    fn transmit(&mut self) {
        let now = self.now();
        let mut frame = [0; MAX_FRAME_LENGTH];
        let mut batch = None;
        while let Some(next) = self.station.poll_transmit(&mut frame, now) {
            let destination = Destination::of(&next);
            if let Some(full) = batch
                .replace(destination)
                .filter(|batch| *batch != destination || self.outgoing.is_full())
            {
                self.send(full);
            }
            self.outgoing.add(next.address, &frame[..next.length]);
        }
        if let Some(last) = batch {
            self.send(last);
        }
    }

    /// Sends what is in `outgoing`.
    fn send(&mut self, destination: Destination) {
        let metrics = &self.metrics;
        let Destination {
            link,
            family,
            purpose,
        } = destination;
        let Some(socket) = self.sockets.socket(link, family) else {
            self.outgoing.discard();
            return;
        };
        let sent = self.outgoing.send(socket, metrics, |address, is_sent| {
            if is_sent && purpose == Purpose::Announcement {
                metrics.announcement(address);
            }
        });
        if let Err(error) = sent {
            self.lose(link, &error);
        }
    }
}

/// Where a batch of frames goes, and what the frames are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Destination {
    link: LinkIndex,
    family: Family,
    purpose: Purpose,
}

impl Destination {
    const fn of(transmission: &Transmission) -> Self {
        Self {
            link: transmission.link,
            family: Family::of(transmission.address),
            purpose: transmission.purpose,
        }
    }
}

impl FilterChange {
    const fn of(command: &Command) -> Self {
        match command {
            Command::Announce(Announcement { address, .. })
            | Command::Probe(Announcement { address, .. })
            | Command::Check {
                announcement: Announcement { address, .. },
                ..
            } => Self::Admit(*address),
            Command::Withdraw(_) | Command::WithdrawAll | Command::CancelProbe(_) => Self::Narrow,
            Command::Reannounce(_)
            | Command::Defend(_)
            | Command::DefendAgainstForged(_)
            | Command::DefendAtOnce(_) => Self::Keep,
        }
    }
}

/// How long to wait for frames: not at all while there is more to do, and never longer than [`LONGEST_WAIT`].
fn wait(is_busy: bool, due: Option<Time>, now: Time) -> Duration {
    if is_busy {
        return Duration::ZERO;
    }
    due.map_or(LONGEST_WAIT, |due| (due - now).min(LONGEST_WAIT))
}

/// Returns how much too late the thread runs, if that is a pause. `elapsed` is the time since it ran before, of which it was
/// allowed to wait for `timeout`.
fn pause(elapsed: Duration, timeout: Duration) -> Option<Duration> {
    let late = elapsed.saturating_sub(timeout);
    (late > PAUSE).then_some(late)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use herald_core::announce::layer2::ProbeResult;
    use herald_fixtures::at;
    use herald_l2::wire::arp::{Arp, Operation};
    use herald_l2::wire::ndp::{ALL_NODES, Advertisement};
    use herald_l2::{Link, MacAddr};
    use herald_netns::blocking::block_on;

    use super::super::events::{self, WAITING_EVENTS, WireEvents};
    use super::*;

    const LINK: LinkIndex = LinkIndex(2);
    const CLAIMANT: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    /// Addresses of each family; those of both are more than may wait.
    const ADDRESSES: u16 = 3000;

    fn v4(number: u16) -> Ipv4Addr {
        (0x0a00_0000 + u32::from(number)).into()
    }

    fn v6(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)
    }

    fn announcement(address: impl Into<IpAddr>) -> Announcement {
        Announcement {
            address: address.into(),
            interfaces: None,
        }
    }

    /// A task that announces [`ADDRESSES`] of each family on a link without sockets.
    fn announcing() -> (WireTask, WireEvents) {
        let (_, inputs) = std::sync::mpsc::channel();
        let (sender, events) = events::queue();
        let metrics = WireMetrics::register(&prometheus::Registry::new()).expect("registered");
        let mut task = WireTask::new(WireOptions::default(), inputs, sender, metrics, 0);
        let link = Link {
            index: LINK,
            name: "eth0".to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 2]),
            prefixes: Vec::new(),
            arp: true,
            ndp: true,
        };
        task.station.set_links(vec![link], at(0));
        for address in (0..ADDRESSES).flat_map(|number| [IpAddr::V4(v4(number)), v6(number).into()]) {
            let command = Command::Announce(announcement(address));
            task.station.handle_command(command, at(0));
        }
        (task, events)
    }

    /// Another machine claims all addresses of [`announcing`].
    fn flood(task: &mut WireTask) {
        let mut frame = [0; MAX_FRAME_LENGTH];
        let mut receive = |emit: &dyn Fn(&mut [u8]) -> usize| {
            let length = emit(&mut frame);
            let answer = &mut [0; MAX_FRAME_LENGTH];
            let _not_answered = task.station.handle_frame(LINK, &frame[..length], answer, at(1));
        };
        for number in 0..ADDRESSES {
            let arp = Arp {
                operation: Operation::Request,
                sender_mac: CLAIMANT,
                sender_ip: v4(number),
                target_mac: MacAddr::ZERO,
                target_ip: v4(number),
            };
            receive(&|buffer| arp.emit(MacAddr::BROADCAST, CLAIMANT, buffer));
            let advertisement = Advertisement {
                source: v6(number),
                destination: ALL_NODES,
                router: false,
                solicited: false,
                overriding: true,
                target: v6(number),
                link_address: Some(CLAIMANT),
            };
            receive(&|buffer| advertisement.emit(MacAddr::multicast(ALL_NODES), CLAIMANT, buffer));
        }
    }

    /// What the agent receives with one look: as much as waits.
    fn receive_all(events: &mut WireEvents) -> Vec<WireEvent> {
        let mut received = Vec::new();
        block_on(events.recv_many(&mut received, usize::MAX));
        received
    }

    #[test]
    fn a_flood_of_claims_waits_in_bounded_memory_for_an_agent_that_is_behind() {
        let (mut task, mut events) = announcing();
        for _ in 0..4 {
            flood(&mut task);
            task.report_events();
        }
        let unusable = BTreeSet::from(["absent".to_owned()]);
        let probed = Announcement {
            interfaces: Some(unusable),
            ..announcement(v4(ADDRESSES))
        };
        let address = probed.address;
        task.station.handle_command(Command::Probe(probed), at(2));
        task.report_events();

        let mut received = receive_all(&mut events);
        let result = received.pop();
        assert_eq!(result, Some(WireEvent::Probed(address, ProbeResult::NoLink)));
        assert_eq!(received.len(), WAITING_EVENTS);
        task.report_events();
        received.extend(receive_all(&mut events));
        let claimed: BTreeSet<IpAddr> = received
            .iter()
            .map(|event| match event {
                WireEvent::Claimed(address, CLAIMANT) => *address,
                WireEvent::Claimed(..) | WireEvent::Probed(..) | WireEvent::Announced(_) => {
                    panic!("{event:?}")
                }
            })
            .collect();
        assert_eq!(
            claimed.len(),
            2 * usize::from(ADDRESSES),
            "all addresses are reported"
        );
    }

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn filters_admit_an_address_before_it_is_announced_probed_or_checked() {
        let announcement = || Announcement {
            address: ADDRESS,
            interfaces: None,
        };
        let check = Command::Check {
            announcement: announcement(),
            target: None,
        };
        let (admit, narrow, keep) = (
            FilterChange::Admit(ADDRESS),
            FilterChange::Narrow,
            FilterChange::Keep,
        );
        for (command, change) in [
            (Command::Announce(announcement()), admit),
            (Command::Probe(announcement()), admit),
            (check, admit),
            (Command::Withdraw(ADDRESS), narrow),
            (Command::WithdrawAll, narrow),
            (Command::CancelProbe(ADDRESS), narrow),
            (Command::Reannounce(ADDRESS), keep),
            (Command::Defend(ADDRESS), keep),
            (Command::DefendAgainstForged(ADDRESS), keep),
            (Command::DefendAtOnce(ADDRESS), keep),
        ] {
            assert_eq!(FilterChange::of(&command), change, "{command:?}");
        }
    }

    #[test]
    fn a_wait_ends_when_something_is_due_and_after_200_ms_at_the_latest() {
        let milliseconds = Duration::from_millis;
        assert_eq!(wait(true, Some(at(500)), at(0)), Duration::ZERO);
        assert_eq!(wait(false, Some(at(150)), at(100)), milliseconds(50));
        assert_eq!(wait(false, Some(at(50)), at(100)), Duration::ZERO);
        assert_eq!(wait(false, Some(at(500)), at(0)), milliseconds(200));
        assert_eq!(wait(false, None, at(0)), milliseconds(200));
    }

    #[test]
    fn a_thread_that_runs_more_than_200_ms_too_late_was_paused() {
        let milliseconds = Duration::from_millis;
        assert_eq!(pause(milliseconds(400), milliseconds(200)), None);
        assert_eq!(
            pause(milliseconds(401), milliseconds(200)),
            Some(milliseconds(201))
        );
        assert_eq!(pause(milliseconds(201), Duration::ZERO), Some(milliseconds(201)));
    }
}
