//! A member that lies about all others, with the key: what it claims is forgotten soon after it stops.

use foca::{Codec as _, Header, Message, PostcardCodec, State};

use super::*;
use crate::codec::envelope;
use crate::codec::report::SelfReport;
use crate::identity::Identity;

/// How long after the last lie all members know each one as it reports itself.
const FORGOTTEN: Duration = Duration::from_secs(10);

impl Net {
    fn identity_now(&self, index: usize) -> Identity {
        self.nodes[&index].membership.identity().clone()
    }

    /// Returns the epoch of `subject` or another one that the liar invents.
    fn any_epoch(&mut self, subject: usize) -> Epoch {
        let epoch = self.identity_now(subject).epoch;
        match self.rng.random_range(0..8) {
            0 => epoch.renewed(),
            1 => epoch.superseded(self.rng.random()),
            2 => Epoch::first_of(self.rng.random_range(0..=Epoch::LATEST_START / 2)),
            _ => epoch,
        }
    }

    /// Returns a SWIM update about `subject`.
    fn any_update(&mut self, subject: usize) -> foca::Member<Identity> {
        let epoch = self.any_epoch(subject);
        let state = [State::Alive, State::Suspect, State::Down][self.rng.random_range(0..3)];
        let incarnation = [0, 1, 2, u16::MAX][self.rng.random_range(0..4)];
        let identity = Identity {
            epoch,
            ..self.identity_now(subject)
        };
        foca::Member::new(identity, incarnation, state)
    }

    /// Returns a report about `subject` that it did not make.
    fn any_report(&mut self, subject: usize) -> SelfReport {
        let started = self.any_epoch(subject).started;
        let version = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(0..10),
            1 => u32::MAX - 1,
            _ => self.rng.random_range(0..u32::MAX),
        };
        let state = [NodeState::Starting, NodeState::Ready, NodeState::Draining][self.rng.random_range(0..3)];
        let mut report = SelfReport {
            node: name(subject),
            started,
            version,
            state,
            macs: [link(self.rng.random()).mac].into(),
            profile: None,
        };
        if self.rng.random() {
            let profile = report.profile_mut();
            profile.flaps = self.rng.random_range(0..8);
            profile.unresponsive = vec![name(self.rng.random_range(0..5)).tag()];
        }
        report
    }

    /// Lets `liar` send one datagram about all others to one of them.
    fn lie(&mut self, liar: usize) {
        let others: Vec<usize> = self
            .nodes
            .keys()
            .copied()
            .filter(|index| *index != liar)
            .collect();
        let to = others[self.rng.random_range(0..others.len())];
        let messages = [Message::Gossip, Message::Feed, Message::TurnUndead];
        let header = Header {
            src: self.identity_now(liar),
            src_incarnation: 0,
            dst: self.identity_now(to),
            message: messages[self.rng.random_range(0..3)].clone(),
        };
        let mut swim = Vec::new();
        PostcardCodec.encode_header(&header, &mut swim).expect("encodes");
        swim.extend(u16::try_from(others.len()).expect("few").to_be_bytes());
        let mut reports = Vec::new();
        for subject in others {
            let update = self.any_update(subject);
            PostcardCodec.encode_member(&update, &mut swim).expect("encodes");
            reports.push(self.any_report(subject).emit());
        }
        let suspicion = self.rng.random_bool(0.3).then_some(self.rng.random_range(0..3));
        let reports = reports.iter().map(Vec::as_slice);
        let (content, _) = envelope::emit(suspicion, reports, &swim, crate::codec::DATAGRAM_MAX);
        let now = self.now;
        let membership = &mut self.node(to).membership;
        // A lie may be refused.
        let _result = membership.handle_datagram(&content, address(liar), now);
        self.collect(to);
    }

    /// Returns what is known wrong: who knows whom how.
    fn errors(&self) -> Vec<(usize, Member)> {
        let mut errors = Vec::new();
        for &subject in self.nodes.keys() {
            let own = self.view(subject, subject).expect("each lists itself");
            for &viewer in self.nodes.keys() {
                let known = self.view(viewer, subject).expect("expected, so listed");
                if known != own {
                    errors.push((viewer, known.clone()));
                }
            }
        }
        errors
    }
}

#[test]
fn no_lie_is_believed_longer_than_ten_seconds() {
    for (size, seeds) in [(3, 30), (5, 15), (10, 3)] {
        for seed in 0..seeds {
            let mut net = Net::cluster(size, seed, if seed % 2 == 0 { 0.0 } else { 0.02 });
            let liar = net.rng.random_range(0..size);
            let pause = [5, 50, 400][net.rng.random_range(0..3)];
            for _ in 0..net.rng.random_range(1..60) {
                net.lie(liar);
                net.run_for(millis(pause));
            }
            let healed = net.run_until(FORGOTTEN, |net| net.errors().is_empty());
            assert!(
                healed.is_some(),
                "{size} members, seed {seed}: {:?}",
                net.errors()
            );
            net.loss = 0.0;
            net.run_for(Duration::from_secs(2));
            assert_eq!(net.errors(), [], "{size} members, seed {seed}");
        }
    }
}
