//! What fuzzing runs: one function for each target, which takes any bytes and panics if something is not as it should be.
//!
//! The targets of `cargo fuzz` in `fuzz/` call these; the tests here replay what was found to matter, `fuzz/corpus`.

mod announcer;
mod frame;
mod gossip;
mod pool;
mod service;

pub use announcer::announcer;
pub use frame::frame;
pub use gossip::gossip;
pub use pool::pool;
pub use service::service;

/// What a target runs.
pub type Target = fn(&[u8]);

/// Every target by name; its corpus is in `fuzz/corpus/<name>`.
pub const TARGETS: [(&str, Target); 5] = [
    ("pool", pool),
    ("service", service),
    ("frame", frame),
    ("announcer", announcer),
    ("gossip", gossip),
];
