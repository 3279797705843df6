//! Bytes that the connection has not taken yet.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Whole messages, of which the first one may be sent in part. They are a batch of routes and a few short messages at most.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    messages: VecDeque<Arc<[u8]>>,
    /// Bytes of the first entry that the connection took.
    sent: usize,
}

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
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
        if self
            .messages
            .front()
            .is_some_and(|first| self.sent >= first.len())
        {
            self.messages.pop_front();
            self.sent = 0;
        }
    }

    /// Removes all bytes and returns them.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let all: Vec<u8> = self
            .messages
            .iter()
            .flat_map(|bytes| bytes.iter().copied())
            .collect();
        let rest = all.get(self.sent..).map(<[u8]>::to_vec);
        *self = Self::default();
        rest.unwrap_or_default()
    }
}
