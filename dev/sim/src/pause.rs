//! The pause of a process or of one of its threads, and what waits in its sockets.

use std::collections::BTreeMap;
use std::rc::Rc;

use herald_core::Time;

use crate::world::Event;

/// Limit of the frames that wait in the socket of a paused process, and of its datagrams.
const SOCKET_BACKLOG: usize = 512;

/// A thread of a speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Answers on the wire: the station.
    Wire,
    /// Exchanges datagrams: the membership.
    Gossip,
    /// Decides: the agent.
    Agent,
}

impl Part {
    /// All threads.
    pub const ALL: [Self; 3] = [Self::Wire, Self::Gossip, Self::Agent];
}

/// A process of which threads do not run.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Since when each thread does not.
    since: BTreeMap<Part, Time>,
    pub(crate) frames: Vec<Rc<[u8]>>,
    /// Whether more frames arrived than can wait.
    pub(crate) has_lost_frames: bool,
    pub(crate) others: Vec<Event>,
}

impl Pause {
    /// Pauses a thread, if it runs.
    pub(crate) fn add(&mut self, part: Part, now: Time) {
        self.since.entry(part).or_insert(now);
    }

    /// Returns since when a thread does not run.
    pub(crate) fn since(&self, part: Part) -> Option<Time> {
        self.since.get(&part).copied()
    }

    /// Queues what arrives for a thread that does not run, as far as there is room. Returns what is for others.
    pub(crate) fn queue(&mut self, event: Event) -> Option<Event> {
        let part = match &event {
            Event::Frame(..) => Part::Wire,
            Event::Datagram(..) => Part::Gossip,
            Event::Timeout(_) | Event::Adversary => return Some(event),
        };
        if self.since(part).is_none() {
            return Some(event);
        }
        match event {
            Event::Frame(_, frame) if self.frames.len() < SOCKET_BACKLOG => self.frames.push(frame),
            Event::Frame(..) => self.has_lost_frames = true,
            event @ (Event::Datagram(..) | Event::Timeout(_) | Event::Adversary) => {
                if self.others.len() < SOCKET_BACKLOG {
                    self.others.push(event);
                }
            }
        }
        None
    }
}
