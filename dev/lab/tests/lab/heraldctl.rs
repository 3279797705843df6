//! heraldctl says what the programs do and why.

use anyhow::{Context, bail, ensure};
use herald_api::BGPPeer;
use herald_lab::objects::NAMESPACE;
use herald_lab::{DEADLINE, Lab, QUICKSTART};
use herald_netns::wait_for;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::in_lab;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "heraldctl_names_the_node_that_answers_and_why_the_others_do_not",
            announced,
        ),
        in_lab("heraldctl_says_why_a_service_has_no_address_or_no_owner", refused),
        in_lab(
            "heraldctl_s_doctor_finds_nothing_in_a_healthy_cluster_and_then_each_fault",
            doctored,
        ),
        in_lab(
            "heraldctl_drains_a_node_and_names_an_address_that_cannot_move",
            drained,
        ),
        in_lab("heraldctl_packs_what_others_need_and_no_password", packed),
        in_lab("heraldctl_counts_the_requests_for_an_address", counted),
    ]
}

/// Asks for an address outside all pools.
const OUTSIDE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: outside
  annotations:
    metallb.io/loadBalancerIPs: 203.0.113.7
spec:
  type: LoadBalancer
  selector: {app: hello}
  ports: [{port: 80}]
";

/// Has no endpoints.
const EMPTY: &str = "
apiVersion: v1
kind: Service
metadata:
  name: empty
spec:
  type: LoadBalancer
  selector: {app: nothing}
  ports: [{port: 80}]
";

async fn announced(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let owner = lab.owner(address, DEADLINE).await?;
    let name = lab.node(owner).name().to_owned();
    let well = wait_for("heraldctl finds nothing to do", DEADLINE, async || {
        let explained = lab
            .heraldctl(&["explain", "service", "hello", "--namespace=default"])
            .await?;
        Ok((explained["next"]["isWell"] == true && owner_of(&explained).is_some()).then_some(explained))
    });
    let explained = well.await?;
    ensure!(
        owner_of(&explained) == Some(&name),
        "{name} answers: {explained:#}"
    );
    ensure!(
        explained["announcements"][0]["answeredBy"][0] == *name,
        "{explained:#}"
    );
    ensure!(
        explained["unknown"].as_array().is_some_and(Vec::is_empty),
        "{explained:#}"
    );
    let pools = &explained["allocation"]["pools"];
    ensure!(
        pools[0]["pool"] == "first-pool" && pools[0]["reason"] == "Held",
        "{explained:#}"
    );
    ensure!(
        explained["dataPath"]["readyOn"].as_array().map(Vec::len) == Some(3),
        "{explained:#}"
    );
    ensure!(
        explained["history"]["events"][0]["reason"].is_string(),
        "{explained:#}"
    );

    lab.cluster()
        .annotate_node(&name, "herald.io/drain", Some("true"))
        .await?;
    let moved = wait_for("the address moves", DEADLINE, async || {
        let explained = lab
            .heraldctl(&["explain", "address", &address.to_string()])
            .await?;
        let now = explained["announcement"]["answeredBy"][0]
            .as_str()
            .map(str::to_owned);
        Ok(now.filter(|now| *now != name).map(|now| (now, explained)))
    });
    let (now, explained) = moved.await?;
    let drained = part_of(&explained["announcement"], &name).context("the node is named")?;
    ensure!(drained["excluded"]["reason"] == "Drained", "{explained:#}");
    let owner = lab.owner(address, DEADLINE).await?;
    ensure!(lab.node(owner).name() == now, "{now} does not answer");
    ensure!(explained["moves"][0]["node"].is_string(), "{explained:#}");
    let node = lab.heraldctl(&["explain", "node", &name]).await?;
    ensure!(node["excluded"][0]["reason"] == "Drained", "{node:#}");
    ensure!(node["seenBy"][0]["liveness"] == "alive", "{node:#}");

    let status = lab.heraldctl(&["status"]).await?;
    ensure!(
        status["speakers"]["ready"] == 3 && status["controllers"]["ready"] == 1,
        "{status:#}"
    );
    ensure!(status["leader"]["pod"].is_string(), "{status:#}");
    ensure!(status["pools"][0]["assigned"].as_u64() >= Some(3), "{status:#}");
    let answers = status["nodes"].as_array().context("nodes")?.iter();
    let answers: u64 = answers.filter_map(|node| node["answers"].as_u64()).sum();
    ensure!(answers == 3, "three addresses are answered for: {status:#}");
    Ok(())
}

async fn refused(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("outside.yaml", OUTSIDE).await?;
    lab.apply("empty.yaml", EMPTY).await?;
    lab.wait_for_addresses("empty", 1, DEADLINE).await?;
    let listed = wait_for("the status lists both Services", DEADLINE, async || {
        let status = lab.heraldctl(&["status"]).await?;
        let troubled = status["troubled"].as_array().context("a list")?.clone();
        let has = |name: &str, reason: &str| {
            let mut troubled = troubled.iter();
            troubled.any(|line| line["service"] == name && line["reason"] == reason)
        };
        let both = has("default/outside", "AddressOutsidePools") && has("default/empty", "NoEndpoints");
        Ok((both && troubled.len() == 2).then_some(()))
    });
    listed.await?;
    let explained = lab.heraldctl(&["explain", "service", "default/outside"]).await?;
    let refusal = &explained["allocation"]["refusal"];
    let condition = lab.cluster().condition("outside", "herald.io/Allocated").await?;
    let [_, reason, message] = condition.context("the Service has the condition")?;
    ensure!(
        refusal[0] == *reason && refusal[1] == *message,
        "{explained:#}\nthe condition: {reason}: {message}"
    );
    ensure!(
        explained["next"]["text"] == *message && explained["next"]["isWell"] == false,
        "{explained:#}"
    );
    ensure!(
        explained["allocation"]["pools"][0]["reason"] == "NotRequested",
        "{explained:#}"
    );

    let explained = lab
        .heraldctl(&["explain", "svc", "empty", "-n", "default"])
        .await?;
    ensure!(
        explained["announcements"][0]["excluded"]["reason"] == "NoEndpoints",
        "{explained:#}"
    );
    let next = explained["next"]["text"].as_str().context("a text")?;
    ensure!(next.contains("make a Pod ready"), "{explained:#}");

    let pool = lab.heraldctl(&["explain", "pool", "first-pool"]).await?;
    ensure!(
        pool["isInForce"] == true && pool["advertisements"][0] == "L2Advertisement example",
        "{pool:#}"
    );
    let error = lab.heraldctl(&["explain", "pool", "second-pool"]).await;
    let error = format!("{:#}", error.err().context("there is no such pool")?);
    ensure!(
        error.contains("there is no IPAddressPool \"second-pool\"; there are first-pool"),
        "{error}"
    );
    Ok(())
}

async fn drained(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let owner = lab.owner(address, DEADLINE).await?;
    let name = lab.node(owner).name().to_owned();
    let printed = lab.heraldctl_text(&["drain", &name]).await?;
    ensure!(
        printed.contains(&format!("{name} announces nothing any more")),
        "{printed}"
    );
    let now = lab.owner(address, DEADLINE).await?;
    ensure!(now != owner, "{name} still answers for {address}");
    let printed = lab.heraldctl_text(&["undrain", &name]).await?;
    ensure!(
        printed.contains("answers for all addresses that it is elected for"),
        "{printed}"
    );
    let owner_again = lab.owner(address, DEADLINE).await?;
    ensure!(owner_again == owner, "{name} does not answer for {address}");

    let others = lab
        .nodes()
        .iter()
        .map(|node| node.name().to_owned())
        .filter(|other| *other != name);
    for other in others.collect::<Vec<_>>() {
        lab.heraldctl_text(&["drain", &other]).await?;
    }
    let failed = lab.heraldctl_text(&["drain", &name, "--timeout=3"]).await;
    let failed = format!("{:#}", failed.err().context("no node is left")?);
    ensure!(
        failed.contains(&address.to_string()) && failed.contains("Drained"),
        "{failed}"
    );
    ensure!(failed.contains("have not moved within 3 s"), "{failed}");
    Ok(())
}

/// What no archive may have.
const PASSWORD: &str = "planted-3f9c";

/// A password wherever users put one.
const PLANTED: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: planted, namespace: metallb-system}
stringData: {password: planted-3f9c}
---
apiVersion: v1
kind: Service
metadata:
  name: planted
  annotations:
    note: planted-3f9c
    kubectl.kubernetes.io/last-applied-configuration: '{"metadata":{"annotations":{"note":"planted-3f9c"}}}'
spec:
  type: LoadBalancer
  selector: {app: hello}
  ports: [{port: 8081}]
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: planted, namespace: metallb-system}
spec: {myASN: 64512, peerASN: 64513, peerAddress: 198.51.100.9, password: planted-3f9c, nodeSelectors: [{matchLabels: {none: none}}]}
"#;

/// Adds a Pod of Herald that a webhook added a container to, and that waits for a node: with a password in its environment, in the
/// arguments of the other container, and in the last lines of the log of that one.
async fn plant_pod(lab: &Lab) -> anyhow::Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "planted", "namespace": NAMESPACE, "labels": {"app.kubernetes.io/component": "speaker"}},
        "spec": {"containers": [
            {"name": "proxy", "image": "proxy", "args": ["--token", PASSWORD]},
            {"name": "speaker", "image": "herald", "command": ["/herald-speaker"], "env": [{"name": "PLANTED", "value": PASSWORD}]},
        ]},
    });
    lab.cluster().create(&pod).await?;
    let status = json!({"status": {"containerStatuses": [{
        "name": "proxy", "image": "proxy", "imageID": "", "ready": false, "restartCount": 1,
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": PASSWORD}},
    }]}});
    let api = Api::<Pod>::namespaced(lab.cluster().client(), NAMESPACE);
    api.patch_status("planted", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

async fn packed(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("planted.yaml", PLANTED).await?;
    lab.wait_for_addresses("planted", 1, DEADLINE).await?;
    let known = wait_for("all states are known", DEADLINE, async || {
        let status = lab.heraldctl(&["status"]).await?;
        Ok(status["unknown"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(()))
    });
    known.await?;
    plant_pod(lab).await?;
    let client = lab.cluster().client();
    let events = Api::<Event>::all(client.clone());
    let written = ListParams::default().fields("source=metallb-controller");
    let sent = wait_for("the controller sends an event", DEADLINE, async || {
        Ok((!events.list(&written).await?.items.is_empty()).then_some(()))
    });
    sent.await?;
    let service = Api::<Service>::namespaced(client.clone(), "default");
    let service = serde_json::to_string(&service.get("planted").await?)?;
    ensure!(service.contains(PASSWORD), "{service}");
    let peer = Api::<BGPPeer>::namespaced(client.clone(), NAMESPACE);
    let peer = serde_json::to_string(&peer.get("planted").await?)?;
    ensure!(peer.contains(PASSWORD), "{peer}");
    let pod = Api::<Pod>::namespaced(client, NAMESPACE);
    let pod = serde_json::to_string(&pod.get("planted").await?)?;
    ensure!(pod.matches(PASSWORD).count() == 3, "{pod}");

    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("bundle.tar.gz");
    let path = archive.to_str().context("a path")?;
    let report = lab.heraldctl(&["support-bundle", "--file", path]).await?;
    let unpacked = tokio::process::Command::new("tar")
        .args(["-xzOf", path])
        .output()
        .await?;
    ensure!(
        unpacked.status.success(),
        "{}",
        String::from_utf8_lossy(&unpacked.stderr)
    );
    let text = String::from_utf8_lossy(&unpacked.stdout);
    if let Some(place) = text.find(PASSWORD) {
        let around = text
            .get(place.saturating_sub(200)..place + 40)
            .unwrap_or_default();
        bail!("the password is in the archive: {around}");
    }
    for expected in [
        "\"name\": \"planted\"",
        "198.51.100.9",
        "/herald-speaker",
        "\"heraldctl\": ",
        "\"gossipBlocked\": ",
        "\"name\": \"proxy\"",
        "\"cutLogs\": ",
        "\"component\": \"metallb-controller\"",
    ] {
        ensure!(text.contains(expected), "{expected} is missing: {report:#}");
    }
    let files = report["files"].as_array().context("a list")?;
    for expected in [
        "objects/Service.json",
        "objects/Event.json",
        "states/controller.json",
        "summary.json",
    ] {
        ensure!(files.iter().any(|file| file == expected), "{report:#}");
    }
    let again = lab.heraldctl(&["support-bundle", "--file", path]).await;
    let again = format!("{:#}", again.err().context("the file exists")?);
    ensure!(again.contains("exists; name another file by --file"), "{again}");
    Ok(())
}

async fn counted(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let owner = lab.owner(address, DEADLINE).await?;
    let name = lab.node(owner).name().to_owned();
    let counted = wait_for("requests are counted", DEADLINE, async || {
        // Each look at who answers is a request.
        let ask = async {
            loop {
                lab.owner(address, DEADLINE).await?;
            }
        };
        let top: anyhow::Result<Value> = tokio::select! {
            top = lab.heraldctl(&["top", "--interval=1"]) => top,
            error = ask => error,
        };
        let top = top?;
        let mut lines = top["addresses"].as_array().context("a list")?.iter();
        let line = lines.find(|line| line["address"] == address.to_string() && line["node"] == *name);
        let line =
            line.filter(|line| line["total"].as_u64() > Some(0) && line["perSecond"].as_f64() > Some(0.0));
        Ok(line.map(|line| line["services"].clone()))
    });
    let services = counted.await?;
    ensure!(services == serde_json::json!(["default/hello"]), "{services}");
    Ok(())
}

/// A pool with the addresses of the nodes.
const OF_NODES: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: of-nodes
  namespace: metallb-system
spec:
  addresses: [192.168.67.11-192.168.67.13]
";

async fn doctored(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let healthy = wait_for("the doctor finds no fault", 2 * DEADLINE, async || {
        let faults = faults(lab).await?;
        Ok(faults.is_empty().then_some(()))
    });
    if let Err(error) = healthy.await {
        bail!("of a healthy cluster: {error:#}: {:?}", faults(lab).await?);
    }
    lab.apply("pool.yaml", OF_NODES).await?;
    await_fault(lab, "PoolNetworks").await?;
    let owner = lab.owner(address, DEADLINE).await?;
    lab.power_off(owner).await?;
    await_fault(lab, "Gossip").await?;
    Ok(())
}

async fn await_fault(lab: &Lab, check: &str) -> anyhow::Result<()> {
    // The speakers' checks of the network take some 10 s.
    let found = wait_for(check, 2 * DEADLINE, async || {
        let faults = faults(lab).await?;
        Ok(faults.iter().any(|fault| fault == check).then_some(()))
    });
    found.await.with_context(|| format!("the doctor finds {check}"))
}

/// Returns the checks that warn or fail.
async fn faults(lab: &Lab) -> anyhow::Result<Vec<String>> {
    let findings = doctor(lab).await?;
    let faulty = findings
        .iter()
        .filter(|finding| finding["outcome"] == "Warn" || finding["outcome"] == "Fail");
    Ok(faulty
        .filter_map(|finding| finding["check"].as_str())
        .map(str::to_owned)
        .collect())
}

/// Returns what the doctor finds.
pub(crate) async fn doctor(lab: &Lab) -> anyhow::Result<Vec<Value>> {
    // The exit status tells of failed checks; what was found is printed before it.
    let printed = match lab.heraldctl_text(&["doctor", "--output=json"]).await {
        Ok(printed) => printed,
        Err(error) => format!("{error:#}"),
    };
    let (start, end) = (
        printed.find('{').context("no JSON")?,
        printed.rfind('}').context("no JSON")?,
    );
    let diagnosis: Value = serde_json::from_str(&printed[start..=end])?;
    Ok(diagnosis["findings"].as_array().context("findings")?.clone())
}

/// Returns the node that is elected for the first address.
fn owner_of(explained: &Value) -> Option<&str> {
    let nodes = explained["announcements"][0]["nodes"].as_array()?;
    nodes.iter().find(|node| node["part"] == "Owner")?["node"].as_str()
}

fn part_of<'a>(announcement: &'a Value, node: &str) -> Option<&'a Value> {
    announcement["nodes"]
        .as_array()?
        .iter()
        .find(|line| line["node"] == node)
}
