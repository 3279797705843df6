//! What several reports on one Service mean together.

use herald_runtime::ObjectKey;
use serde_json::{Value, json};

use super::*;

const V4: &str = "192.0.2.1";
const V6: &str = "fc00::1";

fn web() -> ServiceKey {
    ServiceKey::new("default", "web")
}

/// A report: the object, whose name is that of the node and the Pod, the addresses, and the reason.
type Report<'a> = (&'a str, &'a [&'a str], &'a str);

/// Reports with these reasons have no node.
const OF_NO_NODE: [&str; 2] = ["NoEndpoints", "NoCandidate"];

fn status(version: u64, (object, addresses, reason): Report<'_>) -> Option<SpeakerStatus> {
    let is_so = if reason == "Announced" { "True" } else { "False" };
    let condition = json!({
        "type": ANNOUNCED, "status": is_so, "reason": reason, "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": object, "uid": format!("uid-{object}")});
    let node = (!OF_NO_NODE.contains(&reason)).then_some(object);
    let object = json!({
        "metadata": {"name": object, "resourceVersion": version.to_string(), "ownerReferences": [owner]},
        "status": {"node": node, "serviceName": "web", "serviceNamespace": "default", "addresses": addresses,
            "conditions": [condition]},
    });
    SpeakerStatus::new(&serde_json::from_value(object).expect("a ServiceL2Status"))
}

/// The reports in the order of their versions.
fn announcements(reports: &[Report<'_>]) -> Announcements {
    let mut announcements = Announcements::default();
    announcements.update(Update::Synced);
    for (version, report) in (1..).zip(reports) {
        announcements.update(Update::Applied(status(version, *report)));
    }
    announcements
}

fn reason(announcements: &Announcements) -> Option<String> {
    let addresses = [V4, V6].map(|address| address.parse().unwrap());
    let announced = announcements.of(&web(), &addresses);
    announced.map(|announced| announced.reason.into_owned())
}

fn superseded(announcements: &mut Announcements) -> Vec<String> {
    let addresses = [V4, V6].map(|address| address.parse().unwrap());
    let superseded = std::iter::from_fn(|| {
        announcements.poll_superseded(|service| (*service == web()).then_some(&addresses[..]))
    });
    superseded.map(|object| object.name).collect()
}

#[test]
fn the_newest_report_is_right_about_what_it_says_and_older_ones_about_the_rest() {
    let table: [(&[Report<'_>], Option<&str>, &[&str]); 15] = [
        (&[], None, &[]),
        (&[("a", &[V4, V6], "Announced")], Some("Announced"), &[]),
        (&[("a", &[], "Announced")], Some("Announced"), &[]),
        (&[("a", &[V4], "Announced")], None, &[]),
        (
            &[("a", &[V4], "Announced"), ("b", &[V6], "Announced")],
            Some("Announced"),
            &[],
        ),
        (
            &[("a", &[V4, V6], "Announced"), ("b", &[V4, V6], "Announced")],
            Some("Announced"),
            &["a"],
        ),
        (
            &[("a", &[V4, V6], "Announced"), ("b", &[V6], "Announced")],
            Some("Announced"),
            &[],
        ),
        (&[("a", &[V4], "AddressConflict")], Some("AddressConflict"), &[]),
        (
            &[("a", &[], "AddressConflict"), ("b", &[V6], "Announced")],
            Some("AddressConflict"),
            &[],
        ),
        (
            &[("a", &[], "AddressConflict"), ("b", &[V4, V6], "Announced")],
            Some("Announced"),
            &["a"],
        ),
        (
            &[("a", &[V4, V6], "Announced"), ("b", &[], "OwnerUnheard")],
            Some("OwnerUnheard"),
            &[],
        ),
        (
            &[("a", &[V4, V6], "Announced"), ("b", &[], "NoCandidate")],
            Some("NoCandidate"),
            &[],
        ),
        (
            &[("a", &[], "NoEndpoints"), ("b", &[], "NoCandidate")],
            Some("NoCandidate"),
            &["a"],
        ),
        (
            &[("a", &[V4, V6], "Announced"), ("b", &[], "NotAnnounced")],
            Some("Announced"),
            &["b"],
        ),
        (&[("a", &[], "NotAnnounced")], None, &["a"]),
    ];
    for (reports, expected, gone) in table {
        let mut announcements = announcements(reports);
        assert_eq!(reason(&announcements).as_deref(), expected, "{reports:?}");
        assert_eq!(superseded(&mut announcements), gone, "{reports:?}");
    }
}

#[test]
fn an_object_that_changes_is_as_new_as_its_change_and_one_that_is_gone_says_nothing() {
    let mut announcements = announcements(&[("a", &[V4, V6], "Announced"), ("b", &[], "AddressConflict")]);
    announcements.update(Update::Applied(status(3, ("a", &[V4, V6], "Announced"))));
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
    assert_eq!(superseded(&mut announcements), ["b"]);
    let key = |name: &str| ObjectKey {
        namespace: "metallb-system".to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(
        announcements.update(Update::Deleted(key("a"))),
        BTreeSet::from([web()])
    );
    assert_eq!(reason(&announcements).as_deref(), Some("AddressConflict"));
    announcements.update(Update::Deleted(key("b")));
    assert_eq!(reason(&announcements), None);
    assert_eq!(announcements.update(Update::Deleted(key("b"))), BTreeSet::new());
}

#[test]
fn before_the_first_list_nothing_is_known() {
    let mut announcements = Announcements::default();
    announcements.update(Update::Applied(status(1, ("a", &[V4, V6], "Announced"))));
    assert_eq!(reason(&announcements), None);
    announcements.update(Update::Synced);
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
}

#[test]
fn an_object_of_metallb_has_no_condition_and_means_that_the_service_is_announced() {
    let object = json!({
        "metadata": {"name": "l2-x"},
        "status": {"node": "a", "serviceName": "web", "serviceNamespace": "default"},
    });
    let report = SpeakerStatus::new(&serde_json::from_value(object).expect("a ServiceL2Status"));
    let report = report.expect("the object names its Service");
    assert_eq!(report.announced, Announced::yes());
    assert!(report.announces([192, 0, 2, 77].into()));
    let fresh = json!({"metadata": {"name": "l2-x"}});
    assert!(SpeakerStatus::new(&serde_json::from_value(fresh).expect("a ServiceL2Status")).is_none());
}

fn pod(name: &str, is_ready: bool) -> Update<PodReadiness> {
    let ready = if is_ready { "True" } else { "False" };
    let pod: Value = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    Update::Applied(PodReadiness::new(&serde_json::from_value(pod).expect("a Pod")))
}

#[test]
fn while_one_speaker_is_ready_all_reports_count_and_without_one_none_does() {
    let mut announcements = announcements(&[("a", &[V4], "Announced"), ("b", &[V6], "Announced")]);
    assert!(!announcements.update_pods(pod("a", true)));
    assert!(!announcements.update_pods(pod("controller", false)));
    assert!(!announcements.update_pods(pod("b", false)));
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
    assert!(announcements.update_pods(pod("a", false)));
    assert_eq!(reason(&announcements), None);
    assert_eq!(
        announcements.absence(Announced::yes()),
        Announced::without_ready_speaker()
    );
    assert!(announcements.update_pods(pod("b", true)));
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
    assert_eq!(announcements.absence(Announced::yes()), Announced::unreported());
}

#[test]
fn the_objects_of_a_speaker_whose_pod_is_gone_are_deleted() {
    let mut announcements = announcements(&[("a", &[V4], "Announced"), ("b", &[V6], "Announced")]);
    for name in ["a", "b"] {
        announcements.update_pods(pod(name, true));
    }
    assert_eq!(superseded(&mut announcements), [""; 0]);
    let key = |name: &str| ObjectKey {
        namespace: "metallb-system".to_owned(),
        name: name.to_owned(),
    };
    announcements.update_pods(Update::Deleted(key("a")));
    assert_eq!(superseded(&mut announcements), ["a"]);
    assert_eq!(superseded(&mut announcements), [""; 0], "it is being deleted");
    announcements.handle_deletion_over("a");
    assert_eq!(superseded(&mut announcements), ["a"]);
    announcements.update(Update::Deleted(key("a")));
    assert_eq!(superseded(&mut announcements), [""; 0]);
    announcements.update_pods(Update::Deleted(key("b")));
    announcements.update(Update::Deleted(key("b")));
    assert_eq!(
        announcements.absence(Announced::yes()),
        Announced::without_speaker()
    );
    assert_eq!(announcements.absence(Announced::pending()), Announced::pending());
    assert!(announcements.unready.is_empty() && announcements.pods.is_empty());
}

fn bgp_report(object: &str, addresses: &[&str], peers: &[&str]) -> Option<BgpAnnouncement> {
    let pod = object.trim_start_matches("bgp-");
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": format!("uid-{pod}")});
    let object = json!({
        "metadata": {"name": object, "ownerReferences": [owner]},
        "status": {"node": pod, "serviceName": "web", "serviceNamespace": "default", "addresses": addresses, "peers": peers},
    });
    BgpAnnouncement::new(&serde_json::from_value(object).expect("a ServiceBGPStatus"))
}

#[test]
fn an_address_that_one_of_the_protocols_announces_is_announced() {
    let table: [(&[Report<'_>], &[&str], Option<&str>); 7] = [
        (&[], &[V4, V6], Some("Announced")),
        (&[], &[V4], None),
        (&[("a", &[V6], "Announced")], &[V4], Some("Announced")),
        (&[("a", &[], "NoCandidate")], &[V4, V6], Some("Announced")),
        (&[("a", &[], "NoCandidate")], &[V4], Some("NoCandidate")),
        // The condition of the ServiceL2Status says what keeps layer 2 from announcing it, too.
        (&[("a", &[], "AddressConflict")], &[V4, V6], Some("Announced")),
        (&[("a", &[V4], "Announced")], &[V4], None),
    ];
    for (reports, by_bgp, expected) in table {
        let mut announcements = announcements(reports);
        let report = bgp_report("bgp-b", by_bgp, &["router"]);
        assert_eq!(announcements.update_bgp(Update::Applied(report)), Some(web()));
        assert_eq!(
            reason(&announcements).as_deref(),
            expected,
            "{reports:?} {by_bgp:?}"
        );
        assert_eq!(superseded(&mut announcements), [""; 0]);
    }
}

#[test]
fn a_report_of_bgp_counts_while_its_speaker_is_ready_and_no_report_supersedes_another() {
    let mut announcements = announcements(&[]);
    for name in ["a", "b"] {
        let report = bgp_report(&format!("bgp-{name}"), &[V4, V6], &["router"]);
        announcements.update_bgp(Update::Applied(report));
        announcements.update_pods(pod(name, true));
    }
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
    assert!(announcements.update_pods(pod("a", false)));
    assert!(!announcements.update_pods(pod("a", false)), "nothing has changed");
    assert_eq!(
        reason(&announcements).as_deref(),
        Some("Announced"),
        "b announces it"
    );
    let key = |name: &str| ObjectKey {
        namespace: "metallb-system".to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(
        announcements.update_bgp(Update::Deleted(key("bgp-b"))),
        Some(web())
    );
    assert_eq!(reason(&announcements), None, "the speaker of a is not ready");
    assert!(announcements.update_pods(pod("a", true)));
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
    // Changed: only one family is left.
    announcements.update_bgp(Update::Applied(bgp_report("bgp-a", &[V4], &["router"])));
    assert_eq!(reason(&announcements), None);
    announcements.update_bgp(Update::Deleted(key("bgp-a")));
    assert!(announcements.owners.is_empty());
    assert_eq!(announcements.update_bgp(Update::Deleted(key("bgp-a"))), None);
}

#[test]
fn an_object_of_metallb_s_bgp_names_no_addresses_and_means_all() {
    let mut announcements = announcements(&[]);
    announcements.update_bgp(Update::Applied(bgp_report("bgp-a", &[], &["router"])));
    assert_eq!(reason(&announcements).as_deref(), Some("Announced"));
    announcements.update_bgp(Update::Applied(bgp_report("bgp-a", &[], &[])));
    assert_eq!(reason(&announcements), None, "it is withdrawn");
    let fresh = json!({"metadata": {"name": "bgp-x"}});
    assert!(BgpAnnouncement::new(&serde_json::from_value(fresh).expect("a ServiceBGPStatus")).is_none());
}
