//! Herald's interface to Kubernetes: custom resources, annotations, reasons, and the conversion of Kubernetes objects into
//! the plain inputs of `herald-core`.
//!
//! The custom resources are MetalLB's (`metallb.io`), field for field, so that existing manifests apply unchanged, and one of our own. `cargo run -p herald-api --bin crdgen` writes them to `crds/`.

pub mod annotation;
pub mod checks;
pub mod convert;
pub mod crd;
pub mod reason;
pub mod state;

pub use crd::{
    BFDProfile, BFDProfileSpec, BGPAdvertisement, BGPAdvertisementSpec, BGPPeer, BGPPeerSpec,
    BGPSessionState, BGPSessionStateStatus, Community, CommunitySpec, ConfigurationState,
    ConfigurationStateStatus, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, L2Advertisement,
    L2AdvertisementSpec, MOST_ENTRIES, ServiceBGPStatus, ServiceBGPStatusStatus, ServiceL2Status,
    ServiceL2StatusStatus, crds,
};
