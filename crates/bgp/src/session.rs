//! A session with a peer: the state machine of RFC 4271 section 8, without the connection and the clock.
//!
//! The caller makes the connection when [`SessionAction::Dial`] asks for it, reports what happens to it by `handle_*`, and
//! carries out what [`BgpSession::poll_action`] returns until that returns nothing.

mod change;
mod end;
mod fsm;
mod negotiation;
mod timers;

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use herald_core::{Family, Time};

pub use end::SessionEnd;
pub use fsm::SessionState;
use fsm::{SessionEffect, SessionEvent};
pub use negotiation::{ExpectedAs, Negotiated, SessionConfig, Survivor, survivor};
use timers::SessionTimers;

use crate::wire::{
    BgpMessage, EXTENDED_MAX_LENGTH, MAX_LENGTH, MessageCounts, MessageError, MessageType, RawMessage,
    RefreshSubtype, UpdateFormat, emit_keepalive, frame,
};

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAction {
    /// Connect to the peer.
    Dial,
    /// Send these bytes, behind those that are not sent yet.
    Send(Vec<u8>),
    /// Send the routes: all of them, then End-of-RIB of each family.
    Up(Negotiated),
    /// Send all routes of a family again (RFC 2918).
    Refresh(Family),
    /// Send what has to be sent, as far as the peer takes it now, and close the connection, if there is one. No bytes follow.
    Close,
    /// The session, or the attempt at one, is over.
    Ended {
        /// The state in which it ended: only Established was a session.
        state: SessionState,
        /// Why.
        end: SessionEnd,
    },
}

/// A session with one peer.
#[derive(Debug)]
pub struct BgpSession {
    config: SessionConfig,
    state: SessionState,
    timers: SessionTimers,
    /// Bytes of a message that is not whole yet.
    received: Vec<u8>,
    counts: MessageCounts,
    negotiated: Option<Negotiated>,
    /// Whether no session has been established since the process started.
    is_first: bool,
    actions: VecDeque<SessionAction>,
}

impl BgpSession {
    /// Returns a stopped session. `seed` spreads the timers of many sessions (RFC 4271 section 10).
    pub fn new(config: SessionConfig, seed: u64) -> Self {
        let timers = SessionTimers::new(config.connect_retry, seed);
        Self {
            config,
            state: SessionState::Idle,
            timers,
            received: Vec::new(),
            counts: MessageCounts::default(),
            negotiated: None,
            is_first: true,
            actions: VecDeque::new(),
        }
    }

    /// Returns the state.
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// Returns what was agreed on, while the session is established or about to be.
    pub const fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    /// Returns how many messages the peer has sent, in all sessions.
    pub const fn received_messages(&self) -> MessageCounts {
        self.counts
    }

    /// Starts to connect.
    pub fn start(&mut self, now: Time) {
        self.handle(SessionEvent::Start, None, now);
    }

    /// Ends the session for good; `end` says why, and what the peer is told.
    pub fn stop(&mut self, end: SessionEnd, now: Time) {
        self.handle(SessionEvent::Stop, Some(end), now);
    }

    /// Notes that the connection that was dialled is there.
    pub fn handle_connected(&mut self, now: Time) {
        self.handle(SessionEvent::Connected, None, now);
    }

    /// Notes that the peer connected. The session takes the connection in Active. In Connect and later it has a connection, or
    /// is about to have one, and ignores the other: the caller gives that to a session of its own, and stops the session that
    /// [`survivor`] does not name.
    pub fn handle_accepted(&mut self, now: Time) {
        self.handle(SessionEvent::Accepted, None, now);
    }

    /// Notes that the connection could not be made, or was closed.
    pub fn handle_closed(&mut self, now: Time) {
        let end = if self.state == SessionState::Connect {
            SessionEnd::NotConnected
        } else {
            SessionEnd::ConnectionClosed(self.state)
        };
        self.handle(SessionEvent::Closed, Some(end), now);
    }

    /// Notes that BFD lost the peer.
    pub fn handle_bfd_down(&mut self, now: Time) {
        self.handle(SessionEvent::BfdDown, Some(SessionEnd::BfdDown), now);
    }

    /// Ends the pause before the next attempt, because the peer was heard of by other means.
    pub fn handle_peer_heard(&mut self, now: Time) {
        if self.state == SessionState::Active {
            self.handle(SessionEvent::RetryTimer, None, now);
        }
    }

    /// Notes after an attempt to send how many bytes the connection took, and whether some are left (RFC 9687 section 3).
    pub fn handle_sent(&mut self, took: usize, is_left: bool, now: Time) {
        let Some(negotiated) = self.negotiated.as_ref() else {
            // Before the peer's OPEN, that one's limit holds.
            return;
        };
        let hold_time = negotiated.hold_time.duration();
        self.timers.note_sent(took, is_left, hold_time, now);
    }

    /// Takes bytes of the connection.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Time) {
        let mut stream = mem::take(&mut self.received);
        stream.extend_from_slice(bytes);
        let mut rest = &stream[..];
        while self.has_connection() {
            // This side offers extended messages, so it takes them, whatever the peer offers (RFC 8654 section 4).
            match frame(rest, EXTENDED_MAX_LENGTH) {
                Ok(None) => break,
                Ok(Some(raw)) => {
                    rest = &rest[raw.length()..];
                    self.counts.count(&raw);
                    self.handle_frame(raw, now);
                }
                Err(error) => self.handle_bad_message(error.into(), now),
            }
        }
        if self.has_connection() {
            self.received.extend_from_slice(rest);
        }
    }

    /// Acts on timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(event) = self.timers.poll_expired(now) {
            let end = match event {
                SessionEvent::HoldTimer => Some(SessionEnd::HoldTimerExpired),
                SessionEvent::SendHoldTimer => Some(SessionEnd::SendHoldTimerExpired),
                // Outside of Connect, this timer ends nothing.
                SessionEvent::RetryTimer => Some(SessionEnd::NotConnected),
                SessionEvent::Start
                | SessionEvent::Stop
                | SessionEvent::Connected
                | SessionEvent::Accepted
                | SessionEvent::Closed
                | SessionEvent::Open
                | SessionEvent::Keepalive
                | SessionEvent::Update
                | SessionEvent::RouteRefresh
                | SessionEvent::Notification
                | SessionEvent::BadMessage
                | SessionEvent::BfdDown
                | SessionEvent::KeepaliveTimer => None,
            };
            self.handle(event, end, now);
        }
    }

    /// Returns when [`BgpSession::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Returns what to do next.
    pub fn poll_action(&mut self) -> Option<SessionAction> {
        self.actions.pop_front()
    }

    const fn has_connection(&self) -> bool {
        matches!(
            self.state,
            SessionState::OpenSent | SessionState::OpenConfirm | SessionState::Established
        )
    }

    fn format(&self) -> UpdateFormat {
        let before = UpdateFormat {
            four_octet_as: true,
            max_length: MAX_LENGTH,
            internal: false,
        };
        self.negotiated.as_ref().map_or(before, |both| both.format)
    }

    fn handle_frame(&mut self, raw: RawMessage<'_>, now: Time) {
        // What is too early is not read: how to read it may not be negotiated yet.
        let early = match raw.kind {
            _ if self.state == SessionState::Established => None,
            MessageType::Update => Some(SessionEvent::Update),
            MessageType::RouteRefresh => Some(SessionEvent::RouteRefresh),
            MessageType::Open | MessageType::Notification | MessageType::Keepalive => None,
        };
        if let Some(event) = early {
            let end = SessionEnd::UnexpectedMessage(self.state, raw.kind);
            return self.handle(event, Some(end), now);
        }
        match BgpMessage::parse(raw, &self.format()) {
            Ok(message) => self.handle_message(message, now),
            Err(error) => self.handle_bad_message(error, now),
        }
    }

    fn handle_bad_message(&mut self, error: MessageError, now: Time) {
        let has_enhanced_refresh = self.negotiated.as_ref().is_some_and(|both| both.enhanced_refresh);
        // RFC 7313 section 5: that error is for peers with the capability.
        let error = if let MessageError::RouteRefresh(refresh) = &error
            && !has_enhanced_refresh
        {
            refresh.header_error().into()
        } else {
            error
        };
        let end = SessionEnd::BadMessage(error);
        self.handle(SessionEvent::BadMessage, Some(end), now);
    }

    fn handle_message(&mut self, message: BgpMessage, now: Time) {
        // A message that the state expects ends nothing.
        let state = self.state;
        let unexpected = |kind| Some(SessionEnd::UnexpectedMessage(state, kind));
        let (event, end) = match message {
            BgpMessage::Open(open) if self.state == SessionState::OpenSent => {
                match self.config.negotiate(&open) {
                    Ok(negotiated) => {
                        self.negotiated = Some(negotiated);
                        (SessionEvent::Open, None)
                    }
                    Err(end) => (SessionEvent::BadMessage, Some(end)),
                }
            }
            BgpMessage::Open(_) => (SessionEvent::Open, unexpected(MessageType::Open)),
            BgpMessage::Keepalive => (SessionEvent::Keepalive, unexpected(MessageType::Keepalive)),
            // Routes are not accepted: that an UPDATE can be read is all that counts.
            BgpMessage::Update(_) => (SessionEvent::Update, None),
            BgpMessage::Notification(notification) => (
                SessionEvent::Notification,
                Some(SessionEnd::Received(notification)),
            ),
            BgpMessage::RouteRefresh(refresh) => {
                let family = refresh.family.family();
                let is_carried = |family: &Family| {
                    let families = self.negotiated.as_ref().map(|both| &both.families);
                    families.is_some_and(|families| families.contains(family))
                };
                // RFC 7313 section 5: other subtypes are ignored; RFC 2918 section 4: so are other families.
                if let (RefreshSubtype::Request, Some(family)) = (refresh.subtype, family.filter(is_carried))
                {
                    self.refresh(family);
                }
                (SessionEvent::RouteRefresh, None)
            }
        };
        self.handle(event, end, now);
    }

    /// Asks for the routes of a family, once until the caller takes that up: a flood of requests costs one answer.
    fn refresh(&mut self, family: Family) {
        let action = SessionAction::Refresh(family);
        if !self.actions.contains(&action) {
            self.actions.push_back(action);
        }
    }

    /// Takes a step of the state machine.
    fn handle(&mut self, event: SessionEvent, mut end: Option<SessionEnd>, now: Time) {
        let before = self.state;
        let (state, effects) = fsm::next(before, event);
        self.state = state;
        for effect in effects {
            match effect {
                SessionEffect::Dial => {
                    self.timers.start_connect(now);
                    self.actions.push_back(SessionAction::Dial);
                }
                SessionEffect::SendOpen => {
                    self.received.clear();
                    self.timers.start_open(now);
                    let mut bytes = Vec::new();
                    let open = self.config.open(self.is_first);
                    open.emit(&mut bytes)
                        .expect("a dozen capabilities fit into a message");
                    self.actions.push_back(SessionAction::Send(bytes));
                }
                SessionEffect::SendKeepalive => {
                    let mut bytes = Vec::new();
                    emit_keepalive(&mut bytes);
                    self.actions.push_back(SessionAction::Send(bytes));
                    let pause = self.negotiated.as_ref().and_then(|both| both.keepalive);
                    self.timers.restart_keepalive(pause, now);
                }
                SessionEffect::RestartHold => {
                    let time = self
                        .negotiated
                        .as_ref()
                        .and_then(|both| both.hold_time.duration());
                    // Without a hold time, the limit of the OPEN holds until the peer confirms this side's.
                    if time.is_some() || state == SessionState::Established {
                        self.timers.restart_hold(time, now);
                    }
                }
                SessionEffect::Up => {
                    self.is_first = false;
                    self.timers.note_established(now);
                    self.actions
                        .extend(self.negotiated.clone().map(SessionAction::Up));
                }
                SessionEffect::Notify => {
                    let mut bytes = Vec::new();
                    let negotiated = self.negotiated.as_ref();
                    let notification = end.as_ref().and_then(|end| end.notification(negotiated));
                    if notification.is_some_and(|notification| notification.emit(&mut bytes).is_ok()) {
                        self.actions.push_back(SessionAction::Send(bytes));
                    }
                }
                SessionEffect::Close => {
                    self.timers.stop();
                    self.negotiated = None;
                    self.received.clear();
                    self.actions.push_back(SessionAction::Close);
                }
                SessionEffect::End => {
                    let ended = end.take().map(|end| SessionAction::Ended { state: before, end });
                    self.actions.extend(ended);
                }
                SessionEffect::Retry => self.timers.start_retry(now),
            }
        }
    }
}
