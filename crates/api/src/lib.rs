//! Herald's interface to Kubernetes: custom resources, annotations, reasons, and the conversion of Kubernetes objects into
//! the plain inputs of `herald-core`.
//!
//! The custom resources are MetalLB's (`metallb.io/v1beta1`), field for field, so that existing manifests
//! apply unchanged. `cargo run -p herald-api --bin crdgen` writes them to `crds/`.

pub mod annotation;
pub mod convert;
pub mod crd;
pub mod reason;
pub mod state;

pub use crd::{
    ConfigurationState, ConfigurationStateStatus, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus,
    L2Advertisement, L2AdvertisementSpec, MOST_ENTRIES, ServiceL2Status, ServiceL2StatusStatus, crds,
};
