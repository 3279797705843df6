//! `heraldctl convert`: the configuration of MetalLB before version 0.13 as resources.

use herald_ctl::{ManifestFile, converted, validate};

const OLD: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  namespace: lb
  name: config
data:
  config: |
    peers:
    - my-asn: 64512
      peer-asn: 64513
      peer-address: 192.0.2.1
      bfd-profile: Fast_Profile
      peer-autodiscovery: {from-labels: []}
      node-selectors:
      - match-labels: {rack: a}
        match-expressions: [{key: zone, operator: In, values: [z]}]
    - {my-asn: 64512, peer-asn: 64514, peer-address: 192.0.2.2, hold-time: 120s, ebgp-multihop: true}
    bgp-communities: {no-export: \"65535:65281\", b: \"1:2\"}
    bfd-profiles:
    - {name: Fast_Profile, receive-interval: 100, passive-mode: true}
    address-pools:
    - name: First_Pool
      protocol: layer2
      addresses: [198.51.100.0/25]
      auto-assign: false
    - name: second
      protocol: bgp
      avoid-buggy-ips: true
      addresses: [198.51.100.128/25]
      bgp-advertisements:
      - {aggregation-length: 32, localpref: 100, communities: [no-export]}
      - {aggregation-length: 25, localpref: 0}
    - {name: third, protocol: bgp, addresses: [203.0.113.0/24]}
    - {name: fourth, protocol: rip, addresses: [192.0.2.128/25]}
";

fn file(text: &str) -> ManifestFile {
    ManifestFile {
        name: "config.yaml".to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn a_config_map_becomes_the_resources_of_metallbs_converter() {
    let text = converted(&file(OLD)).expect("resources");
    assert_eq!(text, include_str!("convert/expected.yaml"));
}

#[test]
fn the_resources_have_no_mistake() {
    let text = converted(&file(OLD)).expect("resources");
    let validation = validate(&[file(&text)], None);
    assert_eq!(
        (validation.mistakes, validation.objects),
        (0, 12),
        "{}",
        validation.plain_text()
    );
}

#[test]
fn the_configuration_may_be_without_its_config_map() {
    let text = "address-pools: [{name: only, protocol: layer2, addresses: [192.0.2.0/24]}]\n";
    let text = converted(&file(text)).expect("resources");
    assert!(
        text.starts_with("---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool"),
        "{text}"
    );
    assert!(text.contains("namespace: metallb-system"), "{text}");
}

#[test]
fn a_file_without_a_configuration_is_an_error() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {config: \"a: b\"}\n";
    let error = converted(&file(other))
        .expect_err("nothing to convert")
        .to_string();
    assert!(
        error.contains("config.yaml has no ConfigMap with the configuration of MetalLB"),
        "{error}"
    );
    let error = converted(&file("a: [")).expect_err("no YAML").to_string();
    assert!(error.contains("config.yaml: this is no YAML"), "{error}");
}

#[test]
fn names_that_no_resource_can_have_or_two_would_have_are_an_error() {
    let error = |names: &[&str]| {
        let pools: Vec<String> = names
            .iter()
            .map(|name| format!("{{name: \"{name}\", protocol: layer2, addresses: [192.0.2.0/24]}}"))
            .collect();
        let text = format!("address-pools: [{}]\n", pools.join(", "));
        converted(&file(&text)).err().map(|error| error.to_string())
    };
    for (old, new) in [
        ("my pool", "my pool"),
        ("a/b", "a/b"),
        ("pool-", "pool-"),
        ("123", ""),
        ("", ""),
    ] {
        let error = error(&[old, "other"]).expect("an error");
        let expected = format!(
            "config.yaml: rename in this file: {new:?} cannot be the name of the IPAddressPool: it has lower-case letters"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    for names in [["Pool_A", "pool-a"], ["pool-a", "pool-a"]] {
        let error = error(&names).expect("an error");
        let expected =
            "config.yaml: rename in this file: 2 of kind IPAddressPool would have the name \"pool-a\"";
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(error(&["a.b", "Pool_A", "b"]), None);
}
