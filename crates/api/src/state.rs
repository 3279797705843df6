//! What `/state` of both programs shows: what is on no object of the API server. It has no secret.
//!
//! The JSON has a version. Within a version, fields are only added.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The version of the JSON.
pub const VERSION: u32 = 1;

/// Bytes of the JSON that are not in lists, at most.
const FRAME: usize = 4096;

/// The state of a speaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerState {
    /// [`VERSION`].
    pub version: u32,
    /// The node.
    pub node: String,
    /// When this state was taken (RFC 3339).
    pub time: String,
    /// Whether a list was cut, because the state is too large.
    pub truncated: bool,
    /// Whether gossip does not reach most speakers that are alive; `null` without gossip, and until it is known.
    pub gossip_blocked: Option<bool>,
    /// Whether MetalLB's speakers run on these nodes, so that this speaker writes nothing.
    #[serde(rename = "besideMetalLB")]
    pub beside_metallb: bool,
    /// The addresses that another node will be elected for when MetalLB's speakers have ended, in ascending order.
    pub election_differences: Vec<ElectionDifferenceState>,
    /// The speakers, as this one sees them by gossip.
    pub members: Vec<MemberState>,
    /// The sessions with peers of BGP, by name.
    pub bgp_peers: Vec<BgpPeerState>,
    /// The last addresses that this node began or ceased to answer for, oldest first.
    pub moves: Vec<AddressMove>,
    /// The addresses in which this node has a part, in ascending order.
    pub addresses: Vec<AddressState>,
}

/// A speaker as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberState {
    /// Its node.
    pub node: String,
    /// `alive`, `suspect` or `down`.
    pub liveness: Cow<'static, str>,
    /// What it reported of itself last: `starting`, `ready` or `draining`.
    pub state: Cow<'static, str>,
    /// Its MAC addresses.
    pub macs: Vec<String>,
    /// How often it left and came back recently; such a node ranks behind others.
    pub flaps: u8,
    /// The nodes of which it reports that they do not answer on the wire.
    pub unresponsive: Vec<String>,
    /// What elections depend on besides; `null` before its first report, and from versions that report nothing.
    #[serde(default)]
    pub profile: Option<ProfileState>,
}

/// What a speaker reports of its node, as far as elections depend on it. A list that is `null` had no room in the report, which counts
/// as all subnets or interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileState {
    /// The subnets of its links.
    pub subnets: Option<Vec<String>>,
    /// The interfaces that can announce: a number for each name.
    pub interfaces: Option<Vec<u32>>,
    /// Those of them that can announce IPv6 addresses.
    pub ipv6_interfaces: Option<Vec<u32>>,
    /// What its version knows, as bits.
    pub features: u32,
}

/// An address that another node will be elected for when MetalLB's speakers have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionDifferenceState {
    /// The address.
    pub address: String,
    /// The Service: its namespace, `/`, and its name.
    pub service: String,
    /// The node that is elected beside MetalLB.
    pub beside: Option<String>,
    /// The node that is elected without it.
    pub alone: Option<String>,
}

/// The session of a speaker with a peer of BGP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerState {
    /// The name of the `BGPPeer`.
    pub name: String,
    /// Where the peer is: address and port, or the interface of an unnumbered peer.
    pub place: String,
    /// The VRF device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// The state: `Connect`, `Active` or `Established` (RFC 4271 section 8.2.2).
    pub state: Cow<'static, str>,
    /// Since when (RFC 3339).
    pub since: String,
    /// What both sides agreed on; only while the session is established.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negotiated: Option<NegotiatedState>,
    /// How many prefixes the peer is to have.
    pub wanted: u64,
    /// How many of these cannot be sent in this session; `BGPSessionState` says why.
    pub unsendable: u64,
    /// How many prefixes the peer was sent.
    pub sent: u64,
    /// How often a session was established since the speaker started.
    pub established: u64,
    /// Why the last session or attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What both sides of a session agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NegotiatedState {
    /// The AS number that the peer was shown.
    #[serde(rename = "localASN")]
    pub local_asn: u32,
    /// The AS number of the peer.
    #[serde(rename = "peerASN")]
    pub peer_asn: u32,
    /// The BGP identifier of the peer.
    #[serde(rename = "peerRouterID")]
    pub peer_router_id: String,
    /// Seconds after which a silent peer is lost; 0 for no limit.
    pub hold_time: u64,
    /// Seconds between two KEEPALIVE messages; 0 for none.
    pub keepalive: u64,
    /// The families that both sides carry: `IPv4`, `IPv6`.
    pub families: Vec<String>,
    /// Whether the peer takes IPv6 next hops of IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    /// Whether the peer keeps routes while the speaker restarts (RFC 4724).
    pub graceful_restart: bool,
}

/// What a node does about an address, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressState {
    /// The address.
    pub address: String,
    /// The stage of its take-over: `Monitoring`, `Probing`, `Deferred`, `Active` or `HandingOver`.
    pub stage: Cow<'static, str>,
    /// Whether this node answers for the address.
    pub answers: bool,
    /// Since when (RFC 3339).
    pub since: String,
    /// The Services at the address, and the role of this node for each.
    pub services: Vec<ServiceRole>,
    /// Requests (ARP and NDP) that were received for the address since this node began to announce it; absent if it does not announce
    /// it, and from versions that do not count them here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// The reason that keeps the elected node from announcing the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Cow<'static, str>>,
}

/// The role of a node for a Service at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRole {
    /// The Service: its namespace, `/`, and its name.
    pub service: String,
    /// `Owner`, `Successor`, `Backup`, `Standby` or `Unowned`.
    pub role: Cow<'static, str>,
    /// The other node that is elected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The reason why no node announces the Service at this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
}

/// A node began or ceased to announce an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressMove {
    /// When (RFC 3339).
    pub time: String,
    /// The address.
    pub address: String,
    /// A Service at the address.
    pub service: String,
    /// Whether the node announces the address from then on. It may answer for some seconds more while a successor takes over.
    pub answers: bool,
    /// The cause: the new role of the node, `OwnerFailed`, `ServiceGone`, or the reason of an event or condition.
    pub reason: Cow<'static, str>,
    /// The other node that is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Seconds from the cause to the move. For `OwnerFailed`, from the first sign of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// The state of a controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerState {
    /// [`VERSION`].
    pub version: u32,
    /// When this state was taken (RFC 3339).
    pub time: String,
    /// Whether a list was cut, because the state is too large.
    pub truncated: bool,
    /// Whether this controller decides and writes. Otherwise it is a standby, which follows what the active one writes.
    pub active: bool,
    /// Whether this controller only stands by because MetalLB's controller has a Pod.
    #[serde(rename = "waitsForMetalLB")]
    pub waits_for_metallb: bool,
    /// The released addresses that are kept from other Services.
    pub quarantine: Vec<QuarantinedAddress>,
}

/// A released address that is kept from other Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedAddress {
    /// The address.
    pub address: String,
    /// The Service that had it last: its namespace, `/`, and its name.
    pub last_service: String,
    /// The end of the quarantine (RFC 3339).
    pub until: String,
}

impl SpeakerState {
    /// Returns the JSON, of `limit` bytes at most. Addresses are cut first.
    ///
    /// # Errors
    /// Never: all keys are texts.
    pub fn to_json(mut self, limit: usize) -> serde_json::Result<Vec<u8>> {
        let mut left = limit.saturating_sub(FRAME);
        self.truncated |= cut(&mut self.members, &mut left)?;
        self.truncated |= cut(&mut self.bgp_peers, &mut left)?;
        self.truncated |= cut(&mut self.election_differences, &mut left)?;
        self.truncated |= cut(&mut self.moves, &mut left)?;
        self.truncated |= cut(&mut self.addresses, &mut left)?;
        serde_json::to_vec(&self)
    }
}

impl ControllerState {
    /// Returns the JSON, of `limit` bytes at most.
    ///
    /// # Errors
    /// Never: all keys are texts.
    pub fn to_json(mut self, limit: usize) -> serde_json::Result<Vec<u8>> {
        let mut left = limit.saturating_sub(FRAME);
        self.truncated |= cut(&mut self.quarantine, &mut left)?;
        serde_json::to_vec(&self)
    }
}

/// Cuts a list to the entries whose JSON fits into what is left, and takes it from that. Returns whether any did not fit.
fn cut<T: Serialize>(list: &mut Vec<T>, left: &mut usize) -> serde_json::Result<bool> {
    for (index, entry) in list.iter().enumerate() {
        let comma = 1;
        let size = serde_json::to_vec(entry)?.len() + comma;
        if size > *left {
            list.truncate(index);
            return Ok(true);
        }
        *left -= size;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speaker_with_too_many_peers_shows_some_of_them() {
        let peer = |n: u32| BgpPeerState {
            name: format!("peer-{n}"),
            place: "192.0.2.1:179".to_owned(),
            vrf: None,
            state: "Active".into(),
            since: String::new(),
            negotiated: None,
            wanted: 10,
            unsendable: 0,
            sent: 0,
            established: 1,
            last_error: Some("e".repeat(1024)),
        };
        let state = SpeakerState {
            version: VERSION,
            node: String::new(),
            time: String::new(),
            truncated: false,
            gossip_blocked: None,
            beside_metallb: false,
            election_differences: Vec::new(),
            members: Vec::new(),
            bgp_peers: (0..1000).map(peer).collect(),
            moves: Vec::new(),
            addresses: Vec::new(),
        };
        let limit = 64 * 1024;
        let json = state.to_json(limit).expect("JSON");
        assert!(json.len() <= limit);
        let read: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(read["truncated"], true);
        let shown = read["bgpPeers"].as_array().expect("a list");
        assert!(shown.len() > 40, "{}", shown.len());
        assert_eq!(shown[0]["lastError"].as_str().map(str::len), Some(1024));
    }

    #[test]
    fn a_state_that_is_too_large_is_cut_and_marked() {
        let quarantined = |n: u32| QuarantinedAddress {
            address: format!("192.0.2.{n}"),
            last_service: format!("default/{}", "s".repeat(200)),
            until: String::new(),
        };
        let state = |entries| ControllerState {
            version: VERSION,
            time: String::new(),
            truncated: false,
            active: true,
            waits_for_metallb: false,
            quarantine: (0..entries).map(quarantined).collect(),
        };
        let limit = 64 * 1024;
        for (entries, is_cut) in [(0, false), (100, false), (1000, true)] {
            let json = state(entries).to_json(limit).expect("JSON");
            assert!(json.len() <= limit);
            let read: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
            assert_eq!(read["truncated"], is_cut);
            let shown = read["quarantine"].as_array().expect("a list").len();
            assert_eq!(shown < entries as usize, is_cut, "{shown} of {entries}");
            assert!(shown >= 200 || shown == entries as usize);
        }
    }
}
