//! Converts what membership knows of the speakers into their state, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use herald_core::{Features, Liveness, Member, NodeName, NodeState, Prefix, Profile};

use super::service::address;
use crate::state::{MemberState, ProfileState};

/// Returns the state of all members.
pub fn member_state(members: &[Member]) -> Vec<MemberState> {
    let names = members.iter().map(|member| (member.node.tag(), &member.node));
    let names: BTreeMap<u32, &NodeName> = names.collect();
    let state = |member: &Member| {
        let profile = member.profile.as_deref();
        let unresponsive = profile.into_iter().flat_map(|profile| &profile.unresponsive);
        MemberState {
            node: member.node.to_string(),
            liveness: member.liveness.as_str().into(),
            state: member.state.as_str().into(),
            macs: member.macs.iter().map(ToString::to_string).collect(),
            flaps: profile.map_or(0, |profile| profile.flaps),
            unresponsive: unresponsive
                .filter_map(|tag| names.get(tag).map(ToString::to_string))
                .collect(),
            profile: profile.map(|profile| ProfileState {
                subnets: profile
                    .subnets
                    .as_ref()
                    .map(|subnets| subnets.iter().map(ToString::to_string).collect()),
                interfaces: profile.interfaces.clone(),
                ipv6_interfaces: profile.ipv6_interfaces.clone(),
                features: profile.features.bits(),
            }),
        }
    };
    members.iter().map(state).collect()
}

/// Returns the member that a speaker showed, without its MAC addresses, which no election depends on. `None` for a word that this
/// version does not know.
pub fn member(state: &MemberState) -> Option<Member> {
    let liveness = Liveness::ALL
        .into_iter()
        .find(|value| value.as_str() == state.liveness)?;
    let node_state = NodeState::ALL
        .into_iter()
        .find(|value| value.as_str() == state.state)?;
    let mut member = Member::new(state.node.as_str().into(), liveness, node_state);
    if let Some(profile) = &state.profile {
        let subnets = profile.subnets.as_ref();
        let tags = state.unresponsive.iter();
        member.profile = Some(Arc::new(Profile {
            subnets: match subnets {
                Some(subnets) => Some(subnets.iter().map(|text| subnet(text)).collect::<Option<_>>()?),
                None => None,
            },
            flaps: state.flaps,
            unresponsive: tags.map(|node| NodeName::from(node.as_str()).tag()).collect(),
            interfaces: profile.interfaces.clone(),
            features: Features::from_bits(profile.features),
            ipv6_interfaces: profile.ipv6_interfaces.clone(),
        }));
    }
    Some(member)
}

fn subnet(text: &str) -> Option<Prefix> {
    let (network, length) = text.split_once('/')?;
    Some(Prefix::of(address(network)?, length.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_elections_depend_on_survives_the_way_through_the_state() {
        let profile = |subnets| Profile {
            subnets,
            flaps: 3,
            unresponsive: vec![NodeName::from("b").tag()],
            interfaces: Some(vec![1, 2]),
            features: Features::OF_THIS_VERSION,
            ipv6_interfaces: None,
        };
        let subnets = ["192.0.2.0/24", "fc00::/64"].map(|text| subnet(text).expect("a subnet"));
        let with = |node: &str, liveness, state, profile: Option<Profile>| Member {
            profile: profile.map(Arc::new),
            ..Member::new(node.into(), liveness, state)
        };
        let members = [
            with(
                "a",
                Liveness::Alive,
                NodeState::Ready,
                Some(profile(Some(subnets.to_vec()))),
            ),
            with("b", Liveness::Suspect, NodeState::Draining, Some(profile(None))),
            with("c", Liveness::Down, NodeState::Starting, None),
        ];
        let json = serde_json::to_string(&member_state(&members)).expect("JSON");
        let read: Vec<MemberState> = serde_json::from_str(&json).expect("members");
        let read: Option<Vec<Member>> = read.iter().map(member).collect();
        assert_eq!(read, Some(members.to_vec()));
    }

    #[test]
    fn a_word_of_a_later_version_is_no_member() {
        let members = [Member::new("a".into(), Liveness::Alive, NodeState::Ready)];
        let mut state = member_state(&members).remove(0);
        state.liveness = "resting".into();
        assert_eq!(member(&state), None);
    }
}
