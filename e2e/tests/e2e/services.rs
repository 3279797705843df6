//! What becomes of Services, as kubectl shows it.

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::place::Place;
use crate::{DEADLINE, QUICKSTART, in_cluster};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster("kubectl_shows_addresses_conditions_and_events", shown),
        in_cluster("applying_again_changes_nothing", idempotent),
        in_cluster("a_change_of_type_frees_the_address_and_back_it_returns", types),
        in_cluster("a_deleted_namespace_frees_its_addresses", namespace),
    ]
}

pub(crate) fn trials_anywhere(place: &Place) -> Vec<Trial> {
    vec![place.trial("the_last_address_goes_to_one_that_waits", passed_on)]
}

fn allocated(service: &Value) -> Value {
    let conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == "herald.io/Allocated")
        .cloned()
        .unwrap_or_default()
}

async fn shown(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    kubectl
        .run([
            "wait",
            "service/hello",
            "--for=condition=herald.io/Allocated",
            "--timeout=60s",
        ])
        .await?;
    let service = kubectl.get(&["service", "hello"]).await?;
    // Kubernetes defaults the mode; that is no reason to write again.
    ensure!(
        service["status"]["loadBalancer"]["ingress"] == json!([{"ip": "192.168.67.120", "ipMode": "VIP"}]),
        "{}",
        service["status"]
    );
    wait_for("the events tell the whole story", DEADLINE, async || {
        let described = kubectl.run(["describe", "service", "hello"]).await?;
        let told = ["IPAllocated", "nodeAssigned"]
            .iter()
            .all(|reason| described.contains(reason));
        Ok(told.then_some(()))
    })
    .await?;
    let pool = wait_for("the pool counts what it gave", DEADLINE, async || {
        let pool = kubectl
            .get(&["ipaddresspool", "first-pool", "-n", "metallb-system"])
            .await?;
        Ok((pool["status"]["assignedIPv4"] == 2).then_some(pool))
    });
    ensure!(pool.await?["status"]["assignedIPv6"] == 1);

    // A Service that cannot be served has the reason in its condition and in an event.
    kubectl.apply("{apiVersion: v1, kind: Service, metadata: {name: pending, annotations: {metallb.io/address-pool: nowhere}}, spec: {type: LoadBalancer, ports: [{port: 80}]}}").await?;
    let condition = wait_for("the condition tells why", DEADLINE, async || {
        let condition = allocated(&kubectl.get(&["service", "pending"]).await?);
        Ok((condition["status"] == "False").then_some(condition))
    });
    let condition = condition.await?;
    ensure!(
        condition["reason"] == "PoolUnknown"
            && condition["message"]
                .as_str()
                .is_some_and(|text| text.contains("nowhere")),
        "{condition}"
    );
    let table = kubectl.run(["get", "service", "pending"]).await?;
    ensure!(table.contains("<pending>"), "{table}");

    // Nothing is written that is already so: after all this the versions stay as they are.
    let version =
        async || anyhow::Ok(kubectl.get(&["service", "hello"]).await?["metadata"]["resourceVersion"].clone());
    let before = version().await?;
    lab.kill_controller().await?;
    lab.start_controller().await?;
    kubectl.apply("{apiVersion: v1, kind: Service, metadata: {name: next}, spec: {type: LoadBalancer, ports: [{port: 80}]}}").await?;
    lab.wait_for_addresses("next", 1, DEADLINE).await?;
    ensure!(
        version().await? == before,
        "the Service was written although nothing changed"
    );
    Ok(())
}

async fn passed_on(kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl
        .apply(
            "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: herald-e2e, namespace: metallb-system, labels: {herald.io/e2e: ours}}
spec: {addresses: [198.51.100.7/32], autoAssign: false}
",
        )
        .await?;
    for name in ["first", "second"] {
        let annotations = "{metallb.io/address-pool: herald-e2e}";
        kubectl
            .apply(&format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {annotations}}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}"
            ))
            .await?;
        wait_for("it is decided on", DEADLINE, async || {
            let decided = allocated(&kubectl.get(&["service", name]).await?);
            Ok((!decided.is_null()).then_some(()))
        })
        .await?;
    }
    let address = async |name: &str| {
        let service = kubectl.get(&["service", name]).await?;
        anyhow::Ok(service["status"]["loadBalancer"]["ingress"][0]["ip"].clone())
    };
    ensure!(address("first").await? == "198.51.100.7");
    let waits = allocated(&kubectl.get(&["service", "second"]).await?);
    ensure!(waits["reason"] == "PoolExhausted", "{waits}");
    kubectl
        .run([
            "patch",
            "service",
            "first",
            "-p",
            r#"{"spec": {"type": "ClusterIP"}}"#,
        ])
        .await?;
    wait_for("the second one has it", DEADLINE, async || {
        Ok((address("second").await? == "198.51.100.7").then_some(()))
    })
    .await?;
    ensure!(address("first").await?.is_null(), "the first one keeps it");
    Ok(())
}

async fn idempotent(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let again = kubectl.apply(QUICKSTART).await?;
    ensure!(
        again.lines().count() == 4 && again.lines().all(|line| line.ends_with(" unchanged")),
        "{again}"
    );
    Ok(())
}

async fn types(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let set_type = async |kind: &str| {
        let patch = json!({"spec": {"type": kind}}).to_string();
        kubectl.run(["patch", "service", "hello", "-p", &patch]).await
    };
    for kind in ["ClusterIP", "NodePort"] {
        set_type(kind).await?;
        lab.wait_for_addresses("hello", 0, DEADLINE).await?;
        wait_for("nobody announces it", DEADLINE, async || {
            Ok(lab.cluster().announcer("hello").await?.is_none().then_some(()))
        })
        .await?;
        set_type("LoadBalancer").await?;
        let again = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
        ensure!(again == address, "{address:?} came back as {again:?}");
    }
    lab.owner(address[0], DEADLINE).await?;
    Ok(())
}

async fn namespace(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.apply(
        "pool.yaml",
        "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: tiny, namespace: metallb-system}
spec: {addresses: [192.168.67.130/32]}
",
    )
    .await?;
    kubectl.run(["create", "namespace", "tenant"]).await?;
    let service = |namespace: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: only, namespace: {namespace}}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}"
        )
    };
    kubectl.apply(&service("tenant")).await?;
    kubectl
        .run([
            "wait",
            "service/only",
            "-n",
            "tenant",
            "--for=condition=herald.io/Allocated",
            "--timeout=60s",
        ])
        .await?;
    kubectl.apply(&service("default")).await?;
    wait_for("the other waits", DEADLINE, async || {
        let condition = allocated(&kubectl.get(&["service", "only"]).await?);
        Ok((condition["reason"] == "PoolExhausted").then_some(()))
    })
    .await?;
    kubectl
        .run(["delete", "namespace", "tenant", "--timeout=60s"])
        .await?;
    let address = lab.wait_for_addresses("only", 1, DEADLINE).await?;
    ensure!(
        address
            == ["192.168.67.130"
                .parse::<std::net::IpAddr>()
                .context("a literal address")?],
        "{address:?}"
    );
    Ok(())
}
