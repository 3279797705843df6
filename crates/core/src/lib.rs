//! The pure part of Herald: which address a Service gets, which node announces it, and the reasons.
//!
//! Nothing here reads a clock, opens a socket or logs. The time is the last argument of a function, outputs are polled, and
//! every reason is an enum variant, which the shells write to conditions, events, logs and metric labels.
#![no_std]

extern crate alloc;

pub mod address;
mod allowance;
pub mod announce;
mod backoff;
pub mod bgp;
pub mod config;
pub mod ipam;
pub mod mac;
pub mod member;
pub mod name;
mod prefix;
pub mod queue;
pub mod selector;
pub mod service;
pub mod time;

pub use address::{AddressRange, AddressSet, Addresses, Capacity};
pub use allowance::Allowance;
pub use backoff::Backoff;
pub use config::{
    Catalog, ConfigChange, ConfigError, L2Advertisement, Pool, Problem, RawAllocation, RawL2Advertisement,
    RawPool, RawReservation, ResourceKind,
};
pub use ipam::{AllocationOutcome, Allocator, Assignment, Decision, Note, Refusal, Usage};
pub use mac::MacAddr;
pub use member::{Features, Liveness, Member, NodeState, Profile};
pub use name::{Namespace, NamespacedName, NodeName, PoolName, ServiceKey};
pub use prefix::Prefix;
pub use selector::{Labels, RawRequirement, RawSelector, Selector, SelectorError};
pub use service::{AddressRequest, Family, FamilyPolicy, Port, RequestError, Service, Transport};
pub use time::Time;
