//! The state of the speaker, for `/state`.

use herald_api::convert;
use herald_api::state::{
    AddressMove, AddressState, ElectionDifferenceState, ServiceRole, SpeakerState, VERSION,
};
use herald_core::announce::agent::{AddressStage, ElectionDifference};
use herald_core::announce::layer2::ownership::Role;
use herald_core::{NodeName, ServiceKey, Time};
use herald_runtime::admin::StateRequest;
use jiff::Timestamp;

use super::{BgpSessions, Driver};
use crate::moves::Move;

impl Driver {
    /// Answers a request for the state with a copy of it.
    pub(super) fn answer(&self, request: StateRequest) {
        let state = self.state();
        // Fails only when the client is gone.
        let _gone = request.send(Box::new(|limit| state.to_json(limit)));
    }

    fn state(&self) -> SpeakerState {
        let (now, today) = (self.now(), Timestamp::now());
        let date = |at: Time| today.saturating_sub(now - at).unwrap_or(today).to_string();
        let may_be_beside = self.beside.as_ref();
        let requests = self.handles.wire.requests();
        let differences = may_be_beside.map_or_else(Vec::new, |_| self.agent.election_differences());
        SpeakerState {
            version: VERSION,
            node: self.node.to_string(),
            time: today.to_string(),
            truncated: false,
            gossip_blocked: self.agent.is_gossip_blocked(),
            beside_metallb: self.is_beside_metallb(),
            election_differences: differences.iter().map(election_difference).collect(),
            members: convert::member_state(self.agent.members()),
            bgp_peers: self
                .handles
                .bgp
                .as_ref()
                .map_or_else(Vec::new, BgpSessions::state),
            moves: self.moves.iter().map(|last| address_move(last, date)).collect(),
            addresses: self
                .agent
                .stages()
                .iter()
                .map(|stage| address_state(stage, requests.get(&stage.address).copied(), date))
                .collect(),
        }
    }
}

fn election_difference(difference: &ElectionDifference) -> ElectionDifferenceState {
    let name = |node: &Option<NodeName>| node.as_ref().map(ToString::to_string);
    ElectionDifferenceState {
        address: difference.address.to_string(),
        service: difference.service.to_string(),
        beside: name(&difference.beside),
        alone: name(&difference.alone),
    }
}

fn address_move(last: &Move, date: impl Fn(Time) -> String) -> AddressMove {
    AddressMove {
        time: date(last.at),
        address: last.address.to_string(),
        service: last.service.to_string(),
        answers: last.answers,
        reason: last.reason.into(),
        peer: last.peer.as_ref().map(ToString::to_string),
        seconds: last.after.map(|after| after.as_secs_f64()),
    }
}

fn address_state(
    stage: &AddressStage<'_>,
    requests: Option<u64>,
    date: impl Fn(Time) -> String,
) -> AddressState {
    AddressState {
        address: stage.address.to_string(),
        stage: stage.stage.into(),
        answers: stage.answers,
        since: date(stage.since),
        services: stage.roles.iter().map(service_role).collect(),
        // The wire thread may not have begun yet.
        requests: stage.answers.then(|| requests.unwrap_or_default()),
        obstacle: stage.obstacle.as_ref().map(|event| event.reason().into()),
    }
}

fn service_role((service, role): &(ServiceKey, Role)) -> ServiceRole {
    ServiceRole {
        service: service.to_string(),
        role: role.as_str().into(),
        owner: role.owner().map(ToString::to_string),
        reason: match role {
            Role::Unowned(exclusion) => Some(exclusion.reason().into()),
            Role::Owner(_) | Role::Successor { .. } | Role::Backup { .. } | Role::Standby { .. } => None,
        },
    }
}
