//! A restart with thousands of Services while the API server has faults: no address moves, none is given twice.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use herald_controller::{ControllerArgs, WebhookArgs};
use herald_runtime::admin::MetricsArgs;
use herald_runtime::log::LogLevel;
use herald_runtime::watch::{Update, VERSION_CHECK, watch};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::cluster::{Cluster, DEADLINE, NAMESPACE, wait_for};

/// As many Services as Herald is made for; fewer where the API server is not optimised either and needs minutes.
const SERVICES: usize = if cfg!(debug_assertions) { 3_000 } else { 10_000 };

async fn with_services(count: usize) -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["10.0.0.0/16"]}))
        .await;
    cluster.start_controller("first");
    let create = |i: usize| {
        let cluster = &cluster;
        async move { cluster.create_service(&format!("s{i}"), json!({})).await }
    };
    futures::stream::iter(0..count)
        .map(create)
        .buffer_unordered(32)
        .collect::<()>()
        .await;
    wait_for("all have addresses", async || cluster.witness.assigned() == count).await;
    assert_eq!(cluster.assignments().await.len(), count);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_services_get_one_write_each_and_a_restart_writes_nothing() {
    let mut cluster = with_services(SERVICES).await;
    let counts = cluster.counts();
    assert_eq!(counts.of("patch", "services/status"), SERVICES as u64);
    let before = cluster.assignments().await;
    let faults = cluster.server.faults();

    let restart = async |cluster: &mut Cluster, name: &str| {
        cluster.signal(name, Signal::SIGTERM);
        cluster.end_of(name).await;
    };

    // A status that is as desired is not written again.
    restart(&mut cluster, "first").await;
    let counts = cluster.counts();
    cluster.start_controller("second");
    cluster.await_leader("second").await;
    cluster.create_service("after-second", json!({})).await;
    wait_for("the new one has an address", async || {
        cluster.witness.assigned() == SERVICES + 1
    })
    .await;
    assert_eq!(cluster.counts().since(&counts).of("patch", "services/status"), 1);

    // A slow API server, versions that have expired, watches that break, and conflicts.
    restart(&mut cluster, "second").await;
    faults.set_delay(Some(Duration::from_millis(100)));
    faults.expire_resource_versions();
    cluster.start_controller("third");
    cluster.await_leader("third").await;
    for i in 0..5 {
        faults.drop_watches();
        faults.expire_resource_versions();
        faults.conflict_next(3);
        cluster.create_service(&format!("during-{i}"), json!({})).await;
    }
    faults.set_delay(None);
    wait_for("all have addresses", async || {
        cluster.witness.assigned() == SERVICES + 6
    })
    .await;

    let after = cluster.assignments().await;
    assert!(before.iter().all(|(name, addresses)| after[name] == *addresses));
    cluster.witness.assert_never_doubled();
    cluster.witness.assert_nothing_moved();
}

/// The environment variable of the process that [`run_with_a_converter_that_panics`].
const PANICKING: &str = "HERALD_TEST_PANICKING_CONVERTER";

#[tokio::test(flavor = "multi_thread")]
async fn a_converter_that_panics_ends_the_process_non_zero() {
    if std::env::var_os(PANICKING).is_some() {
        run_with_a_converter_that_panics().await;
    }
    let cluster = Cluster::start().await;
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "faults::a_converter_that_panics_ends_the_process_non_zero",
        ])
        .env("KUBECONFIG", cluster.kubeconfig())
        .env(PANICKING, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    cluster.await_leader("panicking").await;
    assert_eq!(child.try_wait().expect("it is ours"), None);
    cluster.create_service("odd", json!({})).await;
    let end = tokio::time::timeout(DEADLINE, child.wait()).await;
    let status = end.expect("it ends in time").expect("it is ours");
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status}");
}

/// Runs the controller, and beside its watches one whose converter panics at the first Service.
async fn run_with_a_converter_that_panics() {
    let args = ControllerArgs {
        ml_secret_name: String::new(),
        namespace: Some(NAMESPACE.to_owned()),
        pod_name: "panicking".to_owned(),
        lb_class: String::new(),
        bgp: true,
        beside_metallb: false,
        check_release: false,
        ml_labels: String::new(),
        quarantine: 0,
        metrics: MetricsArgs::default(),
        webhook: WebhookArgs::default(),
        health_probe_port: 0,
        version_check_interval: VERSION_CHECK.as_secs(),
        log_level: LogLevel::Info,
    };
    let controller = tokio::task::spawn_blocking(|| herald_controller::run(args));
    let client = Client::try_from(Config::infer().await.expect("a kubeconfig")).expect("a client");
    let (sender, _receiver) = mpsc::channel(1);
    let convert = |service: Service| panic!("a converter meets {:?}", service.metadata.name);
    let selected = ListParams::default().fields("spec.type=LoadBalancer");
    let services: Api<Service> = Api::all(client);
    tokio::spawn(watch(
        services,
        selected,
        VERSION_CHECK,
        convert,
        |update: Update<()>| update,
        sender,
    ));
    controller.await.expect("no panic").expect("it runs");
}
