//! What is in the archive, and what must not be.

use std::io::Read;

use serde_json::{Value, json};

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
    world.nodes.get_mut("node-0").expect("a node")["metadata"]["annotations"] = secrets.clone();
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

fn extra() -> BundleObjects {
    let pod = json!({
        "metadata": {"name": "herald-speaker-x", "namespace": "metallb-system", "annotations": {"note": PASSWORD}},
        "spec": {
            "nodeName": "node-0", "volumes": [{"name": PASSWORD}], "initContainers": [{"name": PASSWORD}],
            "containers": [{
                "name": "speaker", "image": "herald:v1", "command": ["/herald-speaker"], "args": ["--port=9120"],
                "env": [{"name": "TOKEN", "value": PASSWORD}],
            }],
        },
        "status": {"phase": "Running"},
    });
    BundleObjects {
        pods: vec![serde_json::from_value(pod).expect("a Pod")],
        logs: vec![("../../x".to_owned(), "a line\n".to_owned())],
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
    let raw = format!("{:?}{:?}", cluster.objects, extra.pods);
    assert!(
        raw.matches(PASSWORD).count() > 8,
        "the password is planted: {raw}"
    );
    let files = content::files(&cluster, &extra);
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
    let container = &read("objects/Pod")[0]["spec"]["containers"][0];
    assert_eq!(container["args"][0], "--port=9120");
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
