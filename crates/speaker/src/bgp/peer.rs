//! The shell of a peering: the peering and the connection that the peering asked for.

use std::net::IpAddr;
use std::sync::Arc;

use herald_bgp::peering::{Peering, PeeringAction};
use herald_bgp::ribs_out::RibsOut;
use herald_bgp::session::{SessionEnd, SessionState};
use herald_bgp::wire::notification::CeaseSubcode;
use herald_core::Time;
use herald_netio::{DialError, DialOptions, Interface, Poller, TcpConnection};
use tokio::sync::mpsc::UnboundedSender;

use super::metrics::PeerMetrics;
use super::next_hops::next_hops;
use super::{BgpReport, PeerEvent, PeerSettings};

/// Reads from a connection before others have their turn: a peer that floods delays the others by these at most.
const READS: usize = 4;
/// Bytes written to a connection before others have their turn: a few batches of routes, some milliseconds of encoding.
const WRITES: usize = 1 << 18;

/// What all peers of the thread use.
pub(super) struct PeerContext {
    pub(super) poller: Poller,
    pub(super) reports: UnboundedSender<BgpReport>,
    pub(super) routes: RibsOut,
    pub(super) interfaces: Vec<Interface>,
    /// Room for received bytes.
    pub(super) buffer: Vec<u8>,
}

pub(super) struct PeerShell {
    /// The token of its connection.
    token: u64,
    settings: PeerSettings,
    peering: Peering,
    connection: Option<PeerConnection>,
    /// The error of the connection that ends the session.
    cause: Option<DialError>,
    metrics: Arc<PeerMetrics>,
}

struct PeerConnection {
    tcp: TcpConnection,
    /// The own address, once the connection is made.
    local: Option<IpAddr>,
    /// Whether nothing is sent before the connection is reported writable.
    is_full: bool,
    awaits_writable: bool,
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
        peering.start(now);
        Self {
            token,
            settings,
            peering,
            connection: None,
            cause: None,
            metrics,
        }
    }

    pub(super) const fn token(&self) -> u64 {
        self.token
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
        if with_key_of_before != before.dial {
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

    /// Takes the next hops from the interfaces, which have changed.
    pub(super) fn update_next_hops(&mut self, context: &mut PeerContext) {
        let local = self.connection.as_ref().and_then(|one| one.local);
        if let Some(local) = local {
            let peer = self.settings.dial.peer.ip();
            let next_hops = next_hops(local, peer, &context.interfaces);
            self.peering.set_next_hops(next_hops, &mut context.routes);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.peering.poll_timeout()
    }

    /// Acts on timers that are due. What waits in the socket is read first: while this thread was late, the peer was not silent.
    pub(super) fn handle_timeout(&mut self, context: &mut PeerContext, now: Time) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.handle_ready(context, now);
            self.peering.handle_timeout(now);
        }
    }

    /// The connection is readable or writable, or lost.
    pub(super) fn handle_ready(&mut self, context: &mut PeerContext, now: Time) {
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
        if connection.local.is_none() {
            if !connection.tcp.poll_connected()? {
                return Ok(());
            }
            let (local, peer) = (connection.tcp.local_address()?, self.settings.dial.peer.ip());
            connection.local = Some(local);
            let next_hops = next_hops(local, peer, interfaces);
            self.peering.handle_connected(next_hops, now);
        }
        connection.is_full = false;
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
        self.metrics
            .set_wanted(context.routes.wanted(self.peering.name()));
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
                self.metrics.set_up(true);
                PeerEvent::Up(negotiated)
            }
            PeeringAction::Ended { state, end } => {
                self.metrics.set_up(false);
                self.metrics.set_announced(0);
                PeerEvent::Ended {
                    state,
                    end,
                    cause: self.cause.take(),
                }
            }
        };
        let peer = Arc::clone(self.peering.name());
        // Fails only while the program ends.
        let _ended = context.reports.send(BgpReport { peer, event });
    }

    fn dial(&self, poller: &Poller) -> Result<PeerConnection, DialError> {
        let tcp = TcpConnection::dial(&self.settings.dial)?;
        poller.add(&tcp, self.token)?;
        poller.set_awaits_writable(&tcp, self.token, true)?;
        Ok(PeerConnection {
            tcp,
            local: None,
            is_full: true,
            awaits_writable: true,
        })
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
        if has_sent {
            let announced = context.routes.announced(self.peering.name());
            self.metrics.set_announced(announced);
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
