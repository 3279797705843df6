//! Which authorities the webhook configuration has.

mod rotation;

use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, WebhookClientConfig};

use super::*;

fn certificate(name: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
}

fn certificates(names: &[&str]) -> String {
    names.iter().map(|name| certificate(name)).collect()
}

#[test]
fn a_bundle_has_the_authorities_and_the_others_that_are_kept() {
    let cases = [
        (&["new"][..], Others::Kept, &[][..], &["new"][..]),
        (&["new"], Others::Kept, &["old"], &["new", "old"]),
        (&["new"], Others::Kept, &["old", "new"], &["new", "old"]),
        (&["new"], Others::Kept, &["new"], &["new"]),
        (
            &["new"],
            Others::Kept,
            &["a", "b", "c", "d"],
            &["new", "a", "b", "c"],
        ),
        (&["new"], Others::Dropped, &["old", "new"], &["new"]),
        (
            &["new", "old"],
            Others::Dropped,
            &["failed", "old"],
            &["new", "old"],
        ),
    ];
    for (authorities, others, before, expected) in cases {
        let authorities: Vec<String> = authorities.iter().map(|name| certificate(name)).collect();
        let authorities: Vec<&str> = authorities.iter().map(String::as_str).collect();
        let bundle = bundle(&authorities, others, &certificates(before));
        assert_eq!(bundle, certificates(expected), "{before:?}");
    }
    let bundle = bundle(&[&certificate("new")], Others::Kept, "rubbish");
    assert_eq!(bundle, certificate("new"));
}

#[test]
fn only_webhooks_that_do_not_trust_the_authority_are_changed() {
    let webhook = |name: &str, bundle: Option<String>| ValidatingWebhook {
        name: name.to_owned(),
        client_config: WebhookClientConfig {
            ca_bundle: bundle.map(|bundle| ByteString(bundle.into_bytes())),
            ..WebhookClientConfig::default()
        },
        ..ValidatingWebhook::default()
    };
    let mut configuration = ValidatingWebhookConfiguration {
        webhooks: Some(vec![webhook("a", None), webhook("b", Some(certificate("new")))]),
        ..ValidatingWebhookConfiguration::default()
    };
    configuration.metadata.resource_version = Some("7".to_owned());
    let authority = certificate("new");
    let trusting = |configuration: &_| trust_of_webhooks(configuration, &[&authority], Others::Dropped);
    let patch = trusting(&configuration).expect("a change");
    let bundle = json!(ByteString(authority.clone().into_bytes()));
    assert_eq!(
        patch,
        json!({"metadata": {"resourceVersion": "7"}, "webhooks": [{"name": "a", "clientConfig": {"caBundle": bundle}}]})
    );
    configuration.webhooks = Some(vec![webhook("b", Some(authority.clone()))]);
    assert_eq!(trusting(&configuration), None);
}

#[test]
fn only_a_definition_that_this_webhook_converts_is_changed() {
    let definition = |conversion: Value| -> CustomResourceDefinition {
        let definition = json!({
            "metadata": {"name": CONVERTED, "resourceVersion": "7"},
            "spec": {"group": "metallb.io", "names": {"kind": "BGPPeer", "plural": "bgppeers"}, "scope": "Namespaced",
                "versions": [], "conversion": conversion},
        });
        serde_json::from_value(definition).expect("a definition")
    };
    let by = |service: &str, bundle: Option<&ByteString>| {
        let service = json!({"name": service, "namespace": "metallb-system", "path": "/convert"});
        let config = json!({"service": service, "caBundle": bundle});
        let webhook = json!({"conversionReviewVersions": ["v1"], "clientConfig": config});
        definition(json!({"strategy": "Webhook", "webhook": webhook}))
    };
    let server = "herald-webhook.metallb-system.svc";
    assert!(is_converted_by(&by("herald-webhook", None), server));
    assert!(!is_converted_by(&by("metallb-webhook-service", None), server));
    assert!(!is_converted_by(&definition(json!({"strategy": "None"})), server));
    let authority = certificate("new");
    let bundle = ByteString(authority.clone().into_bytes());
    let trusting = |definition: &_| trust_of_conversion(definition, &[&authority], Others::Dropped);
    assert_eq!(
        trusting(&by("herald-webhook", None)),
        Some(json!({"metadata": {"resourceVersion": "7"},
            "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}}))
    );
    assert_eq!(trusting(&by("herald-webhook", Some(&bundle))), None);
}
