//! The shell of a peering: the peering and the connection that the peering asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use herald_bgp::peering::{Peering, PeeringAction};
use herald_bgp::rib_out::NextHops;
use herald_bgp::session::{SessionEnd, SessionState};
use herald_bgp::wire::notification::CeaseSubcode;
use herald_core::Time;
use herald_netio::{DialError, DialOptions, Interface, Poller, TcpConnection};

use super::connection::PeerConnection;
use super::context::PeerContext;
use super::limits::ReportedLimits;
use super::link::PeerLink;
use super::metrics::PeerMetrics;
use super::next_hops::{is_gone, next_hops};
use super::{BgpReport, PeerEvent, PeerSettings};

/// Reads from a connection before others have their turn: a peer that floods delays the others by these at most.
const READS: usize = 4;
/// How long the first attempt at an unnumbered peer waits for its router advertisement. It answers a solicitation at once.
const FIRST_ADVERTISEMENT: Duration = Duration::from_secs(5);
/// Bytes written to a connection before others have their turn: a few batches of routes, some milliseconds of encoding.
const WRITES: usize = 1 << 18;

pub(super) struct PeerShell {
    /// The token of its connection.
    token: u64,
    settings: PeerSettings,
    peering: Peering,
    /// That of an unnumbered peer.
    link: Option<PeerLink>,
    /// When the session is started at the latest, if it is not.
    start_at: Option<Time>,
    connection: Option<PeerConnection>,
    /// The error of the connection that ends the session.
    cause: Option<DialError>,
    limits: ReportedLimits,
    /// When the oldest of the changes was decided that an established session has not sent.
    unsent_since: Option<Instant>,
    metrics: Arc<PeerMetrics>,
}

impl PeerShell {
    /// Starts a session. `token` is that of no other peer.
    pub(super) fn new(
        name: Arc<str>,
        settings: PeerSettings,
        metrics: Arc<PeerMetrics>,
        token: u64,
        seed: u64,
        now: Time,
    ) -> Self {
        let mut peering = Peering::new(name, settings.session.clone(), seed);
        let link = settings.interface.clone().map(PeerLink::new);
        let start_at = link.is_some().then(|| now + FIRST_ADVERTISEMENT);
        if start_at.is_none() {
            peering.start(now);
        }
        Self {
            token,
            settings,
            peering,
            link,
            start_at,
            connection: None,
            cause: None,
            limits: ReportedLimits::default(),
            unsent_since: None,
            metrics,
        }
    }

    pub(super) const fn token(&self) -> u64 {
        self.token
    }

    /// Takes that a route of this peer was changed by a decision of this moment.
    pub(super) fn handle_route(&mut self, decided: Instant) {
        if self.peering.state() == SessionState::Established {
            self.unsent_since.get_or_insert(decided);
        }
    }

    pub(super) const fn settings(&self) -> &PeerSettings {
        &self.settings
    }

    /// Counts elsewhere from now on: the peer has another address.
    pub(super) fn set_metrics(&mut self, metrics: Arc<PeerMetrics>) {
        self.metrics = metrics;
    }

    /// Replaces the settings. The session goes on where the protocol allows that; otherwise there is a new one at once.
    pub(super) fn set(&mut self, settings: PeerSettings, now: Time) {
        let before = std::mem::replace(&mut self.settings, settings);
        let (dial, session) = (&self.settings.dial, &self.settings.session);
        self.peering.set_config(session.clone(), now);
        let with_key_of_before = DialOptions {
            key: before.dial.key.clone(),
            ..dial.clone()
        };
        if self.settings.interface != before.interface {
            self.link = self.settings.interface.clone().map(PeerLink::new);
            self.start(now);
            self.peering.reset(now);
        } else if with_key_of_before != before.dial {
            self.peering.reset(now);
        } else if dial.key != before.dial.key {
            // The segments of the live connection are signed with the new key from now on. The peer repeats what it drops until it
            // has the new key, too.
            let established = self.connection.as_ref().filter(|one| one.local.is_some());
            let replaced = established.map(|one| one.tcp.set_key(dial.key.as_deref()));
            match replaced {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.cause = Some(error);
                    self.peering.reset(now);
                }
                None => self.peering.reset(now),
            }
        }
    }

    /// Starts the session, unless it is started.
    fn start(&mut self, now: Time) {
        self.start_at = None;
        self.peering.start(now);
    }

    /// Ends the session because the peer is not configured any more.
    pub(super) fn remove(&mut self, now: Time) {
        let text = "the peer was removed from the configuration".to_owned();
        let end = SessionEnd::Stopped(CeaseSubcode::AdministrativeShutdown, text);
        self.peering.stop(end, now);
    }

    /// Ends the session because the process ends.
    pub(super) fn stop(&mut self, now: Time) {
        self.peering.stop(SessionEnd::Restart, now);
    }

    /// Looks for the router of an unnumbered peer, and takes the next hops, on the interfaces as they are now.
    pub(super) fn handle_interfaces(&mut self, context: &mut PeerContext, now: Time) {
        if let Some(link) = &mut self.link {
            link.update(&context.interfaces, &context.poller, self.token, now);
        }
        let connection = self.connection.as_ref();
        if let Some((local, peer)) = connection.and_then(|one| Some((one.local?, one.peer))) {
            if is_gone(local, &context.interfaces) {
                // The routes of this session name a next hop that answers no more, and TCP does not notice for long.
                self.cause = Some(DialError::Source(local));
                self.peering.reset(now);
                return;
            }
            let next_hops = self.next_hops(local, peer, &context.interfaces);
            self.peering.set_next_hops(next_hops, &mut context.routes);
        }
    }

    /// Returns the next hops over a connection. On the link of an unnumbered peer, an IPv4 address means nothing: there the IPv6 next
    /// hop is that of IPv4 routes as well (RFC 8950).
    fn next_hops(&self, local: IpAddr, peer: IpAddr, interfaces: &[Interface]) -> NextHops {
        let next_hops = next_hops(local, peer, interfaces);
        NextHops {
            v4: next_hops.v4.filter(|_| self.link.is_none()),
            ..next_hops
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let link = self.link.as_ref().and_then(PeerLink::poll_timeout);
        let all = [self.peering.poll_timeout(), link, self.start_at];
        all.into_iter().flatten().min()
    }

    /// Acts on timers that are due. What waits in the socket is read first: while this thread was late, the peer was not silent.
    pub(super) fn handle_timeout(&mut self, context: &mut PeerContext, now: Time) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.handle_ready(context, now);
            self.peering.handle_timeout(now);
            if self.start_at.is_some_and(|due| due <= now) {
                self.start(now);
            }
            if let Some(link) = &mut self.link {
                link.drive(now);
            }
        }
    }

    /// The connection is readable or writable, or lost.
    pub(super) fn handle_ready(&mut self, context: &mut PeerContext, now: Time) {
        if self.link.as_mut().is_some_and(|link| link.handle_ready(now)) {
            match self.peering.state() {
                SessionState::Idle => self.start(now),
                SessionState::Connect | SessionState::Active => self.peering.reset(now),
                // The router of before is there: it is heard again on a link that is back.
                SessionState::OpenSent | SessionState::OpenConfirm | SessionState::Established => {}
            }
        }
        if let Err(error) = self.connect(&context.interfaces, now) {
            self.lose(error, context, now);
        } else if let Err(error) = self.receive(&mut context.buffer, now) {
            self.lose(error, context, now);
        }
    }

    /// Notes whether the connection is made meanwhile.
    fn connect(&mut self, interfaces: &[Interface], now: Time) -> std::io::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if connection.local.is_some() {
            connection.is_full = false;
        } else if connection.tcp.poll_connected()? {
            let (local, peer) = (connection.tcp.local_address()?, connection.peer);
            connection.local = Some(local);
            connection.is_full = false;
            let next_hops = self.next_hops(local, peer, interfaces);
            self.peering.handle_connected(next_hops, now);
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], now: Time) -> std::io::Result<()> {
        for _ in 0..READS {
            let Some(connection) = self.connection.as_ref().filter(|one| one.local.is_some()) else {
                break;
            };
            match connection.tcp.receive(buffer)? {
                None => break,
                Some(0) => {
                    self.connection = None;
                    self.peering.handle_closed(now);
                }
                Some(count) => self.peering.handle_bytes(&buffer[..count], now),
            }
        }
        Ok(())
    }

    /// Carries out what the peering wants, and sends what the connection takes.
    pub(super) fn drive(&mut self, context: &mut PeerContext, now: Time) {
        loop {
            while let Some(action) = self.peering.poll_action(&mut context.routes) {
                self.act(action, context, now);
            }
            match self.transmit(context, now) {
                Ok(()) => break,
                Err(error) => self.lose(error, context, now),
            }
        }
        let (sent, received) = (self.peering.sent_messages(), self.peering.received_messages());
        self.metrics.set_messages(sent, received);
        let name = self.peering.name();
        self.metrics.set_sendable(context.routes.sendable(name));
        self.metrics.set_unsendable(context.routes.unsendable(name));
        self.report_limits(context);
    }

    /// Reports what the session cannot have, if that is something else than before.
    fn report_limits(&mut self, context: &PeerContext) {
        if let Some(limits) = self.limits.poll(self.peering.name(), &context.routes) {
            self.report(PeerEvent::Limited(limits), context);
        }
    }

    fn report(&self, event: PeerEvent, context: &PeerContext) {
        let peer = Arc::clone(self.peering.name());
        // Fails only while the program ends.
        let _ended = context.reports.send(BgpReport { peer, event });
    }

    fn act(&mut self, action: PeeringAction, context: &PeerContext, now: Time) {
        let event = match action {
            PeeringAction::Dial => {
                self.cause = None;
                match self.dial(&context.poller) {
                    Ok(connection) => self.connection = Some(connection),
                    Err(error) => {
                        self.cause = Some(error);
                        self.peering.handle_closed(now);
                    }
                }
                return;
            }
            PeeringAction::Close(last) => {
                if let Some(connection) = self.connection.take() {
                    connection.tcp.close(&last);
                }
                return;
            }
            PeeringAction::Up(negotiated) => {
                self.metrics.handle_up();
                // The limits come first: the numbers that are published with the new state depend on them.
                self.report_limits(context);
                PeerEvent::Up(negotiated)
            }
            PeeringAction::Ended { state, end } => {
                if let Some(link) = self.link.as_mut().filter(|_| state != SessionState::Established) {
                    link.handle_failure();
                }
                self.metrics.handle_ended(state, &end);
                self.unsent_since = None;
                PeerEvent::Ended {
                    state,
                    end,
                    cause: self.cause.take(),
                }
            }
        };
        self.report(event, context);
    }

    fn dial(&self, poller: &Poller) -> Result<PeerConnection, DialError> {
        let options = DialOptions {
            peer: self.address()?,
            ..self.settings.dial.clone()
        };
        let tcp = TcpConnection::dial(&options)?;
        poller.add(&tcp, self.token)?;
        poller.set_awaits_writable(&tcp, self.token, true)?;
        Ok(PeerConnection {
            tcp,
            peer: options.peer.ip(),
            local: None,
            is_full: true,
            awaits_writable: true,
        })
    }

    /// Returns where the peer takes connections.
    fn address(&self) -> Result<SocketAddr, DialError> {
        let configured = self.settings.dial.peer;
        match &self.link {
            Some(link) => link.router(configured.port()),
            None => Ok(configured),
        }
    }

    fn transmit(&mut self, context: &mut PeerContext, now: Time) -> std::io::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let mut budget = WRITES;
        let mut has_sent = false;
        while !connection.is_full
            && let Some(bytes) = self.peering.poll_transmit(&mut context.routes)
        {
            let length = bytes.len();
            let took = connection.tcp.send(bytes)?.unwrap_or(0);
            self.peering.handle_sent(took, now);
            has_sent = true;
            budget = budget.saturating_sub(took);
            connection.is_full = took < length || budget == 0;
        }
        let name = self.peering.name();
        if !connection.is_full
            && context.routes.is_settled(name)
            && let Some(decided) = self.unsent_since.take()
        {
            context.metrics.handle_sent(decided.elapsed());
        }
        if has_sent {
            self.metrics.set_announced(context.routes.announced(name));
        }
        if connection.awaits_writable != connection.is_full {
            connection.awaits_writable = connection.is_full;
            let (poller, token) = (&context.poller, self.token);
            poller.set_awaits_writable(&connection.tcp, token, connection.is_full)?;
        }
        Ok(())
    }

    /// Gives the connection up. What the peer said last is read first, as it may be the NOTIFICATION that says why.
    fn lose(&mut self, error: std::io::Error, context: &mut PeerContext, now: Time) {
        // The error is known; another one at the end of what was read says nothing new.
        let _end = self.receive(&mut context.buffer, now);
        self.connection = None;
        if !matches!(self.peering.state(), SessionState::Idle | SessionState::Active) {
            self.cause = Some(error.into());
            self.peering.handle_closed(now);
        }
    }
}
