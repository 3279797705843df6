//! The real controller, as a process of its own, with the embedded API server: what an administrator sees.

mod bgp_effect;
mod cluster;
mod external;
mod faults;
mod gossip_key;
mod handover;
mod model;
mod release_check;
mod reports;
mod restore;
mod schema;
mod schema_bgp;
mod tenants;
mod unreadable;
