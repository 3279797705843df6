//! A tenant whose Services have all that the API server lets through.

use super::*;

/// What 1 000 hostile changes may cost.
const MOST: usize = 10_000_000;

/// The texts that a reconciler holds, as `Debug` shows them: more than they take in memory.
fn held(reconciler: &Reconciler) -> usize {
    let Reconciler {
        allocator,
        records,
        published,
        announcements: _,
        last_report: _,
        is_active: _,
        deadlines,
        stale,
        events,
    } = reconciler;
    format!("{allocator:?}{records:?}{published:?}{deadlines:?}{stale:?}{events:?}").len()
}

#[test]
fn memory_is_bounded_whatever_is_said() {
    let mut fixture = Fixture::active(&["192.0.2.0/24"]);
    // The limit of the API server for all annotations of an object is 256 kB.
    let long = "x".repeat(250 * 1024);
    let long_list = "192.0.2.1,".repeat(25 * 1024);
    let many: serde_json::Map<String, Value> = (0..3000)
        .map(|n| (format!("metallb.universe.tf/{n:060}"), json!("")))
        .collect();
    let labels: serde_json::Map<String, Value> = (0..2000)
        .map(|n| (format!("example.com/{n:060}"), json!("x".repeat(63))))
        .collect();
    let annotations = [
        json!({"metallb.io/loadBalancerIPs": long}),
        json!({"metallb.io/loadBalancerIPs": long_list}),
        json!({"metallb.universe.tf/loadBalancerIPs": long}),
        json!({"metallb.io/address-pool": long}),
        json!({"metallb.io/allow-shared-ip": long}),
        json!({"metallb.io/ip-allocated-from-pool": long}),
        json!({"example.com/other": long}),
        Value::Object(many),
    ];
    for version in 1..=1000_u64 {
        let changes = &annotations[usize::try_from(version).expect("small") % annotations.len()];
        let name = format!("service-{}", version % 100);
        // The last change of each Service.
        let labels = (version > 900).then_some(&labels);
        fixture.show(object(
            &name,
            version,
            &json!({"metadata": {"annotations": changes, "labels": labels}}),
        ));
        fixture.writes();
        let events = fixture.events();
        assert!(events.iter().all(|(_, note)| note.len() <= 1024), "events");
        if version % 3 == 0 {
            fixture.written(&name, Written::Failed("away".to_owned()));
        }
    }
    let held = held(&fixture.reconciler);
    assert!(held < MOST, "{held}");
    assert_eq!(fixture.reconciler.services(), 100);
}
