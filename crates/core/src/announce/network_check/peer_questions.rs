//! Which peer is asked next by gossip, and which have not answered.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use crate::{NodeName, Time};

/// From one question to the next.
const GAP: Duration = Duration::from_millis(20);
/// How long an answer may take. Membership forgets its question after a second.
const WAIT: Duration = Duration::from_millis(900);
/// How often a peer is asked: a datagram in a hundred may be lost, in each direction.
const ROUNDS: u32 = 3;
/// The peers that are asked at most.
const MOST_PEERS: usize = 256;

/// The questions to the peers: each is asked until it answers, three times at most, 50 questions a second.
#[derive(Debug)]
pub struct PeerQuestions {
    /// How often each peer was asked that has not answered.
    silent: BTreeMap<NodeName, u32>,
    /// When each peer is asked next, or counts as silent. The times ascend.
    queue: VecDeque<(Time, NodeName)>,
    asked: usize,
    are_more: bool,
    /// When the next question may be sent.
    next: Time,
}

impl PeerQuestions {
    /// Starts to ask these peers.
    pub fn new(peers: impl IntoIterator<Item = NodeName>, now: Time) -> Self {
        let mut silent: BTreeMap<NodeName, u32> = peers.into_iter().map(|peer| (peer, 0)).collect();
        let are_more = silent.len() > MOST_PEERS;
        while silent.len() > MOST_PEERS {
            silent.pop_last();
        }
        Self {
            queue: silent.keys().map(|peer| (now, peer.clone())).collect(),
            asked: silent.len(),
            are_more,
            silent,
            next: now,
        }
    }

    /// Returns the next peer to be asked.
    pub fn poll_question(&mut self, now: Time) -> Option<NodeName> {
        while self.poll_timeout()? <= now {
            let (_, peer) = self.queue.pop_front()?;
            let Some(times) = self.silent.get_mut(&peer).filter(|times| **times < ROUNDS) else {
                continue;
            };
            *times += 1;
            self.queue.push_back((now + WAIT, peer.clone()));
            self.next = now + GAP;
            return Some(peer);
        }
        None
    }

    /// Takes the answer of a peer.
    pub fn handle_answer(&mut self, peer: &NodeName) {
        self.silent.remove(peer);
    }

    /// When [`Self::poll_question`] has something next; `None` when all peers have answered or count as silent.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.silent.is_empty() {
            return None;
        }
        let (due, _) = self.queue.front()?;
        Some((*due).max(self.next))
    }

    /// The peers that have not answered yet.
    pub fn silent(&self) -> impl Iterator<Item = &NodeName> {
        self.silent.keys()
    }

    /// How many peers are asked.
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// Whether there are more peers, which are not asked.
    pub const fn are_more(&self) -> bool {
        self.are_more
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::since_zero(Duration::from_millis(milliseconds))
    }

    fn peers(names: &[&'static str]) -> PeerQuestions {
        PeerQuestions::new(names.iter().map(|name| NodeName::from(*name)), at(0))
    }

    /// Asks until nothing is left to ask, and returns when which peer was asked.
    fn asked(questions: &mut PeerQuestions, answering: &[&'static str]) -> Vec<(u64, NodeName)> {
        let mut asked = Vec::new();
        while let Some(due) = questions.poll_timeout() {
            if let Some(peer) = questions.poll_question(due) {
                let milliseconds = u64::try_from(due.elapsed().as_millis()).expect("small");
                if answering.contains(&peer.as_str()) {
                    questions.handle_answer(&peer);
                }
                asked.push((milliseconds, peer));
            }
        }
        asked
    }

    #[test]
    fn a_peer_is_asked_three_times_until_it_answers() {
        let mut questions = peers(&["a", "b", "c"]);
        let of = |milliseconds, peer: &'static str| (milliseconds, NodeName::from(peer));
        assert_eq!(
            asked(&mut questions, &["a", "c"]),
            vec![of(0, "a"), of(20, "b"), of(40, "c"), of(920, "b"), of(1820, "b")]
        );
        assert!(questions.silent().eq([&NodeName::from("b")]));
        assert_eq!((questions.asked(), questions.are_more()), (3, false));
        assert_eq!(questions.poll_timeout(), None);
    }

    #[test]
    fn a_late_answer_counts_until_the_peer_was_given_up() {
        let mut questions = peers(&["a"]);
        assert_eq!(questions.poll_question(at(0)), Some("a".into()));
        assert_eq!(questions.poll_question(at(899)), None);
        questions.handle_answer(&"a".into());
        assert_eq!((questions.poll_timeout(), questions.silent().count()), (None, 0));
    }

    #[test]
    fn of_many_peers_some_are_asked() {
        let names = (0..300).map(|number| NodeName::new(alloc::format!("node-{number:03}")));
        let mut questions = PeerQuestions::new(names, at(0));
        assert_eq!((questions.asked(), questions.are_more()), (256, true));
        let times = asked(&mut questions, &[]);
        assert_eq!(times.len(), 3 * 256);
        assert!(times.windows(2).all(|pair| pair[0].0 + 20 <= pair[1].0));
        assert!(times.last().expect("one").0 < 20_000);
    }
}
