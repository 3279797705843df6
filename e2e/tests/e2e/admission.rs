//! The admission webhook, and the policy that limits what a speaker may write, as kubectl shows them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_e2e::rights::{self, Right};
use herald_lab::Lab;
use herald_lab::node::Node;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::{DEADLINE, QUICKSTART, chart, in_cluster};

/// The name of the webhook's Secret and configuration.
const WEBHOOK: &str = "herald-webhook";
/// The webhooks in the configuration.
const WEBHOOKS: usize = 8;
/// A pool that is wrong by itself, in a way that its definition does not see.
const TWICE: &str = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: twice, namespace: metallb-system}, spec: {addresses: [198.51.100.0/24, 198.51.100.128/25]}}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster("a_mistake_is_refused_in_the_words_of_its_condition", refused),
        in_cluster(
            "without_controllers_pools_and_services_can_be_applied",
            unanswered,
        ),
        in_cluster(
            "a_standby_answers_the_webhook_while_another_controller_is_active",
            standby,
        ),
        in_cluster("kubectl_shows_warnings_of_what_would_have_no_effect", warned),
        in_cluster("chart_and_pools_can_be_applied_in_one_go", one_go),
        in_cluster("a_new_certificate_of_the_webhook_is_served_and_trusted", rotated),
        in_cluster("a_speaker_writes_only_the_objects_of_its_node", own_node),
        in_cluster("a_controller_that_only_reviews_writes_nothing_else", only_webhook),
    ]
}

/// Waits until the API server asks the webhook, and returns what kubectl prints of the refusal.
async fn refusal(kubectl: &Kubectl) -> anyhow::Result<String> {
    wait_for("the webhook refuses", DEADLINE, async || {
        let refusal = kubectl.dry_run_refused(TWICE).await?;
        ensure!(refusal.contains("denied the request"), "{refusal}");
        Ok(Some(refusal))
    })
    .await
}

async fn refused(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    let hello = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let refusal = refusal(kubectl).await?;
    // While no controller runs, nothing is checked.
    lab.kill_controller().await?;
    kubectl.apply(TWICE).await?;
    lab.start_controller().await?;
    let condition = wait_for("the condition says what is wrong", DEADLINE, async || {
        let pool = kubectl.get(&["ipaddresspool", "twice", "-n", NAMESPACE]).await?;
        let condition = &pool["status"]["conditions"][0];
        Ok((condition["status"] == "False").then(|| condition.clone()))
    });
    let condition = condition.await?;
    let message = condition["message"].as_str().context("no message")?;
    ensure!(message.contains("overlaps"), "{condition}");
    ensure!(
        refusal.contains(&format!("denied the request: {message}")),
        "{refusal}{message}"
    );
    // Its metadata can be changed, and it can be deleted.
    let pool = ["ipaddresspool", "twice", "-n", NAMESPACE];
    kubectl.run(["label"].iter().chain(&pool).chain(&["a=b"])).await?;
    kubectl.run(["delete"].iter().chain(&pool)).await?;
    ensure!(
        lab.cluster().addresses("hello").await? == hello,
        "hello lost {hello:?}"
    );
    Ok(())
}

async fn unanswered(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    refusal(kubectl).await?;
    let second = lab.start_another_controller().await?;
    lab.kill_controller().await?;
    second.kill().await?;
    for object in [TWICE.to_owned(), service("later", "nowhere")] {
        // The API server waits 2 s for the webhook.
        wait_for("each request takes less than 3 s", DEADLINE, async || {
            kubectl.apply_within("3s", &object).await.map(Some)
        })
        .await?;
    }
    Ok(())
}

/// The port of the active controller's webhook is closed; its Lease stays with it.
async fn standby(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    refusal(kubectl).await?;
    let standby = lab.start_another_controller().await?;
    let active = lab.switch().netns();
    let close = "table inet webhook { chain in { type filter hook input priority 0; tcp dport 9443 reject with tcp reset; }; }";
    active.nft(&format!("add {close}")).await?;
    refusal(kubectl).await?;
    let lease = ["lease", "herald-controller", "-n", NAMESPACE];
    let holder = kubectl.get(&lease).await?["spec"]["holderIdentity"].take();
    ensure!(holder == "controller", "{holder} is active");
    active.nft("delete table inet webhook").await?;
    standby.kill().await?;
    refusal(kubectl).await?;
    Ok(())
}

/// What a controller that only reviews may write: its Lease and its certificate, and questions who reads its metrics.
const OF_REVIEWS: [&str; 8] = [
    "create leases.coordination.k8s.io",
    "update leases.coordination.k8s.io herald-webhook",
    "create secrets",
    "patch secrets herald-webhook",
    "patch validatingwebhookconfigurations.admissionregistration.k8s.io herald-webhook",
    "patch customresourcedefinitions.apiextensions.k8s.io bgppeers.metallb.io",
    "create tokenreviews.authentication.k8s.io",
    "create subjectaccessreviews.authorization.k8s.io",
];

async fn only_webhook(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    let hello = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    refusal(kubectl).await?;
    lab.kill_controller().await?;
    lab.upgrade_chart(&json!({
        "controller": {"webhookMode": "onlywebhook"},
        "speaker": {"secretName": "herald-memberlist"},
    }))
    .await?;
    // Nothing answers until the controller runs again.
    let spoil = r#"{"data": {"tls.crt": ""}}"#;
    kubectl
        .run(["patch", "secret", WEBHOOK, "-n", NAMESPACE, "-p", spoil])
        .await?;
    let before = chart::record(lab)?.len();
    kubectl.apply(&service("later", "first-pool")).await?;
    kubectl
        .apply(&pool(NAMESPACE, "overlapping", "192.168.67.0/24"))
        .await?;
    lab.start_controller().await?;
    refusal(kubectl).await?;
    let lost = service("lost", "nowhere");
    wait_for("kubectl prints the warning", DEADLINE, async || {
        let printed = kubectl.dry_run_with_warnings(&lost).await?;
        Ok(printed.contains("Warning: unknown pool").then_some(()))
    })
    .await?;
    // What it would write, another controller writes from what this one has read.
    let requests = rights::requests(&chart::record(lab)?[before..])?;
    let own = requests
        .iter()
        .filter(|request| request.right.account == "herald-controller");
    let own = own.map(|request| &request.right);
    let is_write = |right: &&Right| !matches!(right.verb.as_str(), "get" | "list" | "watch");
    let writes: BTreeSet<String> = own.filter(is_write).map(ToString::to_string).collect();
    let is_of_others = |write: &&String| !OF_REVIEWS.iter().any(|allowed| write.contains(allowed));
    let others: Vec<&String> = writes.iter().filter(is_of_others).collect();
    ensure!(others.is_empty(), "written: {others:?}");
    ensure!(
        writes
            .iter()
            .any(|write| write.contains("patch secrets herald-webhook")),
        "{writes:?}"
    );
    // Nor may it.
    let granted = chart::granted(kubectl).await?;
    let granted = granted
        .iter()
        .filter(|right| right.account == "herald-controller");
    let granted: BTreeSet<String> = granted.filter(is_write).map(ToString::to_string).collect();
    let others: Vec<&String> = granted.iter().filter(is_of_others).collect();
    ensure!(others.is_empty(), "granted: {others:?}");
    ensure!(
        lab.cluster().addresses("later").await?.is_empty(),
        "it has an address"
    );
    ensure!(
        lab.cluster().addresses("hello").await? == hello,
        "hello lost {hello:?}"
    );
    // The same is written by a controller that decides.
    lab.kill_controller().await?;
    lab.upgrade_chart(&json!({})).await?;
    lab.start_controller().await?;
    lab.wait_for_addresses("later", 1, DEADLINE).await?;
    Ok(())
}

fn service(name: &str, pool: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{metallb.io/address-pool: {pool}}}}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}"
    )
}

fn pool(namespace: &str, name: &str, addresses: &str) -> String {
    format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{addresses: [{addresses}]}}}}"
    )
}

async fn warned(_lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    refusal(kubectl).await?;
    for (object, expected) in [
        (service("lost", "nowhere"), "Warning: unknown pool \"nowhere\""),
        (service("found", "first-pool"), ""),
        (
            service("old", "first-pool").replace("metallb.io/", "metallb.universe.tf/"),
            "Warning: annotation metallb.universe.tf/address-pool is deprecated; use metallb.io/address-pool",
        ),
        (
            pool(NAMESPACE, "unused", "198.51.100.0/24"),
            "Warning: no advertisement selects the pool, so its addresses are not announced",
        ),
        (
            pool(NAMESPACE, "overlapping", "192.168.67.0/24"),
            "Warning: IPAddressPool \"overlapping\": spec.addresses[0]: CIDR \"192.168.67.0/24\"",
        ),
        (
            pool("default", "misplaced", "203.0.113.0/24"),
            "Warning: the Herald in namespace metallb-system reads only the resources of namespace metallb-system",
        ),
        (
            "{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: typo, namespace: metallb-system}, spec: {ipAddressPools: [first-pol]}}".to_owned(),
            "Warning: spec.ipAddressPools names pools that do not exist: first-pol",
        ),
    ] {
        // A busy controller may answer too late, and the request passes without a warning.
        wait_for("kubectl prints the warning", DEADLINE, async || {
            let printed = kubectl.dry_run_with_warnings(&object).await?;
            ensure!(printed.contains(expected), "{object}: {printed}");
            ensure!(printed.contains("Warning") != expected.is_empty(), "{object}: {printed}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

async fn one_go(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.kill_controller().await?;
    lab.helm(&["uninstall", "herald", "--namespace", NAMESPACE])
        .await?;
    lab.upgrade_chart(&json!({})).await?;
    kubectl.apply(QUICKSTART).await?;
    lab.start_controller().await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    refusal(kubectl).await?;
    Ok(())
}

async fn rotated(_lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    refusal(kubectl).await?;
    let mut before = secret(kubectl).await?;
    let keys: Vec<&String> = before.as_object().context("no data")?.keys().collect();
    ensure!(keys == ["ca.crt", "tls.crt", "tls.key"], "{keys:?}");
    let no_certificate = json!({"data": {"tls.crt": ""}}).to_string();
    let other_key = json!({"data": {"tls.key": &before["tls.key"]}}).to_string();
    let of_secret = ["secret", WEBHOOK, "-n", NAMESPACE];
    let ways: [&[&str]; 3] = [
        &["patch", "-p", &no_certificate],
        &["delete"],
        &["patch", "-p", &other_key],
    ];
    for way in ways {
        kubectl
            .run(way[..1].iter().chain(&of_secret).chain(&way[1..]))
            .await?;
        let after = wait_for("there is another certificate", DEADLINE, async || {
            let after = secret(kubectl).await?;
            Ok((after["ca.crt"] != before["ca.crt"]).then_some(after))
        });
        let after = after.await?;
        let authority = text(&after["ca.crt"])?;
        wait_for("the API server trusts the new authority", DEADLINE, async || {
            let configuration = kubectl.get(&["validatingwebhookconfiguration", WEBHOOK]).await?;
            let webhooks = configuration["webhooks"].as_array().context("no webhooks")?;
            let bundles = webhooks
                .iter()
                .map(|webhook| text(&webhook["clientConfig"]["caBundle"]));
            let bundles: Vec<String> = bundles.collect::<anyhow::Result<_>>()?;
            let are_trusted = bundles.iter().all(|bundle| bundle.starts_with(&authority));
            Ok((bundles.len() == WEBHOOKS && are_trusted).then_some(()))
        })
        .await?;
        refusal(kubectl).await?;
        before = after;
    }
    Ok(())
}

/// The policy alone refuses: here RBAC allows the speakers everything.
async fn own_node(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    kubectl
        .run([
            "create",
            "clusterrolebinding",
            "everything",
            "--clusterrole=cluster-admin",
            "--serviceaccount=metallb-system:herald-speaker",
        ])
        .await?;
    let status = wait_for("a node announces the Service", DEADLINE, async || {
        let statuses = kubectl.get(&["servicel2statuses", "-n", NAMESPACE]).await?;
        let mut statuses = statuses["items"].as_array().into_iter().flatten();
        Ok(statuses
            .find(|status| status["status"]["node"].is_string())
            .cloned())
    })
    .await?;
    let name = status["metadata"]["name"].as_str().context("no name")?;
    let node = status["status"]["node"].as_str().context("no node")?;
    let mut names = lab.nodes().iter().map(Node::name);
    let other = names.find(|name| *name != node).context("one node only")?;
    let files = tempfile::tempdir()?;
    let own = as_speaker(lab, kubectl, node, files.path()).await?;
    let foreign = as_speaker(lab, kubectl, other, files.path()).await?;
    let state = format!("speaker-{node}");
    let says = |node: &str| json!({"status": {"node": node}}).to_string();
    let (says_own, says_other) = (says(node), says(other));
    let interfaces = json!({"status": {"interfaces": [{"name": "x"}]}}).to_string();
    let labelled = json!({"metadata": {"labels": {"metallb.io/node": other}}}).to_string();
    let wrong = json!({"status": {"errorSummary": "x"}}).to_string();
    // The node in a status that has one cannot be changed at all.
    own.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: ServiceL2Status, metadata: {{name: new, namespace: metallb-system, labels: {{metallb.io/node: {node}}}}}}}"
    ))
    .await?;
    let of_status = ["servicel2statuses", name, "-n", NAMESPACE];
    let of_new = ["servicel2statuses", "new", "-n", NAMESPACE];
    let of_state = ["configurationstates", &state, "-n", NAMESPACE];
    let not_own = format!("the object is not of node {other}");
    let wrong_node = format!("status.node must be {node}");
    let wrong_label = format!("the label metallb.io/node must be {node}");
    let wrong_name = format!("the name must be speaker-{other}");
    let permitted = String::new();
    let no_labels = json!({"metadata": {"labels": null}}).to_string();
    let in_status = ["--type=merge", "--subresource=status", "-p"];
    let in_object = ["--type=merge", "--dry-run=server", "-p"];
    let cases = [
        (&foreign, of_status, in_status, &interfaces, &not_own),
        (&foreign, of_state, in_status, &wrong, &wrong_name),
        (&own, of_new, in_status, &says_other, &wrong_node),
        (&own, of_new, in_status, &says_own, &permitted),
        (&own, of_status, in_object, &labelled, &wrong_label),
        (&own, of_status, in_status, &says_own, &permitted),
        (&own, of_state, in_object, &no_labels, &permitted),
    ];
    for (speaker, object, flags, patch, expected) in cases {
        let command = ["patch"];
        let arguments = command.iter().chain(&object).chain(&flags);
        let arguments: Vec<&str> = arguments.copied().chain([patch.as_str()]).collect();
        // A new policy is in force a moment after it was written.
        wait_for("the request has the expected answer", DEADLINE, async || {
            let output = speaker.try_run(&arguments).await?;
            let printed = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success() == expected.is_empty() && printed.contains(expected),
                "{arguments:?}: {printed}"
            );
            Ok(Some(()))
        })
        .await?;
    }
    let deleted = foreign.try_run(["delete"].iter().chain(&of_status)).await?;
    let printed = String::from_utf8_lossy(&deleted.stderr);
    ensure!(printed.contains(&not_own), "{printed}");
    let state = format!(
        "{{apiVersion: metallb.io/v1beta1, kind: ConfigurationState, metadata: {{name: other, namespace: metallb-system, labels: {{metallb.io/node-name: {other}}}}}}}"
    );
    let printed = foreign.refused(&state).await?;
    ensure!(printed.contains(&wrong_name), "{printed}");
    Ok(())
}

/// Returns kubectl with a token of a Pod of the speaker on a node.
async fn as_speaker(lab: &Lab, kubectl: &Kubectl, node: &str, files: &Path) -> anyhow::Result<Kubectl> {
    let pod = format!("token-{node}");
    let object = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, namespace: metallb-system}}, spec: {{nodeName: {node}, serviceAccountName: herald-speaker, containers: [{{name: main, image: none}}]}}}}"
    );
    kubectl.apply(&object).await?;
    let bound = format!("--bound-object-name={pod}");
    let create = ["create", "token", "herald-speaker", "-n", NAMESPACE];
    let of_pod = ["--bound-object-kind=Pod", bound.as_str()];
    let token = kubectl.run(create.iter().chain(&of_pod)).await?;
    let control_plane = lab.cluster().control_plane();
    let kubernetes = control_plane.kubernetes().context("no control plane")?;
    let kubeconfig = files.join(node);
    let text = kubernetes.with_token(&control_plane.outside(), token.trim());
    std::fs::write(&kubeconfig, text)?;
    Kubectl::new(&kubeconfig)
}

async fn secret(kubectl: &Kubectl) -> anyhow::Result<Value> {
    let mut secret = kubectl.get(&["secret", WEBHOOK, "-n", NAMESPACE]).await?;
    Ok(secret["data"].take())
}

/// Returns the text of bytes in JSON.
fn text(bytes: &Value) -> anyhow::Result<String> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(bytes.clone())?;
    Ok(String::from_utf8(bytes.0)?)
}
