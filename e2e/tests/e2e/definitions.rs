//! How the API server applies the definitions: refusals, defaults, pruning.

use anyhow::ensure;
use herald_e2e::kubectl::Kubectl;
use libtest_mimic::Trial;
use serde_json::json;

use crate::place::Place;

/// Specs that the schema refuses, and what the refusal has to name.
const REFUSED: [(&str, &str, &str); 14] = [
    (
        "IPAddressPool",
        "{addresses: [192.168.67.210]}",
        "spec.addresses[0]",
    ),
    (
        "IPAddressPool",
        "{addresses: [192.168.67.300/24]}",
        "spec.addresses[0]",
    ),
    ("IPAddressPool", "{addresses: [one-two]}", "spec.addresses[0]"),
    (
        "IPAddressPool",
        "{addresses: [192.168.67.9-fd00::1]}",
        "spec.addresses[0]",
    ),
    ("IPAddressPool", "{}", "spec.addresses"),
    (
        "IPAddressPool",
        "{addresses: [10.0.0.0/24], serviceAllocation: {priority: high}}",
        "spec.serviceAllocation.priority",
    ),
    (
        "IPAddressPool",
        "{addresses: [10.0.0.0/24], reservations: [{address: nowhere, namespace: a, service: b}]}",
        "spec.reservations[0].address",
    ),
    ("L2Advertisement", "{interfaces: eth0}", "spec.interfaces"),
    (
        "BGPPeer",
        "{myASN: 0, peerASN: 1, peerAddress: 192.0.2.1}",
        "missing local ASN",
    ),
    (
        "BGPPeer",
        "{myASN: 1, peerASN: 1, peerAddress: 192.0.2.300}",
        "spec.peerAddress",
    ),
    (
        "BGPPeer",
        "{myASN: 1, peerASN: 1, peerAddress: 192.0.2.1, holdTime: 2s}",
        "must be 0 or >=3s",
    ),
    (
        "BGPAdvertisement",
        "{communities: [\"1:65536\"]}",
        "spec.communities[0]",
    ),
    (
        "Community",
        "{communities: [{name: a, value: \"1:2:3\"}]}",
        "spec.communities[0].value",
    ),
    ("BFDProfile", "{receiveInterval: 2}", "spec.receiveInterval"),
];

pub(crate) fn trials(place: &Place) -> Vec<Trial> {
    vec![
        place.trial("the_server_refuses_what_a_schema_can_see", refused),
        place.trial("the_server_fills_in_defaults_and_prunes_what_is_unknown", pruned),
    ]
}

fn manifest(kind: &str, spec: &str) -> String {
    let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
    format!(
        "{{apiVersion: metallb.io/{version}, kind: {kind}, metadata: {{name: herald-e2e, namespace: metallb-system, labels: {{herald.io/e2e: ours}}}}, spec: {spec}}}"
    )
}

async fn refused(kubectl: &Kubectl) -> anyhow::Result<()> {
    for (kind, spec, named) in REFUSED {
        let refusal = kubectl.refused(&manifest(kind, spec)).await?;
        ensure!(refusal.contains(named), "{spec}: {named} is not named: {refusal}");
    }
    // A field that is misspelt is refused by kubectl's strict validation.
    let refusal = kubectl
        .refused(&manifest(
            "IPAddressPool",
            "{addresses: [10.0.0.0/24], autoasign: false}",
        ))
        .await?;
    ensure!(refusal.contains("autoasign"), "{refusal}");
    Ok(())
}

async fn pruned(kubectl: &Kubectl) -> anyhow::Result<()> {
    // No Service is in that namespace, so none gets an address of this pool.
    kubectl
        .apply_unchecked(&manifest(
            "IPAddressPool",
            "{addresses: [198.51.100.0/24], autoasign: false, serviceAllocation: {namespaces: [herald-e2e-nobody]}}",
        ))
        .await?;
    let pool = kubectl
        .get(&["ipaddresspool", "herald-e2e", "-n", "metallb-system"])
        .await?;
    let expected = json!({
        "addresses": ["198.51.100.0/24"],
        "autoAssign": true,
        "avoidBuggyIPs": false,
        "serviceAllocation": {"namespaces": ["herald-e2e-nobody"]},
    });
    ensure!(pool["spec"] == expected, "{}", pool["spec"]);
    let columns = kubectl
        .run(["get", "ipaddresspool", "-n", "metallb-system"])
        .await?;
    for column in ["AUTO ASSIGN", "AVOID BUGGY IPS", "ADDRESSES"] {
        ensure!(columns.contains(column), "{columns}");
    }
    let explained = kubectl
        .run(["explain", "ipaddresspool.spec.reservations"])
        .await?;
    ensure!(explained.contains("address"), "{explained}");
    Ok(())
}
