//! Pauses of speakers and of their threads.

use std::time::Duration;

use super::World;
use crate::catalog::address;
use crate::network::are_connected;
use crate::node::Output;
use crate::pause::Part;

/// The wire thread notices a pause of this length: it runs at least every 200 ms and tolerates another 200 ms.
const NOTICED_PAUSE: Duration = Duration::from_millis(400);

impl World {
    /// Pauses a speaker (SIGSTOP) until [`World::resume`].
    pub fn pause(&mut self, index: usize) {
        Part::ALL
            .into_iter()
            .for_each(|part| self.pause_part(index, part));
    }

    /// Pauses one thread of a speaker until [`World::resume`].
    pub fn pause_part(&mut self, index: usize, part: Part) {
        if self.nodes[index].is_none() {
            return;
        }
        self.paused.entry(index).or_default().add(part, self.now);
        match part {
            Part::Wire => self
                .judge
                .remove(index, are_connected(&self.wire, &self.paused), self.now),
            Part::Gossip | Part::Agent => self
                .judge
                .reevaluate(are_connected(&self.wire, &self.paused), self.now),
        }
        self.run_node(index);
    }

    /// Resumes a paused speaker (SIGCONT), and its threads.
    pub fn resume(&mut self, index: usize) {
        let Some(pause) = self.paused.remove(&index) else {
            return;
        };
        let now = self.now;
        let mut output = Output::default();
        self.judge
            .reevaluate(are_connected(&self.wire, &self.paused), now);
        if let Some(node) = &mut self.nodes[index]
            && let Some(since) = pause.since(Part::Wire)
        {
            for service in 0..self.services {
                let answers = node.answers(address(service)) && !self.unplugged.contains(&index);
                self.judge.set(
                    address(service),
                    index,
                    answers,
                    are_connected(&self.wire, &self.paused),
                    now,
                );
            }
            pause
                .frames
                .iter()
                .for_each(|frame| node.handle_frame(frame, now, &mut output));
            if now - since > NOTICED_PAUSE {
                node.handle_pause(now - since, pause.has_lost_frames, now);
            }
        }
        self.carry_out(index, output);
        for event in pause.others {
            self.handle_event(event);
        }
        self.run_node(index);
    }
}
