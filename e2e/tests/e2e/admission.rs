//! The admission webhook, as kubectl shows it.

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::{DEADLINE, QUICKSTART, in_cluster};

/// The name of the webhook's Secret and configuration.
const WEBHOOK: &str = "herald-webhook";
const OVERLAPPING: &str = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: overlapping, namespace: metallb-system}, spec: {addresses: [192.168.67.0/24]}}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster("a_mistake_is_refused_in_the_words_of_its_condition", refused),
        in_cluster("kubectl_shows_warnings_of_what_would_have_no_effect", warned),
        in_cluster("chart_and_pools_can_be_applied_in_one_go", one_go),
        in_cluster("a_new_certificate_of_the_webhook_is_served_and_trusted", rotated),
    ]
}

/// Waits until the API server asks the webhook, and returns what it says of the overlapping pool.
async fn refusal(kubectl: &Kubectl) -> anyhow::Result<String> {
    wait_for("the webhook refuses", DEADLINE, async || {
        let refusal = kubectl.dry_run_refused(OVERLAPPING).await?;
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
    kubectl.apply(OVERLAPPING).await?;
    kubectl.apply(&service("later", "nowhere")).await?;
    lab.start_controller().await?;
    let condition = wait_for("the condition says what is wrong", DEADLINE, async || {
        let pool = kubectl
            .get(&["ipaddresspool", "overlapping", "-n", NAMESPACE])
            .await?;
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
    // Its metadata can be changed, and it can be corrected and deleted.
    let pool = ["ipaddresspool", "overlapping", "-n", NAMESPACE];
    kubectl.run(["label"].iter().chain(&pool).chain(&["a=b"])).await?;
    kubectl.run(["delete"].iter().chain(&pool)).await?;
    ensure!(
        lab.cluster().addresses("hello").await? == hello,
        "hello lost {hello:?}"
    );
    Ok(())
}

fn service(name: &str, pool: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{metallb.io/address-pool: {pool}}}}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}"
    )
}

async fn warned(_lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    refusal(kubectl).await?;
    for (object, expected) in [
        (service("lost", "nowhere"), "Warning: unknown pool \"nowhere\""),
        (
            OVERLAPPING.replace("192.168.67.0", "198.51.100.0").replace("overlapping", "unused"),
            "",
        ),
        (
            "{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: typo, namespace: metallb-system}, spec: {ipAddressPools: [first-pol]}}".to_owned(),
            "Warning: spec.ipAddressPools names pools that do not exist: first-pol",
        ),
    ] {
        let said = kubectl.apply_and_hear(&object).await?;
        ensure!(said.contains(expected), "{object}: {said}");
        ensure!(said.contains("Warning") != expected.is_empty(), "{object}: {said}");
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
    let spoil = json!({"data": {"tls.crt": ""}}).to_string();
    let of_secret = ["secret", WEBHOOK, "-n", NAMESPACE];
    let ways: [&[&str]; 2] = [&["patch", "-p", &spoil], &["delete"]];
    for way in ways {
        kubectl
            .run(way[..1].iter().chain(&of_secret).chain(&way[1..]))
            .await?;
        let after = wait_for("there is another certificate", DEADLINE, async || {
            let after = secret(kubectl).await?;
            Ok((after["ca.crt"] != before["ca.crt"]).then_some(after))
        });
        let after = after.await?;
        let both = [text(&after["ca.crt"])?, text(&before["ca.crt"])?].concat();
        wait_for("the API server trusts both authorities", DEADLINE, async || {
            let configuration = kubectl.get(&["validatingwebhookconfiguration", WEBHOOK]).await?;
            let webhooks = configuration["webhooks"].as_array().context("no webhooks")?;
            let bundles = webhooks
                .iter()
                .map(|webhook| text(&webhook["clientConfig"]["caBundle"]));
            let bundles: Vec<String> = bundles.collect::<anyhow::Result<_>>()?;
            Ok((bundles.len() == 3 && bundles.iter().all(|bundle| *bundle == both)).then_some(()))
        })
        .await?;
        refusal(kubectl).await?;
        before = after;
    }
    Ok(())
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
