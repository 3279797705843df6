//! Peers there and back again.

use proptest::prelude::*;

use super::*;

fn peer(version: &str, annotations: Value, spec: Value) -> Value {
    let mut metadata =
        json!({"name": "tor", "namespace": "metallb-system", "uid": "u", "labels": {"a": "b"}});
    if !annotations.is_null() {
        metadata["annotations"] = annotations;
    }
    json!({"apiVersion": version, "kind": "BGPPeer", "metadata": metadata, "spec": spec, "status": {}})
}

fn convert(object: &Value, version: &str) -> Value {
    bgp_peer_version(object.clone(), version).expect("a peer")
}

fn with(object: &Value, field: &str, value: Value) -> Value {
    let mut object = object.clone();
    object["spec"][field] = value;
    object
}

/// A peer with all fields of both versions.
fn whole() -> Value {
    json!({
        "myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.1", "sourceAddress": "192.0.2.2", "peerPort": 1179,
        "holdTime": "90s", "keepaliveTime": "30s", "routerID": "192.0.2.3", "password": "p", "bfdProfile": "fast",
        "ebgpMultiHop": true, "nodeSelectors": [{"matchExpressions": [{"key": "rack", "operator": "Exists"}]}],
        "connectTime": "5s", "localASN": 64514, "vrf": "red", "enableGracefulRestart": false,
        "disableMP": true, "dualStackAddressFamily": true, "passwordSecret": {"name": "s"},
    })
}

#[test]
fn the_fields_that_v1beta1_lacks_go_into_the_annotation_and_come_off_again() {
    let new = peer(V1BETA2, Value::Null, whole());
    let old = convert(&new, V1BETA1);
    assert_eq!(old["apiVersion"], V1BETA1);
    for (field, _) in FIELDS {
        assert_eq!(old["spec"].get(field), None, "{field}");
    }
    let annotation = old["metadata"]["annotations"][V1BETA2_FIELDS]
        .as_str()
        .expect("a text");
    let kept: Value = serde_json::from_str(annotation).expect("JSON");
    assert_eq!(kept["passwordSecret"], json!({"name": "s"}));
    assert_eq!(kept["enableGracefulRestart"], false);
    assert_eq!(convert(&old, V1BETA2), new);
    // A client of v1beta1 changes a field and writes the object back.
    let edited = with(&old, "holdTime", json!("30s"));
    assert_eq!(convert(&edited, V1BETA2), with(&new, "holdTime", json!("30s")));
}

#[test]
fn absent_timers_stay_absent_and_a_plain_peer_gets_no_annotation() {
    let spec = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "peerPort": 179});
    let defaults = json!({"disableMP": false, "dualStackAddressFamily": false});
    let mut new = peer(V1BETA2, json!({"mine": "1"}), spec.clone());
    for (field, value) in defaults.as_object().expect("fields") {
        new["spec"][field] = value.clone();
    }
    let old = convert(&new, V1BETA1);
    assert_eq!(old, peer(V1BETA1, json!({"mine": "1"}), spec.clone()));
    assert_eq!(convert(&old, V1BETA2), peer(V1BETA2, json!({"mine": "1"}), spec));
}

#[test]
fn a_peer_that_v1beta1_cannot_express_survives_it() {
    let spec = json!({"myASN": 1, "dynamicASN": "external", "interface": "eth0"});
    let new = peer(V1BETA2, Value::Null, spec);
    let old = convert(&new, V1BETA1);
    assert_eq!(
        (&old["spec"]["peerASN"], &old["spec"]["peerAddress"]),
        (&json!(0), &json!(""))
    );
    assert_eq!(convert(&old, V1BETA2), new);
}

#[test]
fn port_0_of_v1beta1_is_no_port() {
    let spec = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "peerPort": 0});
    let new = convert(&peer(V1BETA1, Value::Null, spec), V1BETA2);
    assert_eq!(new["spec"].get("peerPort"), None);
}

#[test]
fn of_the_annotation_only_known_fields_of_the_right_type_are_taken_and_none_that_the_object_has() {
    let spec = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1"});
    for (annotation, expected) in [
        (
            r#"{"vrf": "red", "myASN": 7, "other": 1}"#,
            Some(("vrf", json!("red"))),
        ),
        (r#"{"vrf": 5, "passwordSecret": {"name": 1}}"#, None),
        (r#"{"passwordSecret": {"key": "x"}}"#, None),
        (r#"{"localASN": 1.5}"#, None),
        ("not JSON", None),
        ("[1]", None),
        ("", None),
    ] {
        let old = peer(V1BETA1, json!({V1BETA2_FIELDS: annotation}), spec.clone());
        let mut new = peer(V1BETA2, Value::Null, spec.clone());
        if let Some((field, value)) = expected {
            new["spec"][field] = value;
        }
        assert_eq!(convert(&old, V1BETA2), new, "{annotation}");
    }
}

#[test]
fn an_object_of_another_kind_or_version_is_refused() {
    let peer = peer(V1BETA2, Value::Null, json!({}));
    let error = bgp_peer_version(peer.clone(), "metallb.io/v1").expect_err("no version");
    assert_eq!(error, VersionError::Version("metallb.io/v1".to_owned()));
    let mut other = peer.clone();
    other["apiVersion"] = json!("metallb.io/v2");
    assert!(bgp_peer_version(other, V1BETA1).is_err());
    let mut other = peer;
    other["kind"] = json!("Community");
    let error = bgp_peer_version(other, V1BETA1).expect_err("another kind");
    assert_eq!(
        error.to_string(),
        r#"a "Community" cannot be converted, only a BGPPeer"#
    );
    for rubbish in [Value::Null, json!([]), json!({}), json!("x"), json!(1)] {
        assert!(bgp_peer_version(rubbish, V1BETA1).is_err());
    }
}

/// Specs of v1beta2 with any of the fields, but for those that say what is so by default.
fn specs() -> impl Strategy<Value = Value> {
    proptest::collection::vec(any::<bool>(), whole().as_object().map_or(0, Map::len)).prop_map(|chosen| {
        let whole = whole();
        let fields = whole.as_object().expect("fields").iter().zip(chosen);
        let chosen = fields.filter(|(_, chosen)| *chosen);
        Value::Object(
            chosen
                .map(|((field, value), _)| (field.clone(), value.clone()))
                .collect(),
        )
    })
}

proptest! {
    #[test]
    fn there_and_back_again_changes_nothing(spec in specs(), is_annotated: bool) {
        let annotations = if is_annotated { json!({"mine": "1"}) } else { Value::Null };
        let new = peer(V1BETA2, annotations, spec);
        let old = convert(&new, V1BETA1);
        prop_assert_eq!(&convert(&old, V1BETA2), &new);
        prop_assert_eq!(convert(&convert(&old, V1BETA2), V1BETA1), old);
    }

    #[test]
    fn no_object_and_no_annotation_is_too_strange(text in ".{0,40}", spec in "[\\[\\]{}a-z0-9\":,]{0,20}") {
        let spec: Value = serde_json::from_str(&spec).unwrap_or_default();
        for annotations in [json!({V1BETA2_FIELDS: text}), json!(text), json!([text])] {
            let mut old = peer(V1BETA1, Value::Null, spec.clone());
            old["metadata"]["annotations"] = annotations;
            let new = convert(&old, V1BETA2);
            convert(&new, V1BETA1);
            let mut bare = old;
            bare["metadata"] = json!(text);
            convert(&bare, V1BETA2);
        }
    }
}
