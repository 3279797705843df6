//! The connection of a node with a router, if there is one, and what is on its way.

use std::collections::VecDeque;
use std::time::Duration;

use herald_core::Time;

const LATENCY: Duration = Duration::from_micros(300);

/// What travels over a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// The connection is made.
    Connected,
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// The connection has ended.
    Closed,
}

type Queue = VecDeque<(Time, Segment)>;

/// The way between a node and a router. TCP keeps the order of bytes and repeats what is lost, so that a cut only delays them.
pub(super) struct Link {
    is_cut: bool,
    /// Bytes on their way to the router at most.
    window: usize,
    to_router: Queue,
    to_node: Queue,
}

impl Link {
    pub(super) const fn new(window: usize) -> Self {
        Self {
            is_cut: false,
            window,
            to_router: Queue::new(),
            to_node: Queue::new(),
        }
    }

    pub(super) const fn set_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    /// Makes a connection, unless the way is cut: then nothing answers.
    pub(super) fn connect(&mut self, now: Time) {
        self.to_router.clear();
        self.to_node.clear();
        if !self.is_cut {
            self.to_router.push_back((now + LATENCY, Segment::Connected));
            self.to_node.push_back((now + LATENCY * 2, Segment::Connected));
        }
    }

    /// Ends the connection for both sides.
    pub(super) fn reset(&mut self, now: Time) {
        self.abandon(now);
        self.to_node.push_back((now, Segment::Closed));
    }

    /// Ends the connection for the router: the node is gone.
    pub(super) fn abandon(&mut self, now: Time) {
        self.to_router.clear();
        self.to_node.clear();
        self.to_router.push_back((now, Segment::Closed));
    }

    /// Returns how many bytes the connection takes now.
    pub(super) fn room(&self) -> usize {
        let under_way = self.to_router.iter().map(|(_, segment)| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::Connected | Segment::Closed => 0,
        });
        self.window.saturating_sub(under_way.sum())
    }

    pub(super) fn send_to_router(&mut self, segment: Segment, now: Time) {
        self.to_router.push_back((now + LATENCY, segment));
    }

    pub(super) fn send_to_node(&mut self, segment: Segment, now: Time) {
        self.to_node.push_back((now + LATENCY, segment));
    }

    pub(super) fn receive_at_router(&mut self, now: Time) -> Option<Segment> {
        Self::receive(&mut self.to_router, self.is_cut, now)
    }

    pub(super) fn receive_at_node(&mut self, now: Time) -> Option<Segment> {
        Self::receive(&mut self.to_node, self.is_cut, now)
    }

    fn receive(queue: &mut Queue, is_cut: bool, now: Time) -> Option<Segment> {
        let is_due = queue.front().is_some_and(|(due, _)| !is_cut && *due <= now);
        queue.pop_front_if(|_| is_due).map(|(_, segment)| segment)
    }

    /// Returns when something arrives next.
    pub(super) fn next(&self) -> Option<Time> {
        let queues = [&self.to_router, &self.to_node].into_iter();
        let fronts = queues.filter_map(|queue| queue.front());
        fronts.map(|(due, _)| *due).min().filter(|_| !self.is_cut)
    }
}
