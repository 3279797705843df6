//! Which node announces which address of a Service, and why another node does not.

pub mod eligibility;
pub mod layer2;
