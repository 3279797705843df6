//! The finite state machine (RFC 4271 section 8.2.2) as a table: state and event give the next state and effects.
//!
//! ```text
//!              start              connected                OPEN                  KEEPALIVE
//!      Idle ----------> Connect ------------> OpenSent ----------> OpenConfirm ------------> Established
//!       ^                | ^                     |                     |                          |
//!       |         failed | | retry timer         | any end             | any end                  | any end
//!       |                v |                     v                     v                          v
//!       +--- stop ---- Active <------------------+---------------------+--------------------------+
//! ```
//!
//! It differs from the RFC in one way: after an end it waits in Active, with a pause that grows, where the RFC goes to Idle
//! and leaves the pause to the implementation (section 8.1.1, DampPeerOscillations). So Idle means stopped.

use core::fmt;

/// The state of a session (RFC 4271 section 8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Stopped.
    Idle,
    /// Waits for the connection that it asked for.
    Connect,
    /// Waits until it tries again, or for the peer to connect.
    Active,
    /// Waits for the peer's OPEN.
    OpenSent,
    /// Waits for the peer's KEEPALIVE, which confirms the OPEN.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl SessionState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Connect,
        Self::Active,
        Self::OpenSent,
        Self::OpenConfirm,
        Self::Established,
    ];
}

impl fmt::Display for SessionState {
    /// Writes the name of the RFC, as routers show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What happens to a session (RFC 4271 section 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SessionEvent {
    /// The session is wanted.
    Start,
    /// The session is no longer wanted, or another connection to the peer survives.
    Stop,
    /// The connection that was dialled is there.
    Connected,
    /// The peer connected.
    Accepted,
    /// The connection failed, or the peer closed it.
    Closed,
    /// A good OPEN.
    Open,
    /// A KEEPALIVE.
    Keepalive,
    /// An UPDATE.
    Update,
    /// A ROUTE-REFRESH.
    RouteRefresh,
    /// A NOTIFICATION.
    Notification,
    /// A message that ends the session.
    BadMessage,
    /// BFD lost the peer.
    BfdDown,
    /// The connect retry timer expired.
    RetryTimer,
    /// The hold timer expired.
    HoldTimer,
    /// The keepalive timer expired.
    KeepaliveTimer,
    /// The send hold timer expired (RFC 9687).
    SendHoldTimer,
}

#[cfg(test)]
impl SessionEvent {
    pub(super) const ALL: [Self; 16] = [
        Self::Start,
        Self::Stop,
        Self::Connected,
        Self::Accepted,
        Self::Closed,
        Self::Open,
        Self::Keepalive,
        Self::Update,
        Self::RouteRefresh,
        Self::Notification,
        Self::BadMessage,
        Self::BfdDown,
        Self::RetryTimer,
        Self::HoldTimer,
        Self::KeepaliveTimer,
        Self::SendHoldTimer,
    ];
}

/// What a transition does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SessionEffect {
    /// Asks for a connection, and limits how long that may take.
    Dial,
    /// Sends OPEN, and limits how long the peer's may take.
    SendOpen,
    /// Sends KEEPALIVE and restarts the keepalive timer.
    SendKeepalive,
    /// Restarts the hold timer.
    RestartHold,
    /// Reports the session up.
    Up,
    /// Sends the NOTIFICATION of the end.
    Notify,
    /// Closes the connection and stops all timers.
    Close,
    /// Reports the end.
    End,
    /// Starts the pause before the next attempt.
    Retry,
}

use SessionEffect as Do;

/// The peer or the network ended it.
const LOST: &[Do] = &[Do::Close, Do::End, Do::Retry];
/// This side ends it and says why.
const FAILED: &[Do] = &[Do::Notify, Do::Close, Do::End, Do::Retry];
const STOPPED: &[Do] = &[Do::Notify, Do::Close, Do::End];

/// Returns the next state and what to do.
pub(super) const fn next(
    state: SessionState,
    event: SessionEvent,
) -> (SessionState, &'static [SessionEffect]) {
    use SessionEvent as On;
    use SessionState::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
    match (state, event) {
        (Idle, On::Start) => (Connect, &[Do::Dial]),
        // The session was stopped while the connection was made.
        (Idle, On::Connected | On::Accepted) => (Idle, &[Do::Close]),
        (Idle, _) => (Idle, &[]),

        (Connect | Active, On::Stop) => (Idle, &[Do::Close]),
        (Connect, On::Connected) | (Active, On::Accepted) => (OpenSent, &[Do::SendOpen]),
        (Connect, On::Closed | On::RetryTimer) => (Active, LOST),
        (Active, On::RetryTimer) => (Connect, &[Do::Dial]),
        // A connection that came after its time limit.
        (Active, On::Connected) => (Active, &[Do::Close, Do::Retry]),
        (Connect | Active, _) => (state, &[]),

        (OpenSent | OpenConfirm | Established, On::Stop) => (Idle, STOPPED),
        (OpenSent | OpenConfirm | Established, On::Closed | On::Notification) => (Active, LOST),
        (
            OpenSent | OpenConfirm | Established,
            On::BadMessage | On::HoldTimer | On::SendHoldTimer | On::BfdDown,
        ) => (Active, FAILED),
        // Another connection of the same peer has a session of its own, and section 6.8 chooses one of them.
        (OpenSent | OpenConfirm | Established, On::Start | On::Connected | On::Accepted | On::RetryTimer) => {
            (state, &[])
        }

        (OpenSent, On::Open) => (OpenConfirm, &[Do::SendKeepalive, Do::RestartHold]),
        (OpenSent, On::Keepalive | On::Update | On::RouteRefresh) => (Active, FAILED),
        (OpenSent, On::KeepaliveTimer) => (OpenSent, &[]),

        (OpenConfirm, On::Keepalive) => (Established, &[Do::RestartHold, Do::Up]),
        (OpenConfirm, On::Open | On::Update | On::RouteRefresh) => (Active, FAILED),
        (OpenConfirm | Established, On::KeepaliveTimer) => (state, &[Do::SendKeepalive]),

        (Established, On::Keepalive | On::Update) => (Established, &[Do::RestartHold]),
        // Only KEEPALIVE and UPDATE restart the hold timer (RFC 4271 section 4.4).
        (Established, On::RouteRefresh) => (Established, &[]),
        (Established, On::Open) => (Active, FAILED),
    }
}
