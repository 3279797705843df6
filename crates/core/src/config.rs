//! Configuration: pools, advertisements and peers, as written and as parsed, and their problems.
//!
//! Raw resources are parsed once, into types that have no invalid values. A resource with a problem is set aside, with all
//! its problems; its last good version stays in force, and other resources are not affected.

mod advertisement_scope;
pub mod bgp;
mod catalog;
mod conflict_detection;
mod l2_advertisement;
mod pool;
mod problem;
mod range_index;
mod raw;
mod selectors;
mod tenancy;
#[cfg(test)]
mod tests;

pub use advertisement_scope::AdvertisementScope;
pub use catalog::{AdvertisingNode, Catalog, ConfigChange, Ineffective, ReportedInterfaces};
pub use conflict_detection::ConflictDetection;
pub use l2_advertisement::L2Advertisement;
pub use pool::{Allocation, Pool};
pub use problem::{ConfigError, Problem, ResourceKind};
pub(crate) use range_index::RangeIndex;
pub use raw::{RawAllocation, RawL2Advertisement, RawPool, RawReservation};
pub use tenancy::{RequestScope, SharingScope};
