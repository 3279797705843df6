//! IP address management: gives addresses of pools to Services.
//!
//! [`Allocator`] is a machine without input or output of its own: pools and Services go in, decisions come out.
//! It follows MetalLB's controller with these deliberate differences:
//!
//! * The addresses that Services have already are adopted for all Services before any address is given out, so the result
//!   of a restart does not depend on the order of events. Later, what other programs write into statuses changes nothing.
//! * A Service keeps an address as long as a pool has it, although its request cannot be met or the pool is no longer open to
//!   it, unless it may not share the address.
//! * Waiting Services are served oldest first as soon as an address that they wait for is released.
//! * A released address is in quarantine ([`DEFAULT_QUARANTINE`]) before another Service gets it, unless there is no other
//!   one. Until then a request for it is met only if it comes from the same namespace.
//! * A Service that was deleted, or lost or left its addresses, gets them back when it returns, if they are still free.
//! * An address that another Service uses by `spec.externalIPs` is the last to be given out; one of a node is not given out.
//! * Pools of equal priority are used in order of name.
//! * Requested addresses stay in the order of the request.
//!
//! Several controllers may run, of which one is active. The others follow its decisions in the statuses that it writes. A
//! controller that becomes active therefore has the same quarantines and past assignments.
//!
//! ```text
//!  allocator ----> state, entry ----> decider ----> account ----> search
//!  the inputs      one Service's      one           what it may      |
//!  and outputs     record             decision      have and gets    v
//!                                                              ledger ----> pool_ledger ----> free_list ----> quarantine
//!                                                              who uses     one pool          one family
//! ```

mod account;
mod allocator;
mod decider;
mod decision;
mod entry;
mod explain;
mod external;
mod free_list;
mod ledger;
mod occupancy;
mod past_assignments;
mod pool_ledger;
mod preview;
mod quarantine;
mod refusal;
mod requirement;
mod search;
mod shared_addresses;
mod state;
#[cfg(test)]
mod tests;
mod waiting;

pub use allocator::{Allocator, DEFAULT_QUARANTINE};
pub use decision::{AllocationOutcome, Assignment, Decision, Note, Usage};
pub use explain::PoolOutcome;
pub use external::{ExternalUser, PoolOverlap};
pub use refusal::Refusal;
