//! What is in the archive, and what must not be.

use std::io::Read;

use serde_json::{Value, json};

use super::logs::Logs;
use super::*;
use crate::cluster::ClusterView;
use crate::world::World;

/// What no archive may have.
const PASSWORD: &str = "planted-7d1f";

/// A cluster in which a password is wherever users and tenants put one.
fn cluster() -> ClusterView {
    let mut world = World::new(2);
    world.add(
        "web",
        "192.0.2.1",
        json!({"ports": [{"port": 80, "name": "http"}]}),
        &["node-0"],
    );
    let secrets = json!({
        "note": PASSWORD, "metallb.io/address-pool": "first",
        "kubectl.kubernetes.io/last-applied-configuration": format!("{{\"spec\":\"{PASSWORD}\"}}"),
    });
    world.services.get_mut("web").expect("a Service")["metadata"]["annotations"] = secrets.clone();
    let node = world.nodes.get_mut("node-0").expect("a node");
    node["metadata"]["annotations"] = secrets.clone();
    node["status"]["conditions"] =
        json!([{"type": "KernelDeadlock", "status": "False", "message": PASSWORD}]);
    node["status"]["nodeInfo"] = node_info();
    let mut cluster = world.cluster();
    cluster.objects.pools[0].metadata.annotations =
        serde_json::from_value(secrets.clone()).expect("annotations");
    let peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor", "annotations": secrets},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "198.51.100.1", "password": PASSWORD},
    });
    cluster.objects.bgp.peers = vec![serde_json::from_value(peer).expect("a peer")];
    cluster
}

fn node_info() -> Value {
    json!({
        "kernelVersion": "6.12.1", "osImage": "Debian", "kubeletVersion": "v1.34.0", "containerRuntimeVersion": "containerd://2.1",
        "architecture": "amd64", "machineID": PASSWORD, "bootID": PASSWORD, "systemUUID": PASSWORD,
        "operatingSystem": "linux", "kubeProxyVersion": "",
    })
}

fn extra() -> BundleObjects {
    let pod = json!({
        "metadata": {"name": "herald-speaker-x", "namespace": "metallb-system", "annotations": {"note": PASSWORD}},
        "spec": {
            "nodeName": "node-0", "volumes": [{"name": PASSWORD}], "initContainers": [{"name": PASSWORD}],
            "containers": [{
                "name": "proxy", "image": "proxy:v1", "command": ["/proxy", PASSWORD], "args": ["--token", PASSWORD],
            }, {
                "name": "speaker", "image": "herald:v1", "command": ["/herald-speaker"], "args": ["--port=9120"],
                "env": [{"name": "TOKEN", "value": PASSWORD}],
            }],
        },
        "status": {
            "phase": "Running", "message": PASSWORD, "conditions": [{"type": "Ready", "status": "False", "message": PASSWORD}],
            "containerStatuses": [{
                "name": "speaker", "image": "herald:v1", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": PASSWORD}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": PASSWORD}},
            }],
            "initContainerStatuses": [{
                "name": "set-up", "image": "proxy:v1", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "message": PASSWORD}},
            }],
        },
    });
    let template = json!({
        "metadata": {"annotations": {"note": PASSWORD}},
        "spec": {"containers": [{
            "name": "speaker", "image": "herald:v1", "command": ["/herald-speaker"], "args": [PASSWORD],
            "env": [{"name": "TOKEN", "value": PASSWORD}],
        }]},
    });
    let workload = json!({
        "metadata": {"name": "herald-speaker", "namespace": "metallb-system", "annotations": {"note": PASSWORD}},
        "spec": {"selector": {}, "template": template},
        "status": {
            "currentNumberScheduled": 0, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 0,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "message": PASSWORD}],
        },
    });
    let mut logs = Logs::default();
    logs.texts.push(("../../x".to_owned(), b"a line\n".to_vec()));
    BundleObjects {
        pods: vec![serde_json::from_value(pod).expect("a Pod")],
        daemon_sets: vec![serde_json::from_value(workload.clone()).expect("a DaemonSet")],
        deployments: vec![serde_json::from_value(workload).expect("a Deployment")],
        logs,
        ..BundleObjects::default()
    }
}

/// Returns the files of an archive.
fn unpacked(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let entries = archive.entries().expect("entries");
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.expect("an entry");
        let mut text = String::new();
        let name = entry.path().expect("a path").display().to_string();
        entry.read_to_string(&mut text).expect("a text");
        (name, text)
    };
    entries.map(read).collect()
}

#[test]
fn no_password_is_in_the_archive_wherever_it_was_planted() {
    let (cluster, extra) = (cluster(), extra());
    let raw = format!("{:?}{extra:?}", cluster.objects);
    assert!(
        raw.matches(PASSWORD).count() > 24,
        "the password is planted: {raw}"
    );
    let files = content::files(&cluster, extra);
    let bytes = archive::pack("bundle", &files, Timestamp::UNIX_EPOCH).expect("an archive");
    let files = unpacked(&bytes);
    for (name, text) in &files {
        assert!(
            !text.contains(PASSWORD) && !name.contains(PASSWORD),
            "{name}: {text}"
        );
        assert!(name.starts_with("bundle/") && !name.contains(".."), "{name}");
    }
    let read = |name: &str| -> Value {
        let text = files
            .iter()
            .find(|(other, _)| other == &format!("bundle/{name}.json"));
        serde_json::from_str(&text.unwrap_or_else(|| panic!("{name}: {files:?}")).1).expect("JSON")
    };
    let service = &read("objects/Service")[0];
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    assert_eq!(
        service["metadata"]["annotations"],
        json!({"metallb.io/address-pool": "first"})
    );
    assert_eq!(service["spec"]["ports"], json!([{"port": 80}]));
    assert_eq!(read("objects/BGPPeer")[0]["spec"]["peerAddress"], "198.51.100.1");
    let pod = &read("objects/Pod")[0];
    let containers = &pod["spec"]["containers"];
    assert_eq!(containers[0], json!({"name": "proxy", "image": "proxy:v1"}));
    assert_eq!(containers[1]["command"][0], "/herald-speaker");
    assert_eq!(containers[1]["args"][0], "--port=9120");
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container["lastState"]["terminated"]["reason"], "Error");
    assert_eq!(
        container["state"],
        json!({"waiting": {"reason": "CrashLoopBackOff"}})
    );
    let daemon_set = &read("objects/DaemonSet")[0];
    assert_eq!(daemon_set["status"]["desiredNumberScheduled"], 2);
    assert_eq!(
        daemon_set["spec"]["template"]["spec"]["containers"][0]["image"],
        "herald:v1"
    );
    let nodes = read("objects/Node");
    let node = nodes
        .as_array()
        .into_iter()
        .flatten()
        .find(|node| node["metadata"]["name"] == "node-0");
    let info = &node.expect("a node")["status"]["nodeInfo"];
    assert_eq!(info["kernelVersion"], "6.12.1");
    assert_eq!(info.as_object().map(serde_json::Map::len), Some(5));
    assert_eq!(read("states/speaker-node-1")["node"], "node-1");
    assert_eq!(read("objects/Node").as_array().map(Vec::len), Some(2));
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.tar.gz");
    write(&path, b"one").expect("a new file");
    let error = write(&path, b"two").expect_err("it exists").to_string();
    assert!(error.ends_with("exists; name another file by --file"), "{error}");
    assert_eq!(std::fs::read(&path).expect("a file"), b"one");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may not read it");
}
