//! The fuzz targets: one function each, which takes any bytes and panics if an invariant is broken.
//!
//! The targets of `cargo fuzz` in `targets/` call these functions; the tests here replay `corpus/`.

mod announcer;
mod bgp;
mod bgp_peering;
mod bgp_session;
mod frame;
mod gossip;
mod pool;
mod service;

pub use announcer::announcer;
pub use bgp::bgp;
pub use bgp_peering::bgp_peering;
pub use bgp_session::bgp_session;
pub use frame::frame;
pub use gossip::gossip;
pub use pool::pool;
pub use service::service;

/// What a target runs.
pub type Target = fn(&[u8]);

/// Every target by name; its corpus is in `corpus/<name>`.
pub const TARGETS: [(&str, Target); 8] = [
    ("pool", pool),
    ("service", service),
    ("frame", frame),
    ("announcer", announcer),
    ("gossip", gossip),
    ("bgp", bgp),
    ("bgp_session", bgp_session),
    ("bgp_peering", bgp_peering),
];
