//! Converts Kubernetes objects into the plain inputs of `herald-core`. Decides nothing.

mod bgp;
mod config;
mod labels;
mod member;
mod metallb;
mod network;
mod peer_version;
mod service;
mod state;

pub use bgp::{bfd_profile, bgp_advertisement, bgp_peer, communities, secret};
pub use config::{l2_advertisement, pool};
pub use labels::has_too_long_labels;
pub use member::{member, member_state};
pub use metallb::{MetalLbPod, MetalLbProgram, UnreadConfigMap, metallb_pod};
pub use network::{EndpointSlice, SliceId, endpoint_slice, internal_ipv4, node};
pub use peer_version::{V1BETA2_FIELDS, VersionError, bgp_peer_version};
pub use service::{exposure, external_ips, ingress_addresses, is_ours, key, service};
pub use state::{GOSSIP_REACHABLE, configuration_state, gossip_reachable};
