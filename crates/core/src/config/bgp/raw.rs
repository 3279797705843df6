//! Resources of BGP as written by the user.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::peer::Password;
use crate::RawSelector;

/// A `BGPPeer` as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawBgpPeer {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds since 1970: of two peers with one session on a node the older one has it.
    pub created: i64,
    /// `spec.myASN`.
    pub my_asn: i64,
    /// `spec.peerASN`.
    pub peer_asn: Option<i64>,
    /// `spec.dynamicASN`.
    pub dynamic_asn: Option<String>,
    /// `spec.localASN`.
    pub local_asn: Option<i64>,
    /// `spec.peerAddress`.
    pub address: Option<String>,
    /// `spec.interface`.
    pub interface: Option<String>,
    /// `spec.sourceAddress`.
    pub source_address: Option<String>,
    /// `spec.peerPort`; absent and 0 are 179.
    pub port: Option<i64>,
    /// `spec.vrf`.
    pub vrf: Option<String>,
    /// `spec.holdTime`.
    pub hold_time: Option<String>,
    /// `spec.keepaliveTime`.
    pub keepalive_time: Option<String>,
    /// `spec.connectTime`.
    pub connect_time: Option<String>,
    /// `spec.routerID`.
    pub router_id: Option<String>,
    /// `spec.nodeSelectors`.
    pub node_selectors: Vec<RawSelector>,
    /// `spec.password`.
    pub password: Option<Password>,
    /// `spec.passwordSecret.name`.
    pub password_secret: Option<String>,
    /// `spec.bfdProfile`.
    pub bfd_profile: Option<String>,
    /// `spec.enableGracefulRestart`.
    pub graceful_restart: Option<bool>,
    /// `spec.ebgpMultiHop`.
    pub multi_hop: Option<bool>,
    /// `spec.dualStackAddressFamily`.
    pub dual_stack: Option<bool>,
}

/// A `BGPAdvertisement` as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawBgpAdvertisement {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds since 1970: of two advertisements that contradict each other the older one is used.
    pub created: i64,
    /// `spec.aggregationLength`; absent is 32.
    pub aggregation_length: Option<i64>,
    /// `spec.aggregationLengthV6`; absent is 128.
    pub aggregation_length_v6: Option<i64>,
    /// `spec.localPref`; 0 is none.
    pub local_pref: Option<i64>,
    /// `spec.med`.
    pub med: Option<i64>,
    /// `spec.communities`.
    pub communities: Vec<String>,
    /// `spec.peers`.
    pub peers: Vec<String>,
    /// `spec.ipAddressPools`.
    pub pools: Vec<String>,
    /// `spec.ipAddressPoolSelectors`.
    pub pool_selectors: Vec<RawSelector>,
    /// `spec.nodeSelectors`.
    pub node_selectors: Vec<RawSelector>,
    /// `spec.serviceSelectors`.
    pub service_selectors: Vec<RawSelector>,
}

/// A `Community` as written by the user: names of communities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawCommunities {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds since 1970: of two definitions of a name the older one is used.
    pub created: i64,
    /// `spec.communities`: name and value of each.
    pub communities: Vec<(String, String)>,
}

/// A `BFDProfile` as written by the user. Intervals are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawBfdProfile {
    /// `metadata.name`.
    pub name: String,
    /// `spec.receiveInterval`.
    pub receive_interval: Option<i64>,
    /// `spec.transmitInterval`.
    pub transmit_interval: Option<i64>,
    /// `spec.detectMultiplier`.
    pub detect_multiplier: Option<i64>,
    /// `spec.echoInterval`.
    pub echo_interval: Option<i64>,
    /// `spec.echoMode`.
    pub echo_mode: Option<bool>,
    /// `spec.passiveMode`.
    pub passive_mode: Option<bool>,
    /// `spec.minimumTtl`.
    pub minimum_ttl: Option<i64>,
}

/// A Secret that a peer refers to, reduced to what is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawSecret {
    /// `metadata.name`.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// `data.password`.
    pub password: Option<Password>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
