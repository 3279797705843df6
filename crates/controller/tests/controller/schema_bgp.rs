//! The definitions of the resources of BGP compared with their parser: they refuse nothing that it accepts, and what one object shows
//! to be wrong they refuse.

use herald_api::convert;
use herald_core::config::bgp::{BgpCatalog, BgpChange};
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE};

/// A spec, or fields that are changed in the good one of a peer; a word of the parser's message, and one of the definition's: `""` if it
/// accepts.
type Row = (&'static str, &'static str, &'static str);

const PEERS: &[Row] = &[
    ("{}", "", ""),
    (r#"{"holdTime": "180s"}"#, "", ""),
    (r#"{"keepaliveTime": "60s"}"#, "", ""),
    (r#"{"holdTime": "0s", "keepaliveTime": "0s"}"#, "", ""),
    (r#"{"holdTime": "500ms"}"#, "", ""),
    (r#"{"holdTime": "1h2m3.5s"}"#, "", ""),
    (r#"{"holdTime": "18h12m15s"}"#, "", ""),
    (
        r#"{"holdTime": "18h12m16s"}"#,
        "invalid hold time",
        "invalid hold time",
    ),
    (
        r#"{"holdTime": "30s", "keepaliveTime": "90s"}"#,
        "must be lower than holdTime",
        "must be lower than holdTime",
    ),
    (r#"{"holdTime": "90s", "keepaliveTime": "90s"}"#, "", ""),
    (r#"{"holdTime": "1s"}"#, "invalid hold time", "invalid hold time"),
    (
        r#"{"holdTime": "2.9s"}"#,
        "invalid hold time",
        "invalid hold time",
    ),
    (r#"{"holdTime": "90"}"#, "invalid duration", "invalid duration"),
    (r#"{"holdTime": ""}"#, "invalid duration", "invalid duration"),
    (r#"{"holdTime": "-1s"}"#, "invalid duration", "invalid duration"),
    (
        r#"{"keepaliveTime": "0.9s"}"#,
        "invalid hold time",
        "3 x keepaliveTime",
    ),
    (r#"{"keepaliveTime": "300ms"}"#, "", ""),
    (
        r#"{"keepaliveTime": "334ms"}"#,
        "invalid hold time",
        "3 x keepaliveTime",
    ),
    (r#"{"connectTime": "1s"}"#, "", ""),
    (r#"{"connectTime": "18h12m15s"}"#, "", ""),
    (
        r#"{"connectTime": "0s"}"#,
        "invalid connect time",
        "between 1 seconds to 65535",
    ),
    (
        r#"{"connectTime": "1500ms"}"#,
        "invalid connect time",
        "whole number of seconds",
    ),
    (
        r#"{"connectTime": "soon"}"#,
        "invalid duration",
        "invalid duration",
    ),
    (
        r#"{"peerAddress": "1.2.3.400"}"#,
        "invalid BGPPeer address",
        "must be an IP address",
    ),
    (
        r#"{"peerAddress": "fe80::1%eth0"}"#,
        "invalid BGPPeer address",
        "must be an IP address",
    ),
    (r#"{"peerAddress": "::ffff:192.0.2.1"}"#, "", ""),
    (r#"{"peerAddress": "fc00::1"}"#, "", ""),
    (r#"{"myASN": 0}"#, "missing local ASN", "missing local ASN"),
    (r#"{"myASN": 4294967295}"#, "", ""),
    (r#"{"myASN": 4294967296}"#, "invalid ASN", "less than or equal to"),
    (r#"{"peerASN": null}"#, "missing peer ASN", "missing peer ASN"),
    (r#"{"peerASN": 0}"#, "missing peer ASN", "missing peer ASN"),
    (r#"{"ebgpMultiHop": true}"#, "ebgp-multihop", "ebgp-multihop"),
    (r#"{"ebgpMultiHop": true, "peerASN": 142}"#, "", ""),
    (
        r#"{"routerID": "oh god how do I BGP"}"#,
        "invalid router ID",
        "invalid router ID",
    ),
    (
        r#"{"routerID": "fc00::1"}"#,
        "invalid router ID",
        "invalid router ID",
    ),
    (
        r#"{"routerID": "0.0.0.0"}"#,
        "invalid router ID",
        "invalid router ID",
    ),
    (r#"{"routerID": ""}"#, "", ""),
    (
        r#"{"peerASN": 142, "peerPort": 1179, "holdTime": "180s", "connectTime": "1s", "routerID": "10.20.30.40",
            "sourceAddress": "10.20.30.40", "enableGracefulRestart": true, "ebgpMultiHop": true, "vrf": "foo"}"#,
        "",
        "",
    ),
    (r#"{"peerPort": 16384}"#, "", ""),
    (
        r#"{"peerPort": 70000}"#,
        "invalid peer port",
        "less than or equal to",
    ),
    (
        r#"{"sourceAddress": "here"}"#,
        "invalid source IP",
        "must be an IP address",
    ),
    (
        r#"{"sourceAddress": "fc00::1"}"#,
        "different families",
        "different families",
    ),
    (r#"{"sourceAddress": "::ffff:192.0.2.1"}"#, "", ""),
    (r#"{"nodeSelectors": [{}]}"#, "", ""),
    (
        r#"{"nodeSelectors": [{"matchExpressions": [{"key": "a b", "operator": "Exists"}]}]}"#,
        "node selector",
        "spec.nodeSelectors[0]",
    ),
    (r#"{"nodeSelectors": [{}, {}]}"#, "duplicate definition", ""),
    (r#"{"peerASN": null, "dynamicASN": "internal"}"#, "", ""),
    (r#"{"dynamicASN": "internal"}"#, "both peer ASN", "both peer ASN"),
    (
        r#"{"peerASN": null, "dynamicASN": "any"}"#,
        "invalid dynamicASN",
        "supported values",
    ),
    (
        r#"{"peerASN": null, "dynamicASN": "internal", "peerAddress": null, "interface": "net0"}"#,
        "",
        "",
    ),
    (
        r#"{"peerAddress": null}"#,
        "no Address or Interface",
        "no Address or Interface",
    ),
    (
        r#"{"peerAddress": ""}"#,
        "no Address or Interface",
        "no Address or Interface",
    ),
    (
        r#"{"interface": "net0"}"#,
        "both Address and Interface",
        "both Address and Interface",
    ),
    (r#"{"interface": ""}"#, "", ""),
    (
        r#"{"peerAddress": null, "interface": "net0", "sourceAddress": "192.0.2.1"}"#,
        "no sourceAddress",
        "no sourceAddress",
    ),
    (r#"{"disableMP": true}"#, "", ""),
    (r#"{"myASN": 100, "peerASN": 200, "localASN": 65410}"#, "", ""),
    (r#"{"localASN": 0}"#, "invalid ASN", "greater than or equal to"),
    (
        r#"{"password": "a", "passwordSecret": {"name": "b"}}"#,
        "both password",
        "both password",
    ),
    (r#"{"password": "a", "passwordSecret": {}}"#, "", ""),
    (r#"{"passwordSecret": {"name": "b"}}"#, "secret ref not found", ""),
    (r#"{"bfdProfile": "none"}"#, "non existing bfd profile", ""),
];

const ADVERTISEMENTS: &[Row] = &[
    ("{}", "", ""),
    (
        r#"{"aggregationLength": 34}"#,
        "invalid aggregation length",
        "less than or equal to",
    ),
    (
        r#"{"aggregationLength": 0}"#,
        "invalid aggregation length",
        "greater than or equal to",
    ),
    (
        r#"{"aggregationLengthV6": 0}"#,
        "invalid aggregation length",
        "greater than or equal to",
    ),
    (
        r#"{"aggregationLengthV6": 129}"#,
        "invalid aggregation length",
        "less than or equal to",
    ),
    (r#"{"aggregationLength": 1, "aggregationLengthV6": 1}"#, "", ""),
    (r#"{"localPref": 4294967295, "med": 0}"#, "", ""),
    (
        r#"{"localPref": -1}"#,
        "invalid localPref",
        "greater than or equal to",
    ),
    (r#"{"med": 4294967296}"#, "invalid med", "less than or equal to"),
    (r#"{"ipAddressPools": ["p", "p"]}"#, "duplicate definition", ""),
    (
        r#"{"communities": ["1234:5678", "large:4294967295:0:00000000000001", "65535:0065535"]}"#,
        "",
        "",
    ),
    (
        r#"{"communities": ["99999999:1"]}"#,
        "invalid community value",
        "from 0 to 65535",
    ),
    (
        r#"{"communities": ["1:65536"]}"#,
        "invalid community value",
        "from 0 to 65535",
    ),
    (
        r#"{"communities": ["large:1:4294967296:1"]}"#,
        "invalid community value",
        "from 0 to 4294967295",
    ),
    (
        r#"{"communities": ["large:1:x:1"]}"#,
        "invalid community value",
        "from 0 to 4294967295",
    ),
    // Each may be a name.
    (
        r#"{"communities": ["community"]}"#,
        "invalid community format",
        "",
    ),
    (r#"{"communities": ["1:2:3"]}"#, "invalid community format", ""),
    (
        r#"{"serviceSelectors": [{"matchLabels": {"app": "nginx"}}], "aggregationLength": 24}"#,
        "mutually exclusive",
        "mutually exclusive",
    ),
    (
        r#"{"serviceSelectors": [{"matchLabels": {"app": "nginx"}}], "aggregationLengthV6": 64}"#,
        "mutually exclusive",
        "mutually exclusive",
    ),
    (
        r#"{"serviceSelectors": [{"matchLabels": {"app": "nginx"}}], "aggregationLength": 32, "aggregationLengthV6": 128}"#,
        "",
        "",
    ),
    (r#"{"serviceSelectors": [], "aggregationLength": 24}"#, "", ""),
];

const COMMUNITIES: &[Row] = &[
    ("{}", "", ""),
    (
        r#"{"communities": [{"name": "a", "value": "12345:12345"}, {"name": "b", "value": "large:1:2:3"}]}"#,
        "",
        "",
    ),
    (
        r#"{"communities": [{"name": "a", "value": "1234"}]}"#,
        "invalid community format",
        "must be a community",
    ),
    (
        r#"{"communities": [{"name": "a", "value": "1:2:3"}]}"#,
        "invalid community format",
        "must be a community",
    ),
    (
        r#"{"communities": [{"name": "a", "value": "1:65536"}]}"#,
        "invalid community value",
        "must be a community",
    ),
    (
        r#"{"communities": [{"name": "a", "value": "large:1:2:4294967296"}]}"#,
        "invalid community value",
        "must be a community",
    ),
    (
        r#"{"communities": [{"name": "a", "value": "1:1"}, {"name": "a", "value": "1:1"}]}"#,
        "duplicate definition",
        "",
    ),
];

const PROFILES: &[Row] = &[
    ("{}", "", ""),
    (
        r#"{"receiveInterval": 50, "transmitInterval": 51, "detectMultiplier": 52, "echoInterval": 54, "echoMode": true,
            "passiveMode": true, "minimumTtl": 55}"#,
        "",
        "",
    ),
    (
        r#"{"receiveInterval": 2}"#,
        "must be in 10-60000 range",
        "greater than or equal to",
    ),
    (
        r#"{"receiveInterval": 90000}"#,
        "must be in 10-60000 range",
        "less than or equal to",
    ),
    (
        r#"{"detectMultiplier": 256}"#,
        "must be in 2-255 range",
        "less than or equal to",
    ),
    (
        r#"{"minimumTtl": 255}"#,
        "must be in 1-254 range",
        "less than or equal to",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_definitions_of_bgp_refuse_what_the_parser_refuses_and_accept_what_it_accepts() {
    let cluster = Cluster::start().await;
    for (spec, parser, definition) in PEERS {
        let mut whole = json!({"myASN": 42, "peerASN": 42, "peerAddress": "1.2.3.4"});
        let changes: Value = serde_json::from_str(spec).expect(spec);
        for (field, value) in changes.as_object().expect("fields") {
            whole[field] = value.clone();
        }
        whole
            .as_object_mut()
            .expect("fields")
            .retain(|_, value| !value.is_null());
        let peer = object("v1beta2", "BGPPeer", whole);
        let parsed = serde_json::from_value(peer.clone()).expect(spec);
        check(BgpChange::ApplyPeer(convert::bgp_peer(&parsed)), spec, parser);
        post(&cluster, "v1beta2", "bgppeers", peer, spec, definition).await;
    }
    for (spec, parser, definition) in ADVERTISEMENTS {
        let advertisement = object(
            "v1beta1",
            "BGPAdvertisement",
            serde_json::from_str(spec).expect(spec),
        );
        let parsed = serde_json::from_value(advertisement.clone()).expect(spec);
        let change = BgpChange::ApplyAdvertisement(convert::bgp_advertisement(&parsed));
        check(change, spec, parser);
        post(
            &cluster,
            "v1beta1",
            "bgpadvertisements",
            advertisement,
            spec,
            definition,
        )
        .await;
    }
    for (spec, parser, definition) in COMMUNITIES {
        let community = object("v1beta1", "Community", serde_json::from_str(spec).expect(spec));
        let parsed = serde_json::from_value(community.clone()).expect(spec);
        check(
            BgpChange::ApplyCommunities(convert::communities(&parsed)),
            spec,
            parser,
        );
        post(&cluster, "v1beta1", "communities", community, spec, definition).await;
    }
    for (spec, parser, definition) in PROFILES {
        let profile = object("v1beta1", "BFDProfile", serde_json::from_str(spec).expect(spec));
        let parsed = serde_json::from_value(profile.clone()).expect(spec);
        check(
            BgpChange::ApplyBfdProfile(convert::bfd_profile(&parsed)),
            spec,
            parser,
        );
        post(&cluster, "v1beta1", "bfdprofiles", profile, spec, definition).await;
    }
}

fn object(version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("metallb.io/{version}"), "kind": kind, "spec": spec,
        "metadata": {"name": "one", "namespace": NAMESPACE}})
}

/// Checks that the parser names this mistake, and no mistake without a word.
#[track_caller]
fn check(change: BgpChange, spec: &str, word: &str) {
    let mut catalog = BgpCatalog::default();
    catalog.apply([change]);
    let problems: Vec<String> = catalog.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.is_empty(), word.is_empty(), "{spec}: {problems:?}");
    assert!(
        problems.is_empty() || problems[0].contains(word),
        "{spec}: {problems:?}"
    );
}

/// Checks that the definition refuses the object with this word, and accepts it without one.
async fn post(cluster: &Cluster, version: &str, plural: &str, object: Value, spec: &str, word: &str) {
    let path = format!("/apis/metallb.io/{version}/namespaces/{NAMESPACE}/{plural}");
    match cluster
        .send("POST", &format!("{path}?dryRun=All"), "application/json", object)
        .await
    {
        Ok(_) => assert!(word.is_empty(), "{spec} is taken"),
        Err(error) => {
            let error = error.to_string();
            assert!(!word.is_empty() && error.contains(word), "{spec}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_bgp_resources_gets_the_defaults_of_metallb() {
    let cluster = Cluster::start().await;
    let path =
        |version: &str, plural: &str| format!("/apis/metallb.io/{version}/namespaces/{NAMESPACE}/{plural}");
    let peer = object(
        "v1beta2",
        "BGPPeer",
        json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1"}),
    );
    let written = cluster
        .send("POST", &path("v1beta2", "bgppeers"), "application/json", peer)
        .await
        .expect("a peer");
    let expected = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "peerPort": 179,
        "disableMP": false, "dualStackAddressFamily": false});
    assert_eq!(written["spec"], expected);
    let advertisement = object("v1beta1", "BGPAdvertisement", json!({}));
    let written = cluster
        .send(
            "POST",
            &path("v1beta1", "bgpadvertisements"),
            "application/json",
            advertisement,
        )
        .await
        .expect("an advertisement");
    assert_eq!(
        written["spec"],
        json!({"aggregationLength": 32, "aggregationLengthV6": 128})
    );
    let mut bare = object("v1beta1", "BGPAdvertisement", json!({}));
    bare["metadata"]["name"] = json!("bare");
    bare.as_object_mut().expect("fields").remove("spec");
    let path = path("v1beta1", "bgpadvertisements");
    let sent = cluster.send("POST", &path, "application/json", bare).await;
    sent.expect("an advertisement without a spec");
}
