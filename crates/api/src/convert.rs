//! Kubernetes objects into the plain inputs of `herald-core`.
