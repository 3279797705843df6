//! The wire thread's loop: commands, frames, announcements.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_core::{Family, Time};
use herald_l2::prober::ProbeTiming;
use herald_l2::{Announcer, GroupChange, Link, MacAddr, Prober, Transmission};
use herald_netio::{Frames, Interface, Poller};
use tokio::sync::mpsc;

use super::link_sockets::{LinkSockets, port};
use super::metrics::WireMetrics;
use super::outgoing::Outgoing;
use super::pending_joins::PendingJoins;
use super::{Announcement, Heard, WireOptions, links};

/// Commands and group changes done before frames are looked at again, so that 10 000 addresses that move at once
/// delay no answer by more than this many system calls.
const CHORES: usize = 32;

/// Pause before what failed is tried again: descriptors or memory may be free by then, an interface up. A socket that
/// is bound to an interface which is down fails at once, so there must be a pause.
const RETRY: Duration = Duration::from_secs(1);

/// The thread looks up from its sockets at least this often, so that it notices when it was paused.
const NAP: Duration = Duration::from_millis(200);

/// When it comes that much too late, others may have taken it for dead: gossip suspects within some 150 ms, and a probe
/// takes another 100 ms.
const OVERSLEPT: Duration = Duration::from_millis(200);

/// From a change of the addresses until filters hold back what is about others again. A filter of thousands of addresses
/// takes some milliseconds to make, so at five a second no more than a percent of the time goes into it, whatever moves.
const NARROW: Duration = Duration::from_millis(200);

/// What the thread is told.
pub(super) enum Command {
    Announce(Announcement),
    Reannounce(IpAddr),
    Defend(IpAddr),
    Withdraw(IpAddr),
    WithdrawAll,
    Probe(Announcement),
    Check(Announcement, Option<MacAddr>),
    StopProbe(IpAddr),
    SetInterfaces(Vec<Interface>),
}

/// What the thread owns.
pub(super) struct WireTask {
    options: WireOptions,
    commands: Receiver<Command>,
    announcer: Announcer,
    prober: Prober,
    heard: mpsc::UnboundedSender<Heard>,
    links: Vec<Link>,
    ports: BTreeMap<u32, LinkSockets>,
    unjoined: PendingJoins,
    /// When sockets that could not be opened, or have died, and groups that could not be joined are tried again.
    retry: Option<Instant>,
    /// When the sockets' filters are made anew.
    narrow: Option<Instant>,
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

/// Whether the sockets of every link let through what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Widened {
    All,
    NotAll,
}

impl WireTask {
    pub(super) fn new(
        options: WireOptions,
        commands: Receiver<Command>,
        heard: mpsc::UnboundedSender<Heard>,
        metrics: WireMetrics,
        seed: u64,
    ) -> Self {
        Self {
            announcer: Announcer::new(options.refresh, seed),
            prober: Prober::new(ProbeTiming::default()),
            heard,
            options,
            commands,
            links: Vec::new(),
            ports: BTreeMap::new(),
            unjoined: PendingJoins::default(),
            retry: None,
            narrow: None,
            received: Frames::default(),
            outgoing: Outgoing::new(),
            metrics,
            zero: Instant::now(),
        }
    }

    /// Works until the handle is dropped.
    pub(super) fn run(mut self, mut poller: Poller) -> anyhow::Result<()> {
        loop {
            let commands = self.obey(&poller);
            if commands == Progress::Stop {
                return Ok(());
            }
            self.try_again(&poller);
            let groups = self.change_groups();
            self.ask();
            self.announce();
            self.narrow();
            let busy = commands == Progress::More || groups == Progress::More;
            let timeout = if busy {
                Some(Duration::ZERO)
            } else {
                self.timeout()
            };
            let timeout = timeout.map_or(NAP, |timeout| timeout.min(NAP));
            let begin = Instant::now();
            let ready = poller.wait(Some(timeout)).context("cannot wait for packets")?;
            let ready: Vec<u64> = ready.collect();
            if begin.elapsed() > timeout + OVERSLEPT {
                self.awake();
            }
            for token in ready {
                let (link, family) = port(token);
                self.answer(link, family);
            }
            // Only now, so that no answer to a probe that is over lies unread.
            self.tell();
        }
    }

    /// This process was paused, or the machine asleep: others may have taken over, so nothing is answered for until the
    /// driver has asked again.
    fn awake(&mut self) {
        tracing::warn!("this process did not run for a while: making sure that nobody has taken over");
        self.withdraw_all();
        // Fails only while the program ends.
        let _ended = self.heard.send(Heard::Paused);
    }

    fn withdraw_all(&mut self) {
        self.announcer.withdraw_all();
        self.narrow_later();
    }

    /// Tells the driver what was found and heard.
    fn tell(&mut self) {
        let now = self.now();
        while let Some((address, finding)) = self.prober.poll_result(now) {
            self.metrics.probed(finding);
            let _ended = self.heard.send(Heard::Found(address, finding));
            if !self.prober.is_monitored(address) {
                self.narrow_later();
            }
        }
        while let Some(claim) = self.announcer.poll_claim() {
            self.metrics.claims.inc();
            let _ended = self.heard.send(Heard::Claimed(claim.address, claim.mac));
        }
    }

    fn now(&self) -> Time {
        Time::since_zero(self.zero.elapsed())
    }

    fn timeout(&self) -> Option<Duration> {
        let due = self
            .announcer
            .poll_timeout()
            .into_iter()
            .chain(self.prober.poll_timeout())
            .min();
        let announcement = due.map(|due| due - self.now());
        let others = self.retry.into_iter().chain(self.narrow);
        let others = others.map(|at| at.saturating_duration_since(Instant::now()));
        announcement.into_iter().chain(others).min()
    }

    fn obey(&mut self, poller: &Poller) -> Progress {
        for _ in 0..CHORES {
            match self.commands.try_recv() {
                Ok(command) => self.obey_one(command, poller),
                Err(TryRecvError::Empty) => return Progress::Idle,
                Err(TryRecvError::Disconnected) => return Progress::Stop,
            }
        }
        Progress::More
    }

    fn obey_one(&mut self, command: Command, poller: &Poller) {
        let now = self.now();
        match command {
            Command::Announce(Announcement { address, interfaces }) => {
                self.metrics.add(address);
                self.hear(address);
                self.announcer.announce(address, interfaces, now);
            }
            Command::Reannounce(address) => self.announcer.reannounce(address, now),
            Command::Defend(address) => self.announcer.defend(address, now),
            Command::Probe(Announcement { address, interfaces }) => {
                self.hear(address);
                self.prober.probe(address, interfaces, now);
            }
            Command::Check(Announcement { address, interfaces }, to) => {
                self.hear(address);
                self.prober.check(address, interfaces, to, now);
            }
            Command::StopProbe(address) => {
                self.prober.cancel(address);
                self.narrow_later();
            }
            Command::Withdraw(address) => {
                self.announcer.withdraw(address);
                self.prober.cancel(address);
                self.metrics.remove(address);
                self.narrow_later();
            }
            Command::WithdrawAll => self.withdraw_all(),
            Command::SetInterfaces(interfaces) => {
                let links = links(&interfaces, &self.options.exclude);
                if links != self.links {
                    self.links = links;
                    self.open_ports(poller);
                }
            }
        }
    }

    /// Lets frames about `address` through everywhere, before anything is asked or said about it.
    fn hear(&mut self, address: IpAddr) {
        if self.widen(|ports| ports.hear(address)) == Widened::NotAll {
            self.use_links();
        }
    }

    /// Drops the sockets that cannot be widened: one that is opened anew hears everything.
    fn widen(&mut self, widen: impl Fn(&mut LinkSockets) -> io::Result<bool>) -> Widened {
        let before = self.ports.len();
        let mut is_open = false;
        self.ports.retain(|link, ports| {
            let widened = widen(ports);
            if let Err(error) = &widened {
                tracing::warn!(link, %error, "cannot widen the filter of an interface");
            }
            is_open |= widened.as_ref().is_ok_and(|is_open| *is_open);
            widened.is_ok()
        });
        if is_open {
            self.narrow_later();
        }
        if self.ports.len() == before {
            return Widened::All;
        }
        self.retry_later();
        Widened::NotAll
    }

    fn narrow_later(&mut self) {
        self.narrow.get_or_insert_with(|| Instant::now() + NARROW);
    }

    /// Holds back what is about addresses that are neither held nor asked for, if something has changed a while ago.
    fn narrow(&mut self) {
        if self.narrow.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.narrow = None;
        for (link, ports) in &mut self.ports {
            let held = self.announcer.addresses_on(*link);
            let asked = self.prober.addresses_on(*link);
            if let Err(error) = ports.narrow(held.chain(asked)) {
                // What it lets through besides costs time, and nothing else.
                tracing::warn!(link, %error, "cannot narrow the filter of an interface");
            }
        }
    }

    fn try_again(&mut self, poller: &Poller) {
        if self.retry.is_some_and(|at| at <= Instant::now()) {
            self.open_ports(poller);
        }
    }

    fn retry_later(&mut self) {
        self.retry.get_or_insert_with(|| Instant::now() + RETRY);
    }

    /// Opens and closes sockets as the links need, and lets failed joins be tried again.
    fn open_ports(&mut self, poller: &Poller) {
        self.retry = None;
        self.unjoined.try_again();
        let mut failed = false;
        let links = &self.links;
        self.ports
            .retain(|index, _| links.iter().any(|link| link.index == *index));
        for link in links {
            let ports = self
                .ports
                .entry(link.index)
                .or_insert_with(|| LinkSockets::new(link.index));
            if let Err(error) = ports.adjust(link, poller) {
                tracing::warn!(interface = %link.name, "cannot use interface: {error:#}");
                self.ports.remove(&link.index);
                failed = true;
            }
        }
        if failed {
            self.retry_later();
        }
        self.use_links();
    }

    /// A link without sockets is none to the announcer, so that it wins no address that another link could serve.
    fn use_links(&mut self) {
        // Addresses may come to links that did not have them.
        self.widen(LinkSockets::hear_all);
        let links = self.links.iter();
        let usable = links.filter(|link| self.ports.contains_key(&link.index));
        let usable: Vec<Link> = usable.cloned().collect();
        self.prober.set_links(usable.clone(), self.now());
        self.announcer.set_links(usable, self.now());
    }

    /// Closes the sockets of a link after an error. The kernel unbinds them for ever when the interface is gone, and
    /// one with the same index may take its place without anybody telling, so they are never trusted again.
    fn lose(&mut self, link: u32, error: &io::Error) {
        tracing::warn!(link, %error, "lost the sockets of an interface, opening them anew");
        self.ports.remove(&link);
        self.retry_later();
        self.use_links();
    }

    fn change_groups(&mut self) -> Progress {
        let mut progress = Progress::More;
        for _ in 0..CHORES {
            let Some(change) = self.announcer.poll_group().or_else(|| self.unjoined.pop()) else {
                progress = Progress::Idle;
                break;
            };
            self.change_group(change);
        }
        self.metrics.set_unjoined(self.unjoined.len());
        progress
    }

    fn change_group(&mut self, change: GroupChange) {
        self.unjoined.remove(change);
        let Some(ports) = self.ports.get_mut(&change.link) else {
            return;
        };
        if let Err(error) = ports.change_group(change) {
            let (link, group) = (change.link, change.group);
            tracing::warn!(link, %group, member = change.member, %error, "cannot change group membership");
            if change.member {
                self.unjoined.insert(change);
                self.retry_later();
            }
        }
    }

    /// Answers what waits at one socket, a batch at most: others have their turn too.
    fn answer(&mut self, link: u32, family: Family) {
        let Some(socket) = self.ports.get(&link).and_then(|ports| ports.socket(family)) else {
            return;
        };
        if let Err(error) = socket.receive(&mut self.received) {
            self.metrics.receive_errors.inc();
            self.lose(link, &error);
            return;
        }
        let now = self.now();
        for frame in self.received.iter() {
            self.prober.handle_frame(link, frame, now);
            let answer = self.outgoing.push(|buffer| {
                let answer = self.announcer.handle_frame(link, frame, buffer, now)?;
                Ok((answer.address, answer.length))
            });
            if let Err(reason) = answer {
                self.metrics.ignored(reason);
            }
        }
        let metrics = &self.metrics;
        let sent = self
            .outgoing
            .send(socket, metrics, |address, sent| metrics.request(address, sent));
        if let Err(error) = sent {
            self.lose(link, &error);
        }
    }

    /// Sends the announcements that are due, as many as the pace allows.
    fn announce(&mut self) {
        let now = self.now();
        while let Some(link) = self.transmit(|poll, buffer| poll.announcer.poll_transmit(buffer, now)) {
            self.flush(link, |metrics, address| metrics.announcement(address));
        }
    }

    /// Sends the probes that are due, as many as the pace allows.
    fn ask(&mut self) {
        let now = self.now();
        while let Some(link) = self.transmit(|poll, buffer| poll.prober.poll_transmit(buffer, now)) {
            self.flush(link, |_, _| {});
        }
    }

    /// Takes the next frame that is due, and tells where it goes.
    fn transmit(
        &mut self,
        next: impl FnOnce(&mut Poll<'_>, &mut [u8]) -> Option<Transmission>,
    ) -> Option<(u32, Family)> {
        let mut poll = Poll {
            announcer: &mut self.announcer,
            prober: &mut self.prober,
        };
        let mut link = None;
        let address = self.outgoing.push(|buffer| {
            let next = next(&mut poll, buffer).ok_or(())?;
            link = Some(next.link);
            Ok::<_, ()>((next.address, next.length))
        });
        Some((link?, Family::of(address.ok()?)))
    }

    fn flush(&mut self, (link, family): (u32, Family), count: impl Fn(&WireMetrics, IpAddr)) {
        let metrics = &self.metrics;
        let Some(socket) = self.ports.get(&link).and_then(|ports| ports.socket(family)) else {
            self.outgoing.discard();
            return;
        };
        let sent = self.outgoing.send(socket, metrics, |address, sent| {
            if sent {
                count(metrics, address);
            }
        });
        if let Err(error) = sent {
            self.lose(link, &error);
        }
    }
}

/// The machines that send of their own accord.
struct Poll<'a> {
    announcer: &'a mut Announcer,
    prober: &'a mut Prober,
}
