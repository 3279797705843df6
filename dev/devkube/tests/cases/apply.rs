//! `kubectl apply` in its variants, and what it refuses.

use libtest_mimic::Failed;

use crate::{Case, Kubectl, contains, data, equal};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "apply_creates_then_leaves_unchanged",
        apply_creates_then_leaves_unchanged,
    ),
    (
        "apply_replaces_a_port_without_leaving_directives",
        apply_replaces_a_port_without_leaving_directives,
    ),
    (
        "a_crd_can_be_used_right_after_it_was_applied",
        a_crd_can_be_used_right_after_it_was_applied,
    ),
    (
        "the_projects_own_crds_and_examples_are_accepted",
        the_projects_own_crds_and_examples_are_accepted,
    ),
    (
        "server_side_apply_conflicts_are_shown_and_can_be_forced",
        server_side_conflicts_are_shown,
    ),
    (
        "client_side_apply_can_move_to_server_side",
        client_side_apply_can_move_to_server_side,
    ),
    ("unknown_fields_are_refused", unknown_fields_are_refused),
    (
        "broken_manifests_are_refused_and_disturb_nothing",
        broken_manifests_are_refused,
    ),
    ("a_server_dry_run_stores_nothing", a_server_dry_run_stores_nothing),
    (
        "diff_shows_a_change_and_nothing_when_there_is_none",
        diff_shows_a_change,
    ),
];

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

fn apply_creates_then_leaves_unchanged(kubectl: &Kubectl) -> Result<(), Failed> {
    contains(
        &kubectl.apply("seed-services.yaml")?,
        "service/myapp-dual created",
    )?;
    let again = kubectl.apply("seed-services.yaml")?;
    let changed = again.lines().any(|line| !line.ends_with(" unchanged"));
    if changed { Err(again.into()) } else { Ok(()) }
}

fn apply_replaces_a_port_without_leaving_directives(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.pipe(WEB, &["apply", "-f", "-"])?;
    kubectl.pipe(&WEB.replace("port: 80,", "port: 81,"), &["apply", "-f", "-"])?;
    let ports = kubectl.run(&[
        "get",
        "svc",
        "web",
        "-o",
        "jsonpath={.spec.ports[*]['port', 'targetPort']}",
    ])?;
    equal(&ports, "81 8080")
}

fn a_crd_can_be_used_right_after_it_was_applied(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("pool-crd.yaml")?;
    kubectl.run(&[
        "wait",
        "--for=condition=Established",
        "crd/pools.example.org",
        "--timeout=10s",
    ])?;
    let pool = "---\n{apiVersion: example.org/v1, kind: Pool, metadata: {name: p}, spec: {addresses: [10.0.0.0/24]}}";
    contains(&kubectl.pipe(pool, &["apply", "-f", "-"])?, "created")?;
    contains(&kubectl.pipe(pool, &["apply", "-f", "-"])?, "unchanged")?;
    let changed = pool.replace("[10.0.0.0/24]", "[10.0.0.0/24, 10.1.0.1], mode: bgp");
    contains(&kubectl.pipe(&changed, &["apply", "-f", "-"])?, "configured")?;
    let listed = kubectl.run(&["get", "pl"])?;
    contains(&listed, "MODE")?;
    contains(&listed, "10.0.0.0/24,10.1.0.1")?;
    contains(&kubectl.run(&["explain", "pool.spec.addresses"])?, "[]string")?;
    kubectl.run(&["delete", "pool", "p"])?;
    equal(&kubectl.run(&["get", "pools", "-o", "name"])?, "")
}

fn the_projects_own_crds_and_examples_are_accepted(kubectl: &Kubectl) -> Result<(), Failed> {
    let crds = data("../../../../crds")
        .into_string()
        .map_err(|_| "an odd path")?;
    kubectl.run(&["apply", "-f", &crds])?;
    let namespace = "---\n{apiVersion: v1, kind: Namespace, metadata: {name: metallb-system}}";
    kubectl.pipe(namespace, &["apply", "-f", "-"])?;
    contains(
        &kubectl.apply("seed-first-pool.yaml")?,
        "ipaddresspool.metallb.io/first-pool created",
    )?;
    contains(
        &kubectl.apply("seed-first-pool.yaml")?,
        "ipaddresspool.metallb.io/first-pool unchanged",
    )?;
    contains(
        &kubectl.run(&["get", "ipaddresspools", "-A"])?,
        "192.168.67.120-192.168.67.200",
    )
}

fn server_side_conflicts_are_shown(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.pipe(
        WEB,
        &["apply", "--server-side", "--field-manager=first", "-f", "-"],
    )?;
    let other = WEB.replace("targetPort: 8080", "targetPort: 9090");
    let second = ["apply", "--server-side", "--field-manager=second", "-f", "-"];
    let refused = kubectl.refused(&other, &second)?;
    contains(
        &refused,
        "conflict with \"first\": .spec.ports[port=80,protocol=\"TCP\"].targetPort",
    )?;
    kubectl.pipe(&other, &[&second[..], &["--force-conflicts"]].concat())?;
    equal(
        &kubectl.run(&["get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}"])?,
        "9090",
    )
}

fn client_side_apply_can_move_to_server_side(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.pipe(WEB, &["apply", "-f", "-"])?;
    kubectl.pipe(WEB, &["apply", "--server-side", "-f", "-"])?;
    kubectl.pipe(
        &WEB.replace("{app: web}}\nspec", "{tier: web}}\nspec"),
        &["apply", "--server-side", "-f", "-"],
    )?;
    equal(
        &kubectl.run(&["get", "svc", "web", "-o", "jsonpath={.metadata.labels}"])?,
        r#"{"tier":"web"}"#,
    )
}

fn unknown_fields_are_refused(kubectl: &Kubectl) -> Result<(), Failed> {
    let typo = WEB.replace("selector:", "foo: 1, selector:");
    let refused = kubectl.refused(&typo, &["apply", "-f", "-"])?;
    contains(&refused, "strict decoding error: unknown field \"spec.foo\"")?;
    kubectl.pipe(WEB, &["apply", "-f", "-"])?;
    contains(
        &kubectl.refused(&typo, &["apply", "-f", "-"])?,
        "unknown field \"spec.foo\"",
    )?;
    let refused = kubectl.refused(&typo, &["apply", "--server-side", "-f", "-"])?;
    contains(&refused, ".spec.foo: field not declared in schema")
}

fn broken_manifests_are_refused(kubectl: &Kubectl) -> Result<(), Failed> {
    for file in ["typo-kind.yaml", "typo-list-item.yaml"] {
        let path = data("broken").into_string().map_err(|_| "an odd path")?;
        let refused = kubectl.refused("", &["apply", "-f", &format!("{path}/{file}")])?;
        contains(&refused, file)?;
    }
    equal(&kubectl.run(&["get", "services", "-A", "-o", "name"])?, "")
}

fn a_server_dry_run_stores_nothing(kubectl: &Kubectl) -> Result<(), Failed> {
    contains(
        &kubectl.pipe(WEB, &["apply", "--dry-run=server", "-f", "-"])?,
        "created (server dry run)",
    )?;
    equal(&kubectl.run(&["get", "services", "-o", "name"])?, "")
}

fn diff_shows_a_change(kubectl: &Kubectl) -> Result<(), Failed> {
    let path = data("seed-services.yaml")
        .into_string()
        .map_err(|_| "an odd path")?;
    kubectl.apply("seed-services.yaml")?;
    let (code, shown) = kubectl.status(&["diff", "-f", &path])?;
    equal(&format!("{code:?} {shown}"), "Some(0)")?;
    kubectl.run(&[
        "patch",
        "svc",
        "myapp",
        "-p",
        r#"{"spec":{"ports":[{"port":80,"targetPort":81}]}}"#,
    ])?;
    let (code, shown) = kubectl.status(&["diff", "-f", &path])?;
    equal(&format!("{code:?}"), "Some(1)")?;
    contains(&shown, "+    targetPort: 80")
}
