//! The last moves of addresses to and from this node, with their causes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use herald_core::announce::agent::AgentEvent;
use herald_core::announce::layer2::ownership::Role;
use herald_core::{NodeName, ServiceKey, Time};

/// Moves that are kept. Names have 253 bytes at most, so they take less than a megabyte.
const MOVES: usize = 1000;

/// This node began or ceased to announce an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) at: Time,
    pub(crate) address: IpAddr,
    pub(crate) service: ServiceKey,
    /// Whether it announces the address from then on. It may answer for some seconds more while a successor takes over.
    pub(crate) answers: bool,
    pub(crate) reason: &'static str,
    pub(crate) peer: Option<NodeName>,
    /// The time from the cause to the move.
    pub(crate) after: Option<Duration>,
}

/// The moves of a node.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    last: VecDeque<Move>,
    /// For how many Services this node answers at each address.
    answered: BTreeMap<IpAddr, usize>,
    /// What may lead to a move, for addresses that this node answers for or is to answer for.
    causes: BTreeMap<IpAddr, Cause>,
}

#[derive(Debug)]
struct Cause {
    at: Time,
    reason: &'static str,
    peer: Option<NodeName>,
}

impl Moves {
    /// Returns the last moves, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Move> {
        self.last.iter()
    }

    /// Takes an event of the agent.
    pub(crate) fn handle(&mut self, event: &AgentEvent, now: Time) {
        match event {
            AgentEvent::RoleChanged(_, address, role) => self.handle_role(*address, role.as_ref(), now),
            AgentEvent::Announced { service, address, .. } => {
                let services = self.answered.entry(*address).or_default();
                *services += 1;
                if *services == 1 {
                    self.record(*address, service, true, now);
                }
            }
            AgentEvent::Withdrawn(service, address) => {
                let Some(services) = self.answered.get_mut(address) else {
                    return;
                };
                *services -= 1;
                if *services == 0 {
                    self.answered.remove(address);
                    self.record(*address, service, false, now);
                }
            }
            AgentEvent::TookOver(address, after) => {
                let moves = self.last.iter_mut().rev();
                if let Some(taken) = { moves }.find(|last| last.address == *address && last.answers) {
                    taken.reason = "OwnerFailed";
                    taken.after = Some(*after);
                }
            }
            AgentEvent::Address(address, event) => {
                if self.answered.contains_key(address) || self.causes.contains_key(address) {
                    self.note(*address, event.reason(), None, now);
                }
            }
            AgentEvent::ReportedUnresponsive(_) | AgentEvent::GossipBlocked { .. } => {}
        }
    }

    fn handle_role(&mut self, address: IpAddr, role: Option<&Role>, now: Time) {
        let is_to_answer = matches!(role, Some(Role::Owner(_) | Role::Successor { .. }));
        if is_to_answer == self.answered.contains_key(&address) {
            // No move follows.
            self.causes.remove(&address);
            return;
        }
        let reason = match role {
            None => "ServiceGone",
            Some(Role::Unowned(exclusion)) => exclusion.reason(),
            Some(role) => role.as_str(),
        };
        self.note(address, reason, role.and_then(Role::owner).cloned(), now);
    }

    /// Notes the last cause. Before this node begins to answer, the time of the first cause counts.
    fn note(&mut self, address: IpAddr, reason: &'static str, peer: Option<NodeName>, now: Time) {
        let known = self.causes.get(&address);
        let first = known.filter(|_| !self.answered.contains_key(&address));
        let at = first.map_or(now, |cause| cause.at);
        self.causes.insert(address, Cause { at, reason, peer });
    }

    fn record(&mut self, address: IpAddr, service: &ServiceKey, answers: bool, now: Time) {
        let cause = self.causes.remove(&address);
        if self.last.len() >= MOVES {
            self.last.pop_front();
        }
        self.last.push_back(Move {
            at: now,
            address,
            service: service.clone(),
            answers,
            reason: cause.as_ref().map_or("Unknown", |cause| cause.reason),
            after: cause.as_ref().map(|cause| now - cause.at),
            peer: cause.and_then(|cause| cause.peer),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::announce::layer2::ownership::Grant;
    use herald_core::announce::layer2::takeover::AddressEvent;
    use herald_core::config::ConflictDetection;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn grant() -> Grant {
        Grant {
            address: address(1),
            interfaces: None,
            conflict_detection: ConflictDetection::Enforce,
        }
    }

    fn role(role: Option<Role>) -> AgentEvent {
        AgentEvent::RoleChanged(service("a"), address(1), role)
    }

    fn service(name: &str) -> ServiceKey {
        ServiceKey::new("default", name)
    }

    fn announced(name: &str) -> AgentEvent {
        AgentEvent::Announced {
            service: service(name),
            address: address(1),
            is_first: true,
        }
    }

    fn withdrawn(name: &str) -> AgentEvent {
        AgentEvent::Withdrawn(service(name), address(1))
    }

    fn standby() -> Role {
        Role::Standby {
            owner: "node-2".into(),
            backup: None,
        }
    }

    /// Returns of each move: whether the node answers, the reason, the peer, and the duration in milliseconds.
    fn moves(events: &[(u64, AgentEvent)]) -> Vec<(bool, &'static str, Option<String>, Option<u128>)> {
        let mut moves = Moves::default();
        for (at, event) in events {
            moves.handle(event, Time::since_zero(Duration::from_millis(*at)));
        }
        let all = moves.iter().map(|last| {
            let peer = last.peer.as_ref().map(ToString::to_string);
            (
                last.answers,
                last.reason,
                peer,
                last.after.map(|after| after.as_millis()),
            )
        });
        all.collect()
    }

    #[test]
    fn a_move_has_its_cause_and_its_duration() {
        let events = [
            (0, role(Some(standby()))),
            (1000, role(Some(Role::Owner(grant())))),
            (1100, announced("a")),
            (5000, role(Some(standby()))),
            (5250, withdrawn("a")),
        ];
        let peer = Some("node-2".to_owned());
        let expected = [
            (true, "Owner", None, Some(100)),
            (false, "Standby", peer, Some(250)),
        ];
        assert_eq!(moves(&events), expected);
    }

    #[test]
    fn what_happened_before_a_move_is_no_cause_of_the_next_one() {
        let suspect = Role::Successor {
            of: "node-2".into(),
            grant: grant(),
        };
        let unresponsive = AddressEvent::OwnerUnresponsive("node-2".into());
        let events = [
            // This node only monitors the address.
            (
                100,
                AgentEvent::Address(address(1), AddressEvent::OwnerUnheard("node-2".into())),
            ),
            (1000, role(Some(suspect))),
            (1100, announced("a")),
            (1200, role(Some(Role::Owner(grant())))),
            (1300, AgentEvent::Address(address(1), unresponsive)),
            (7_000_000, role(Some(standby()))),
            (7_000_050, withdrawn("a")),
        ];
        let peer = Some("node-2".to_owned());
        let expected = [
            (true, "Successor", peer.clone(), Some(100)),
            (false, "Standby", peer, Some(50)),
        ];
        assert_eq!(moves(&events), expected);
    }

    #[test]
    fn a_takeover_counts_from_the_first_sign_of_the_failure() {
        let suspect = Role::Successor {
            of: "node-2".into(),
            grant: grant(),
        };
        let events = [
            (1000, role(Some(suspect))),
            (1100, announced("a")),
            (1100, AgentEvent::TookOver(address(1), Duration::from_millis(400))),
        ];
        let peer = Some("node-2".to_owned());
        assert_eq!(moves(&events), [(true, "OwnerFailed", peer, Some(400))]);
    }

    #[test]
    fn what_the_wire_shows_is_the_cause_when_it_comes_last() {
        let conflict = AddressEvent::Challenged(herald_core::MacAddr::ZERO);
        let events = [
            (0, role(Some(Role::Owner(grant())))),
            (0, announced("a")),
            (10, AgentEvent::Address(address(1), conflict)),
            (20, withdrawn("a")),
            (30, announced("a")),
            (40, role(None)),
            (40, withdrawn("a")),
        ];
        let expected = [
            (true, "Owner", None, Some(0)),
            (false, "AddressChallenged", None, Some(10)),
            (true, "Unknown", None, None),
            (false, "ServiceGone", None, Some(0)),
        ];
        assert_eq!(moves(&events), expected);
    }

    #[test]
    fn services_that_share_an_address_move_with_it_once() {
        let events = [(0, announced("a")), (0, announced("b")), (9, withdrawn("b"))];
        assert_eq!(moves(&events).len(), 1);
    }

    #[test]
    fn nothing_is_kept_of_what_has_passed_and_few_moves_are() {
        let mut moves = Moves::default();
        for _ in 0..2 * MOVES {
            for event in [
                role(Some(Role::Owner(grant()))),
                announced("a"),
                role(None),
                withdrawn("a"),
                role(Some(Role::Owner(grant()))),
                role(None),
            ] {
                moves.handle(&event, Time::ZERO);
            }
        }
        assert_eq!(moves.iter().count(), MOVES);
        assert!(moves.answered.is_empty() && moves.causes.is_empty());
    }
}
