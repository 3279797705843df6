//! Any Service that the API server could hand out.

use herald_api::convert;
use herald_core::config::{Catalog, RawPool};
use herald_core::{AllocationOutcome, Allocator, Time};
use k8s_openapi::api::core::v1 as core_v1;

/// The bytes are the JSON of a Service. It gets addresses of the pool or a reason; deciding twice changes nothing.
///
/// # Panics
/// When the invariant is broken.
pub fn service(bytes: &[u8]) {
    let Ok(object) = serde_json::from_slice::<core_v1::Service>(bytes) else {
        return;
    };
    let service = convert::service(&object);
    let _exposure = convert::exposure(&object);
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".to_owned(),
        addresses: vec!["192.0.2.0/24".to_owned(), "fc00::/64".to_owned()],
        ..RawPool::default()
    }]);
    let mut allocator = Allocator::new();
    allocator.set_catalog(&catalog, Time::ZERO);
    allocator.activate(Time::ZERO);
    allocator.set_service(service.clone(), Time::ZERO);
    let decided = allocator.poll_decision().expect("a new Service is decided on");
    if let AllocationOutcome::Assigned(assignment) = &decided.outcome {
        let pool = &catalog.pools()[0];
        assert!(pool.contains_all(&assignment.addresses), "{assignment:?}");
        assert!((1..=2).contains(&assignment.addresses.len()), "{assignment:?}");
    }
    assert_eq!(allocator.poll_decision(), None);
    // A change without effect, so that the allocator decides again.
    let mut again = service;
    again.labels.insert("unused".to_owned(), String::new());
    allocator.set_service(again, Time::ZERO);
    assert_eq!(allocator.poll_decision(), None);
}
