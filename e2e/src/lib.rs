//! Herald on Kubernetes' own control plane, installed by its chart; `e2e/run` builds that and runs the tests.
//!
//! The lab (`herald-lab`) starts the cluster; here is what the tests need beside it.

pub mod kubectl;
pub mod rights;
