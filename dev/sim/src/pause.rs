//! The pause of a process, and what waits in its sockets.

use std::rc::Rc;

use herald_core::Time;

use crate::world::Event;

/// Limit of the frames that wait in the socket of a paused process, and of its datagrams.
const SOCKET_BACKLOG: usize = 512;

/// A process that does not run.
#[derive(Debug)]
pub(crate) struct Pause {
    pub(crate) since: Time,
    pub(crate) frames: Vec<Rc<[u8]>>,
    /// Whether more frames arrived than can wait.
    pub(crate) has_lost_frames: bool,
    pub(crate) others: Vec<Event>,
}

impl Pause {
    pub(crate) const fn new(since: Time) -> Self {
        Self {
            since,
            frames: Vec::new(),
            has_lost_frames: false,
            others: Vec::new(),
        }
    }

    /// Queues what arrives or is due, as far as there is room.
    pub(crate) fn queue(&mut self, event: Event) {
        match event {
            Event::Frame(_, frame) if self.frames.len() < SOCKET_BACKLOG => self.frames.push(frame),
            Event::Frame(..) => self.has_lost_frames = true,
            Event::Datagram(..) | Event::Timeout(_) if self.others.len() < SOCKET_BACKLOG => {
                self.others.push(event);
            }
            Event::Datagram(..) | Event::Timeout(_) | Event::Adversary => {}
        }
    }
}
