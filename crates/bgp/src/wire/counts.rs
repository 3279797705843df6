//! How many messages of each type there were.

use super::header::{EXTENDED_MAX_LENGTH, MessageType, RawMessage, frame};

/// Numbers of messages by their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageCounts {
    /// OPEN.
    pub opens: u64,
    /// UPDATE.
    pub updates: u64,
    /// NOTIFICATION.
    pub notifications: u64,
    /// KEEPALIVE.
    pub keepalives: u64,
    /// ROUTE-REFRESH.
    pub route_refreshes: u64,
}

impl MessageCounts {
    /// Returns those of whole messages, one behind the other.
    pub(crate) fn of(mut bytes: &[u8]) -> Self {
        let mut counts = Self::default();
        while let Ok(Some(raw)) = frame(bytes, EXTENDED_MAX_LENGTH) {
            counts.count(&raw);
            bytes = &bytes[raw.length()..];
        }
        counts
    }

    pub(crate) const fn count(&mut self, raw: &RawMessage<'_>) {
        let count = match raw.kind {
            MessageType::Open => &mut self.opens,
            MessageType::Update => &mut self.updates,
            MessageType::Notification => &mut self.notifications,
            MessageType::Keepalive => &mut self.keepalives,
            MessageType::RouteRefresh => &mut self.route_refreshes,
        };
        *count += 1;
    }

    pub(crate) const fn add(&mut self, others: Self) {
        self.opens += others.opens;
        self.updates += others.updates;
        self.notifications += others.notifications;
        self.keepalives += others.keepalives;
        self.route_refreshes += others.route_refreshes;
    }

    /// Returns the number of all messages.
    pub const fn total(self) -> u64 {
        self.opens + self.updates + self.notifications + self.keepalives + self.route_refreshes
    }
}
