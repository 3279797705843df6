//! The shell that Herald's programs share: logs, the Kubernetes client, watches, writing of desired state, events, the Lease,
//! readiness, health, metrics, shutdown. Nothing here knows what an address is.

pub mod admin;
pub mod client;
pub mod clock;
pub mod event;
pub mod fair_queue;
pub mod health;
pub mod lease;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod readiness;
pub mod reconcile;
pub mod shutdown;
pub mod task;
pub mod watch;

pub use health::Health;
pub use readiness::Readiness;
pub use shutdown::Shutdown;
pub use watch::{ObjectKey, Update};
