//! Changing, waiting for and deleting objects.

use libtest_mimic::Failed;

use crate::{Case, Kubectl, contains, equal};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "labels_and_annotations_come_and_go",
        labels_and_annotations_come_and_go,
    ),
    ("patches_of_every_type_work", patches_of_every_type_work),
    (
        "edit_stores_what_the_editor_wrote",
        edit_stores_what_the_editor_wrote,
    ),
    ("wait_sees_conditions_and_values", wait_sees_conditions_and_values),
    (
        "delete_waits_until_the_object_is_gone",
        delete_waits_until_the_object_is_gone,
    ),
    (
        "a_namespace_goes_with_its_content",
        a_namespace_goes_with_its_content,
    ),
    (
        "what_kubectl_sends_as_protobuf_is_read",
        what_kubectl_sends_as_protobuf_is_read,
    ),
    (
        "replace_and_create_work_from_files",
        replace_and_create_work_from_files,
    ),
];

fn labels_and_annotations_come_and_go(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    kubectl.run(&["label", "svc", "myapp", "tier=front"])?;
    kubectl.run(&["annotate", "svc", "myapp", "example.org/a=b"])?;
    equal(
        &kubectl.run(&["get", "svc", "-l", "tier in (front)", "-o", "name"])?,
        "service/myapp",
    )?;
    kubectl.run(&["label", "svc", "myapp", "tier-"])?;
    equal(&kubectl.run(&["get", "svc", "-l", "tier", "-o", "name"])?, "")?;
    equal(
        &kubectl.run(&["get", "svc", "--field-selector=spec.type=NodePort", "-o", "name"])?,
        "service/nodeport",
    )
}

fn patches_of_every_type_work(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    let patch = |kind: &str, patch: &str| kubectl.run(&["patch", "svc", "myapp", kind, "-p", patch]);
    patch(
        "--type=strategic",
        r#"{"spec":{"ports":[{"port":80,"$patch":"delete"},{"port":8080}]}}"#,
    )?;
    patch("--type=merge", r#"{"spec":{"externalTrafficPolicy":"Local"}}"#)?;
    patch(
        "--type=json",
        r#"[{"op":"replace","path":"/spec/sessionAffinity","value":"ClientIP"}]"#,
    )?;
    let path = "jsonpath={.spec.ports[*].port} {.spec.externalTrafficPolicy} {.spec.sessionAffinity}";
    equal(
        &kubectl.run(&["get", "svc", "myapp", "-o", path])?,
        "8080 Local ClientIP",
    )?;
    let status = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.168.67.120"}]}}}"#;
    kubectl.run(&[
        "patch",
        "svc",
        "myapp",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ])?;
    contains(&kubectl.run(&["get", "svc", "myapp"])?, "192.168.67.120")
}

fn edit_stores_what_the_editor_wrote(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    let editor = ("KUBE_EDITOR", "sed -i s/nodePort:.32333/nodePort:\\ 32444/");
    contains(
        &kubectl.run_with(editor, &["edit", "svc", "nodeport"])?,
        "service/nodeport edited",
    )?;
    equal(
        &kubectl.run(&[
            "get",
            "svc",
            "nodeport",
            "-o",
            "jsonpath={.spec.ports[0].nodePort}",
        ])?,
        "32444",
    )
}

fn wait_sees_conditions_and_values(kubectl: &Kubectl) -> Result<(), Failed> {
    let pod =
        "---\n{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}";
    kubectl.pipe(pod, &["apply", "-f", "-"])?;
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    kubectl.run(&[
        "patch",
        "pod",
        "p",
        "--subresource=status",
        "--type=merge",
        "-p",
        ready,
    ])?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/p", "--timeout=10s"])?;
    kubectl.run(&[
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        "pod/p",
        "--timeout=10s",
    ])?;
    let refused = kubectl.refused("", &["wait", "--for=condition=Gone", "pod/p", "--timeout=1s"])?;
    contains(&refused, "timed out waiting for the condition")
}

fn delete_waits_until_the_object_is_gone(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    contains(
        &kubectl.run(&["delete", "svc", "myapp", "headless"])?,
        "\"myapp\" deleted",
    )?;
    contains(
        &kubectl.refused("", &["get", "svc", "myapp"])?,
        "services \"myapp\" not found",
    )?;
    kubectl.run(&["delete", "svc", "--all"])?;
    equal(&kubectl.run(&["get", "svc", "-o", "name"])?, "")
}

fn a_namespace_goes_with_its_content(kubectl: &Kubectl) -> Result<(), Failed> {
    let content = "
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: shop}, data: {a: b}}
";
    kubectl.pipe(content, &["apply", "-f", "-"])?;
    kubectl.run(&["delete", "ns", "shop"])?;
    equal(&kubectl.run(&["get", "cm", "-n", "shop", "-o", "name"])?, "")?;
    contains(&kubectl.refused("", &["get", "ns", "shop"])?, "not found")
}

fn replace_and_create_work_from_files(kubectl: &Kubectl) -> Result<(), Failed> {
    let secret = "---\n{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {key: plain}}";
    kubectl.pipe(secret, &["create", "-f", "-"])?;
    equal(
        &kubectl.run(&["get", "secret", "s", "-o", "jsonpath={.data.key} {.type}"])?,
        "cGxhaW4= Opaque",
    )?;
    contains(&kubectl.refused(secret, &["create", "-f", "-"])?, "AlreadyExists")?;
    kubectl.pipe(&secret.replace("plain", "other"), &["replace", "-f", "-"])?;
    equal(
        &kubectl.run(&["get", "secret", "s", "-o", "jsonpath={.data.key}"])?,
        "b3RoZXI=",
    )
}

fn what_kubectl_sends_as_protobuf_is_read(kubectl: &Kubectl) -> Result<(), Failed> {
    contains(
        &kubectl.run(&["create", "namespace", "shop"])?,
        "namespace/shop created",
    )?;
    let secret = [
        "create",
        "secret",
        "generic",
        "s",
        "-n",
        "shop",
        "--from-literal=key=plain",
    ];
    contains(&kubectl.run(&secret)?, "secret/s created")?;
    equal(
        &kubectl.run(&["get", "secret", "s", "-n", "shop", "-o", "jsonpath={.data.key}"])?,
        "cGxhaW4=",
    )?;
    kubectl.run(&["create", "configmap", "m", "--from-literal=a=b"])?;
    equal(
        &kubectl.run(&["get", "cm", "m", "-o", "jsonpath={.data.a}"])?,
        "b",
    )
}
