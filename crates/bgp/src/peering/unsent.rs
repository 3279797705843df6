//! Bytes that the connection has not taken yet.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::wire::MessageCounts;

/// Whole messages, of which the first one may be sent in part. They are a batch of routes and a few short messages at most.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    messages: VecDeque<Arc<[u8]>>,
    /// Bytes of the first entry that the connection took.
    sent: usize,
    /// The messages of the entries that the connection took whole.
    counts: MessageCounts,
}

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns how many messages the connections took so far.
    pub(super) const fn counts(&self) -> MessageCounts {
        self.counts
    }

    /// Appends bytes: at least one.
    pub(super) fn push(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.messages.push_back(bytes);
        }
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.messages.front().map(|first| &first[self.sent..])
    }

    /// Removes bytes that the connection took of the first entry.
    pub(super) fn remove(&mut self, took: usize) {
        self.sent += took;
        if let Some(first) = self.messages.front()
            && self.sent >= first.len()
        {
            self.counts.add(MessageCounts::of(first));
            self.messages.pop_front();
            self.sent = 0;
        }
    }

    /// Removes all bytes and returns them, the last ones of a connection. Of these, a NOTIFICATION counts as sent.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let sent = core::mem::take(&mut self.sent);
        let mut all = Vec::new();
        for bytes in self.messages.drain(..) {
            self.counts.notifications += MessageCounts::of(&bytes).notifications;
            all.extend_from_slice(&bytes);
        }
        all.split_off(sent.min(all.len()))
    }
}
