//! Converts the resources of BGP.

use herald_core::config::bgp::{
    Password, RawBfdProfile, RawBgpAdvertisement, RawBgpPeer, RawCommunities, RawSecret,
};
use k8s_openapi::api::core::v1::Secret;

use super::config::{created, name, selectors};
use crate::crd::{BFDProfile, BGPAdvertisement, BGPPeer, Community};

/// The type of a Secret that a peer can refer to.
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
/// The key of the password in a Secret.
const PASSWORD: &str = "password";
/// The most bytes of a password that are kept: more than a connection can have, so that the problem is still named.
const LONGEST_PASSWORD: usize = 1024;

/// Converts a peer.
pub fn bgp_peer(peer: &BGPPeer) -> RawBgpPeer {
    let spec = &peer.spec.spec;
    let password = spec.password.as_ref();
    let secret = spec.password_secret.as_ref();
    RawBgpPeer {
        name: name(&peer.metadata),
        created: created(&peer.metadata),
        my_asn: spec.my_asn,
        peer_asn: spec.peer_asn,
        dynamic_asn: spec.dynamic_asn.clone(),
        local_asn: spec.local_asn,
        address: spec.peer_address.clone(),
        interface: spec.interface.clone(),
        source_address: spec.source_address.clone(),
        port: spec.peer_port.map(i64::from),
        vrf: spec.vrf.clone(),
        hold_time: spec.hold_time.clone(),
        keepalive_time: spec.keepalive_time.clone(),
        connect_time: spec.connect_time.clone(),
        router_id: spec.router_id.clone(),
        node_selectors: selectors(&spec.node_selectors),
        password: password.map(|password| kept(password.0.as_bytes())),
        password_secret: secret.and_then(|secret| secret.name.clone()),
        bfd_profile: spec.bfd_profile.clone(),
        graceful_restart: spec.enable_graceful_restart,
        multi_hop: spec.ebgp_multi_hop,
        dual_stack: spec.dual_stack_address_family,
    }
}

/// Converts an advertisement.
pub fn bgp_advertisement(advertisement: &BGPAdvertisement) -> RawBgpAdvertisement {
    let spec = &advertisement.spec.spec;
    RawBgpAdvertisement {
        name: name(&advertisement.metadata),
        created: created(&advertisement.metadata),
        aggregation_length: spec.aggregation_length.map(i64::from),
        aggregation_length_v6: spec.aggregation_length_v6.map(i64::from),
        local_pref: spec.local_pref,
        med: spec.med,
        communities: spec.communities.clone(),
        peers: spec.peers.clone(),
        pools: spec.ip_address_pools.clone(),
        pool_selectors: selectors(&spec.ip_address_pool_selectors),
        node_selectors: selectors(&spec.node_selectors),
        service_selectors: selectors(&spec.service_selectors),
    }
}

/// Converts names of communities.
pub fn communities(community: &Community) -> RawCommunities {
    let named = community.spec.spec.communities.iter();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    RawCommunities {
        name: name(&community.metadata),
        created: created(&community.metadata),
        communities: named
            .map(|named| (text(&named.name), text(&named.value)))
            .collect(),
    }
}

/// Converts a profile.
pub fn bfd_profile(profile: &BFDProfile) -> RawBfdProfile {
    let spec = &profile.spec.spec;
    RawBfdProfile {
        name: name(&profile.metadata),
        receive_interval: spec.receive_interval.map(i64::from),
        transmit_interval: spec.transmit_interval.map(i64::from),
        detect_multiplier: spec.detect_multiplier.map(i64::from),
        echo_interval: spec.echo_interval.map(i64::from),
        echo_mode: spec.echo_mode,
        passive_mode: spec.passive_mode,
        minimum_ttl: spec.minimum_ttl.map(i64::from),
    }
}

/// Converts a Secret, of which only the password is kept; `None` for Secrets of another type than `kubernetes.io/basic-auth`.
pub fn secret(secret: &Secret) -> Option<RawSecret> {
    let kind = secret.type_.as_deref().filter(|kind| *kind == BASIC_AUTH)?;
    let password = secret.data.as_ref().and_then(|data| data.get(PASSWORD));
    Some(RawSecret {
        name: name(&secret.metadata),
        kind: kind.to_owned(),
        password: password.map(|bytes| kept(&bytes.0)),
    })
}

fn kept(bytes: &[u8]) -> Password {
    Password(bytes[..bytes.len().min(LONGEST_PASSWORD)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::config::bgp::{BgpCatalog, BgpChange};
    use herald_core::{RawRequirement, RawSelector};
    use serde_json::{Value, json};

    fn object<T: serde::de::DeserializeOwned>(version: &str, kind: &str, spec: &Value) -> T {
        let metadata = json!({"name": "first", "creationTimestamp": "1970-01-01T00:01:00Z"});
        let version = format!("metallb.io/{version}");
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        serde_json::from_value(object).expect(kind)
    }

    #[expect(clippy::unnecessary_wraps, reason = "fields are optional")]
    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_peer_is_converted_field_by_field() {
        let peer: BGPPeer = object(
            "v1beta2",
            "BGPPeer",
            &json!({
                "myASN": 1, "peerASN": 4_294_967_295_i64, "localASN": 3, "dynamicASN": "internal",
                "peerAddress": "192.0.2.1", "interface": "eth0", "sourceAddress": "192.0.2.2", "peerPort": 1179,
                "holdTime": "90s", "keepaliveTime": "30s", "connectTime": "5s", "routerID": "192.0.2.3",
                "nodeSelectors": [{"matchLabels": {"a": "b"}}, {"matchExpressions": [{"key": "k", "operator": "Exists"}]}],
                "password": "one", "passwordSecret": {"name": "two", "namespace": "other"}, "bfdProfile": "fast",
                "enableGracefulRestart": false, "ebgpMultiHop": true, "vrf": "red", "disableMP": true,
                "dualStackAddressFamily": true,
            }),
        );
        let by_label = RawSelector {
            match_labels: [("a".to_owned(), "b".to_owned())].into(),
            ..RawSelector::default()
        };
        let by_expression = RawSelector {
            match_expressions: vec![RawRequirement {
                key: "k".to_owned(),
                operator: "Exists".to_owned(),
                values: Vec::new(),
            }],
            ..RawSelector::default()
        };
        let expected = RawBgpPeer {
            name: "first".to_owned(),
            created: 60,
            my_asn: 1,
            peer_asn: Some(4_294_967_295),
            dynamic_asn: text("internal"),
            local_asn: Some(3),
            address: text("192.0.2.1"),
            interface: text("eth0"),
            source_address: text("192.0.2.2"),
            port: Some(1179),
            vrf: text("red"),
            hold_time: text("90s"),
            keepalive_time: text("30s"),
            connect_time: text("5s"),
            router_id: text("192.0.2.3"),
            node_selectors: vec![by_label, by_expression],
            password: Some(Password(b"one".to_vec())),
            password_secret: text("two"),
            bfd_profile: text("fast"),
            graceful_restart: Some(false),
            multi_hop: Some(true),
            dual_stack: Some(true),
        };
        assert_eq!(bgp_peer(&peer), expected);
    }

    #[test]
    fn what_a_peer_does_not_have_is_absent_and_its_password_is_not_shown() {
        let bare: BGPPeer = object(
            "v1beta2",
            "BGPPeer",
            &json!({"myASN": 1, "password": "not to be shown"}),
        );
        let expected = RawBgpPeer {
            name: "first".to_owned(),
            created: 60,
            my_asn: 1,
            port: Some(179),
            password: Some(Password(b"not to be shown".to_vec())),
            dual_stack: Some(false),
            ..RawBgpPeer::default()
        };
        assert_eq!(bgp_peer(&bare), expected);
        assert!(!format!("{bare:?} {expected:?}").contains("shown"));
    }

    #[test]
    fn an_advertisement_is_converted_field_by_field() {
        let advertisement: BGPAdvertisement = object(
            "v1beta1",
            "BGPAdvertisement",
            &json!({
                "aggregationLength": 24, "aggregationLengthV6": 64, "localPref": 4_294_967_295_i64, "med": 50,
                "communities": ["65000:1", "named"], "ipAddressPools": ["pool"], "peers": ["peer"],
                "ipAddressPoolSelectors": [{"matchLabels": {"p": "1"}}],
                "nodeSelectors": [{"matchLabels": {"n": "1"}}], "serviceSelectors": [{"matchLabels": {"s": "1"}}],
            }),
        );
        let selector = |key: &str| {
            vec![RawSelector {
                match_labels: [(key.to_owned(), "1".to_owned())].into(),
                ..RawSelector::default()
            }]
        };
        let expected = RawBgpAdvertisement {
            name: "first".to_owned(),
            created: 60,
            aggregation_length: Some(24),
            aggregation_length_v6: Some(64),
            local_pref: Some(4_294_967_295),
            med: Some(50),
            communities: vec!["65000:1".to_owned(), "named".to_owned()],
            peers: vec!["peer".to_owned()],
            pools: vec!["pool".to_owned()],
            pool_selectors: selector("p"),
            node_selectors: selector("n"),
            service_selectors: selector("s"),
        };
        assert_eq!(bgp_advertisement(&advertisement), expected);
        let bare: BGPAdvertisement = object("v1beta1", "BGPAdvertisement", &json!({}));
        let raw = bgp_advertisement(&bare);
        let lengths = (raw.aggregation_length, raw.aggregation_length_v6);
        assert_eq!(
            (lengths, raw.local_pref, raw.med),
            ((Some(32), Some(128)), None, None)
        );
    }

    #[test]
    fn names_of_communities_are_converted_also_if_a_part_is_missing() {
        let community: Community = object(
            "v1beta1",
            "Community",
            &json!({"communities": [{"name": "one", "value": "1:2"}, {"name": "two"}, {"value": "3:4"}]}),
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = RawCommunities {
            name: "first".to_owned(),
            created: 60,
            communities: vec![pair("one", "1:2"), pair("two", ""), pair("", "3:4")],
        };
        assert_eq!(communities(&community), expected);
    }

    #[test]
    fn a_profile_is_converted_field_by_field() {
        let profile: BFDProfile = object(
            "v1beta1",
            "BFDProfile",
            &json!({
                "receiveInterval": 50, "transmitInterval": 51, "detectMultiplier": 52, "echoInterval": 54,
                "echoMode": true, "passiveMode": false, "minimumTtl": 55,
            }),
        );
        let expected = RawBfdProfile {
            name: "first".to_owned(),
            receive_interval: Some(50),
            transmit_interval: Some(51),
            detect_multiplier: Some(52),
            echo_interval: Some(54),
            echo_mode: Some(true),
            passive_mode: Some(false),
            minimum_ttl: Some(55),
        };
        assert_eq!(bfd_profile(&profile), expected);
    }

    #[test]
    fn only_the_password_of_a_secret_for_authentication_is_kept_and_not_more_than_a_kilobyte() {
        let of = |kind: &str, data: Value| {
            let object = json!({"metadata": {"name": "first"}, "type": kind, "data": data});
            secret(&serde_json::from_value(object).expect("a Secret"))
        };
        // base64 of "nopass"
        let data = json!({"username": "bWU=", "password": "bm9wYXNz"});
        let expected = |password: Option<&[u8]>| RawSecret {
            name: "first".to_owned(),
            kind: "kubernetes.io/basic-auth".to_owned(),
            password: password.map(|bytes| Password(bytes.to_vec())),
        };
        let basic = "kubernetes.io/basic-auth";
        assert_eq!(of(basic, data.clone()), Some(expected(Some(b"nopass"))));
        assert_eq!(of("Opaque", data), None);
        assert_eq!(of(basic, json!({"username": "bWU="})), Some(expected(None)));
        assert_eq!(of(basic, Value::Null), Some(expected(None)));
        let long = json!({"password": "AAAA".repeat(1000)});
        let kept = of(basic, long).and_then(|secret| secret.password);
        assert_eq!(kept.map(|password| password.0.len()), Some(1024));
    }

    /// The documents of a manifest, or of the blocks of YAML on a page.
    fn documents(text: &str) -> Vec<Value> {
        let documents = text
            .split("---\n")
            .map(|text| serde_saphyr::from_str(text).expect(text));
        documents.collect()
    }

    /// Returns the change that a document makes, if it is of BGP. The definition has to know its fields.
    fn changes(document: &Value) -> Vec<BgpChange> {
        let kind = document["kind"].as_str().expect("a kind");
        if kind == "Secret" {
            let raw = RawSecret {
                name: document["metadata"]["name"].as_str().expect("a name").to_owned(),
                kind: document["type"].as_str().expect("a type").to_owned(),
                password: document["stringData"]["password"]
                    .as_str()
                    .map(|text| kept(text.as_bytes())),
            };
            return vec![BgpChange::ApplySecret(raw)];
        }
        let crds = crate::crds();
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).expect(kind);
        let version = serde_json::to_value(&crd.spec.versions[0]).expect("JSON");
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for field in document["spec"]
            .as_object()
            .into_iter()
            .flat_map(|spec| spec.keys())
        {
            assert!(spec["properties"].get(field).is_some(), "{kind} has no {field}");
        }
        let object = document.clone();
        let parsed = "a resource";
        match kind {
            "BGPPeer" => vec![BgpChange::ApplyPeer(bgp_peer(
                &serde_json::from_value(object).expect(parsed),
            ))],
            "BGPAdvertisement" => vec![BgpChange::ApplyAdvertisement(bgp_advertisement(
                &serde_json::from_value(object).expect(parsed),
            ))],
            "Community" => vec![BgpChange::ApplyCommunities(communities(
                &serde_json::from_value(object).expect(parsed),
            ))],
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_example_and_the_resources_on_the_page_about_bgp_have_no_problem() {
        let example = documents(include_str!("../../../../examples/bgp.yaml"));
        let page = include_str!("../../../../docs/tasks/bgp.md").split("```");
        let page = page.filter_map(|block| block.strip_prefix("yaml\n"));
        let page: Vec<Value> = page.flat_map(documents).collect();
        assert_eq!((example.len(), page.len()), (5, 3));
        let mut catalog = BgpCatalog::default();
        // The page has the command that makes the Secret.
        let secret = example.iter().filter(|document| document["kind"] == "Secret");
        catalog.apply(secret.chain(&page).flat_map(changes));
        assert_eq!(catalog.problems(), []);
        assert_eq!(
            (catalog.peers().count(), catalog.advertisements().count()),
            (1, 1)
        );
        let mut catalog = BgpCatalog::default();
        catalog.apply(example.iter().flat_map(changes));
        assert_eq!(catalog.problems(), []);
        assert_eq!(
            (catalog.peers().count(), catalog.advertisements().count()),
            (1, 1)
        );
    }
}
