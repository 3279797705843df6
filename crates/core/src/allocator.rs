//! Which Service gets which address.
mod decision;
pub use decision::{Assignment, Decision, Note, Outcome, Refusal, Usage};
