//! The Secret with the gossip key.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::{Cluster, NAMESPACE, wait_for};

const NAME: &str = "herald-memberlist";
const ARGUMENTS: [&str; 2] = ["--ml-secret-name", NAME];

async fn key(cluster: &Cluster) -> Option<String> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let secret = secrets.get_opt(NAME).await.expect("the API server answers")?;
    let data = secret.data.expect("it has data");
    let key = String::from_utf8(data["secretkey"].0.clone()).expect("text");
    assert_eq!(data.len(), 1);
    Some(key)
}

#[tokio::test]
async fn the_active_controller_makes_a_key_once_and_another_key_after_it_was_deleted() {
    let mut cluster = Cluster::start().await;
    cluster.start_controller_with("first", &ARGUMENTS);
    wait_for("a key", async || key(&cluster).await.is_some()).await;
    let made = key(&cluster).await.expect("just seen");
    assert_eq!(made.len(), 64);
    assert!(made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    cluster.signal("first", Signal::SIGTERM);
    cluster.end_of("first").await;
    cluster.start_controller_with("second", &ARGUMENTS);
    cluster.await_leader("second").await;
    assert_eq!(key(&cluster).await, Some(made.clone()));
    cluster.signal("second", Signal::SIGTERM);
    cluster.end_of("second").await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    secrets
        .delete(NAME, &DeleteParams::default())
        .await
        .expect("deleted");
    cluster.start_controller_with("third", &ARGUMENTS);
    wait_for("a key", async || key(&cluster).await.is_some()).await;
    assert_ne!(key(&cluster).await, Some(made));
}

#[tokio::test]
async fn a_secret_that_exists_stays_as_it_is() {
    let mut cluster = Cluster::start().await;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let mine = json!({"metadata": {"name": NAME}, "stringData": {"secretkey": "0123456789abcdef"}});
    cluster.create(&path, mine).await;
    cluster.start_controller_with("first", &ARGUMENTS);
    cluster.await_leader("first").await;
    let looked = async || cluster.server.request_counts().of("get", "secrets") > 0;
    wait_for("the controller looks for the Secret", looked).await;
    assert_eq!(key(&cluster).await.as_deref(), Some("0123456789abcdef"));
    assert_eq!(
        cluster.server.request_counts().of("create", "secrets"),
        1,
        "that of this test"
    );
}

#[tokio::test]
async fn a_secret_that_is_deleted_is_not_replaced_by_the_controller_that_saw_it() {
    let mut cluster = Cluster::start().await;
    cluster.start_controller_with("first", &ARGUMENTS);
    wait_for("a key", async || key(&cluster).await.is_some()).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    secrets
        .delete(NAME, &DeleteParams::default())
        .await
        .expect("deleted");
    let looks = || cluster.server.request_counts().of("get", "secrets");
    let before = looks();
    wait_for("the controller looks again, twice", async || {
        looks() >= before + 2
    })
    .await;
    assert_eq!(key(&cluster).await, None);
}
