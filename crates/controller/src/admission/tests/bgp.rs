//! Reviews of the resources of BGP.

use herald_core::config::bgp::BgpKind;
use herald_runtime::Update;
use k8s_openapi::api::core::v1::ObjectReference;

use super::*;
use crate::input::WrittenBgp;

const KINDS: [BgpKind; 4] = [
    BgpKind::Peer,
    BgpKind::Advertisement,
    BgpKind::Communities,
    BgpKind::BfdProfile,
];

/// A controller that has listed these resources of BGP.
pub(super) fn fixture(objects: &[Value]) -> Fixture {
    let mut fixture = Fixture::new(false);
    for object in objects {
        let kind = KINDS.into_iter().find(|kind| object["kind"] == kind.to_string());
        let Ok(ProposedChange::Bgp(proposal)) = proposed(&review("CREATE", object, &Value::Null)) else {
            panic!("not of BGP: {object}");
        };
        let written = WrittenBgp {
            name: object["metadata"]["name"].as_str().expect("a name").to_owned(),
            change: proposal.change,
            reference: ObjectReference::default(),
        };
        fixture
            .bgp
            .handle(kind.expect("a kind"), Update::Applied(Box::new(written)));
    }
    for kind in KINDS {
        fixture.bgp.handle(kind, Update::Synced);
    }
    fixture.bgp.apply();
    fixture
}

fn peer(name: &str, fields: &Value) -> Value {
    let mut peer = resource(
        "BGPPeer",
        name,
        json!({"myASN": 42, "peerASN": 42, "peerAddress": "1.2.3.4"}),
    );
    peer["apiVersion"] = json!("metallb.io/v1beta2");
    for (field, value) in fields.as_object().expect("fields") {
        peer["spec"][field] = value.clone();
    }
    peer
}

pub(super) fn bgp_advertisement(spec: Value) -> Value {
    resource("BGPAdvertisement", "a", spec)
}

fn communities(name: &str, names: &[&str]) -> Value {
    let named = names.iter().map(|name| json!({"name": name, "value": "1:2"}));
    resource(
        "Community",
        name,
        json!({"communities": named.collect::<Vec<Value>>()}),
    )
}

#[tokio::test]
async fn what_is_wrong_with_a_resource_itself_is_refused() {
    let mut fixture = fixture(&[]);
    for (object, expected) in [
        (
            peer("tor", &json!({"holdTime": "1s"})),
            r#"BGPPeer "tor": spec.holdTime: invalid BGPPeer timers: invalid hold time "1s""#,
        ),
        (
            peer("tor", &json!({"nodeSelectors": [{}, {}]})),
            "duplicate definition of nodeSelectors",
        ),
        (
            peer("tor", &json!({"password": "p", "passwordSecret": {"name": "s"}})),
            "can not have both password and secret ref set",
        ),
        (
            bgp_advertisement(json!({"peers": ["tor", "tor"]})),
            r#"BGPAdvertisement "a": spec.peers[1]: duplicate definition"#,
        ),
        (
            bgp_advertisement(json!({"communities": ["1:65536"]})),
            "invalid community value",
        ),
        (
            communities("c", &["bar", "bar"]),
            r#"Community "c": spec.communities[1].name: duplicate definition of community "bar""#,
        ),
        (
            resource("BFDProfile", "fast", json!({"receiveInterval": 2})),
            r#"BFDProfile "fast": spec.receiveInterval: invalid value 2"#,
        ),
    ] {
        let (refusal, _) = fixture.create(&object).await;
        assert!(refusal.contains(expected), "{object}: {refusal}");
        // Its metadata can be changed.
        let (refusal, warnings) = texts(&fixture.respond("UPDATE", &object, &object).await);
        assert_eq!(refusal, "");
        assert!(warnings.concat().contains(expected), "{warnings:?}");
    }
}

#[tokio::test]
async fn what_depends_on_other_resources_is_a_warning() {
    let existing = [
        peer("tor", &json!({})),
        communities("names", &["known"]),
        resource("BFDProfile", "fast", json!({})),
    ];
    let mut fixture = fixture(&existing);
    let elsewhere = json!([{"matchLabels": {"rack": "none"}}]);
    let cases: [(Value, &[&str]); 10] = [
        (
            peer("new", &json!({"bfdProfile": "fast"})),
            &["this version runs no BFD"],
        ),
        (
            peer("new", &json!({"bfdProfile": "slow"})),
            &["this version runs no BFD", r#"non existing bfd profile "slow""#],
        ),
        // The controller may not read Secrets.
        (peer("new", &json!({"passwordSecret": {"name": "s"}})), &[]),
        (
            peer("new", &json!({"nodeSelectors": elsewhere})),
            &["spec.nodeSelectors select no Node"],
        ),
        (
            bgp_advertisement(json!({"peers": ["tor"], "ipAddressPools": ["first"]})),
            &[],
        ),
        (
            bgp_advertisement(json!({"peers": ["tor", "leaf"], "ipAddressPools": ["first", "none"]})),
            &[
                "spec.ipAddressPools names pools that do not exist: none",
                "spec.peers names BGPPeers that do not exist: leaf",
            ],
        ),
        (bgp_advertisement(json!({"communities": ["known"]})), &[]),
        (
            bgp_advertisement(json!({"communities": ["unknown"]})),
            &["invalid community format: unknown"],
        ),
        (
            bgp_advertisement(json!({"ipAddressPoolSelectors": elsewhere, "nodeSelectors": elsewhere})),
            &[
                "no IPAddressPool that is in force is selected",
                "spec.nodeSelectors select no Node",
            ],
        ),
        (
            communities("others", &["known"]),
            &[r#"duplicate definition of community "known""#],
        ),
    ];
    for (object, expected) in cases {
        let (refusal, warnings) = fixture.create(&object).await;
        assert_eq!(refusal, "", "{object}");
        assert_eq!(warnings.len(), expected.len(), "{object}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{object}: {warnings:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_without_multiprotocol_is_warned_of_and_checked() {
    let mut fixture = fixture(&[]);
    let (refusal, warnings) = fixture.create(&peer("tor", &json!({"disableMP": true}))).await;
    assert_eq!(refusal, "");
    assert_eq!(
        warnings,
        ["disable mp is deprecated and has no effect since it's the default behavior now"]
    );
    let wrong = peer("tor", &json!({"disableMP": true, "myASN": 0}));
    let (refusal, _) = fixture.create(&wrong).await;
    assert!(refusal.contains("missing local ASN"), "{refusal}");
}

#[tokio::test]
async fn while_bgp_is_switched_off_peers_and_advertisements_are_said_to_have_no_effect() {
    let mut fixture = fixture(&[communities("names", &["known"])]);
    fixture.bgp.set_enabled(false);
    fixture.bgp.apply();
    let advertisement = bgp_advertisement(json!({"ipAddressPools": ["first"]}));
    for object in [peer("tor", &json!({"bfdProfile": ""})), advertisement] {
        let (refusal, warnings) = fixture.create(&object).await;
        assert_eq!(refusal, "", "{object}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("speaker.bgp.enabled"), "{warnings:?}");
    }
    let (_, warnings) = fixture.create(&communities("others", &["other"])).await;
    assert_eq!(warnings, [""; 0]);
}

#[tokio::test]
async fn a_profile_can_be_deleted_only_when_no_peer_names_it() {
    let profile = |name| resource("BFDProfile", name, json!({}));
    let user = peer("tor", &json!({"bfdProfile": "fast"}));
    let mut fixture = fixture(&[user.clone(), profile("fast"), profile("slow")]);
    let (refusal, _) = texts(&fixture.respond("DELETE", &Value::Null, &profile("fast")).await);
    assert_eq!(refusal, "failed to delete BFDProfile fast, used by BGPPeer tor");
    for object in [profile("slow"), user, communities("c", &["a"])] {
        let answer = fixture.respond("DELETE", &Value::Null, &object).await;
        assert_eq!(texts(&answer), none());
    }
    let mut elsewhere = profile("fast");
    elsewhere["metadata"]["namespace"] = json!("default");
    let answer = fixture.respond("DELETE", &Value::Null, &elsewhere).await;
    assert_eq!(texts(&answer), none());
}

#[tokio::test]
async fn before_all_kinds_are_listed_only_what_is_wrong_by_itself_is_known() {
    let mut fixture = Fixture::new(false);
    let unknown = peer(
        "tor",
        &json!({"nodeSelectors": [{"matchLabels": {"rack": "none"}}]}),
    );
    assert_eq!(fixture.create(&unknown).await, none());
    let wrong = peer("tor", &json!({"bfdProfile": "fast", "myASN": 0}));
    assert_ne!(fixture.create(&wrong).await.0, "");
}

#[tokio::test]
async fn lists_of_bgp_that_the_definition_does_not_allow_are_not_compared_with_anything() {
    let mut fixture = fixture(&[]);
    let selectors = vec![json!({"matchLabels": {"a": "b"}}); MOST_ENTRIES + 1];
    let names = vec![""; 300_000];
    for (object, expected) in [
        (peer("tor", &json!({"nodeSelectors": selectors})), "1024"),
        (bgp_advertisement(json!({"serviceSelectors": selectors})), "1024"),
        (
            bgp_advertisement(json!({"communities": vec!["a"; MOST_ENTRIES + 1]})),
            "1024",
        ),
        (communities("c", &vec!["a"; MOST_ENTRIES + 1]), "1024"),
        (bgp_advertisement(json!({"peers": names})), "10000"),
        (bgp_advertisement(json!({"ipAddressPools": names})), "10000"),
    ] {
        let (refusal, _) = fixture.create(&object).await;
        assert_eq!(refusal, format!("a list has more than {expected} entries"));
    }
}

#[tokio::test]
async fn what_a_review_of_bgp_does_not_compare_is_told() {
    let mut fixture = fixture(&[]);
    for index in 0..30 {
        let node = NodeName::new(format!("node-{index}"));
        fixture.effects.set_node(&node, Labels::new());
    }
    let expressions: Vec<Value> = (0..4_096)
        .map(|index| json!({"key": format!("k{index}"), "operator": "DoesNotExist"}))
        .collect();
    let selectors = json!([{"matchExpressions": expressions}]);
    for object in [
        peer("tor", &json!({"nodeSelectors": &selectors})),
        bgp_advertisement(json!({"ipAddressPoolSelectors": &selectors})),
    ] {
        assert_eq!(
            fixture.create(&object).await,
            (String::new(), vec![NOT_CHECKED.to_owned()])
        );
    }
}
