//! What kubectl shows.

use libtest_mimic::Failed;

use crate::{Case, Kubectl, contains};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    (
        "get_prints_the_columns_that_users_know",
        get_prints_the_columns_that_users_know,
    ),
    (
        "describe_shows_services_nodes_and_events",
        describe_shows_services_nodes_and_events,
    ),
    ("explain_knows_built_in_kinds", explain_knows_built_in_kinds),
    (
        "api_resources_list_every_kind_with_its_short_names",
        api_resources_list_every_kind,
    ),
    ("watch_output_follows_changes", watch_output_follows_changes),
];

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {node-role.kubernetes.io/worker: ''}}
status:
  conditions: [{type: Ready, status: 'True', reason: KubeletReady}]
  addresses: [{type: InternalIP, address: 192.168.67.11}]
  nodeInfo: {kubeletVersion: v1.33.0, architecture: '', bootID: '', containerRuntimeVersion: none://1,
    kernelVersion: '6', kubeProxyVersion: '', machineID: '', operatingSystem: linux, osImage: Lab, systemUUID: ''}
";

/// The header and the cells of the only row, single-spaced.
fn columns(table: &str) -> String {
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

fn get_prints_the_columns_that_users_know(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    let services = columns(&kubectl.run(&["get", "svc", "-o", "wide"])?);
    contains(&services, "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR")?;
    contains(&services, "headless ClusterIP None <none> 80/TCP")?;
    contains(&services, "my-service ExternalName <none> www.example.org <none>")?;
    contains(&services, "myapp LoadBalancer 10.96.")?;
    contains(&services, "<pending>")?;
    kubectl.pipe(NODE, &["apply", "-f", "-"])?;
    let nodes = columns(&kubectl.run(&["get", "nodes", "-o", "wide"])?);
    contains(
        &nodes,
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
    )?;
    contains(&nodes, "n1 Ready worker")?;
    contains(
        &columns(&kubectl.run(&["get", "endpointslices"])?),
        "NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
    )?;
    contains(
        &columns(&kubectl.run(&["get", "ns"])?),
        "NAME STATUS AGE\ndefault Active",
    )?;
    contains(&kubectl.run(&["get", "all"])?, "service/myapp-dual")
}

fn describe_shows_services_nodes_and_events(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    kubectl.pipe(NODE, &["apply", "-f", "-"])?;
    let uid = kubectl.run(&["get", "svc", "myapp", "-o", "jsonpath={.metadata.uid}"])?;
    let event = format!(
        "---\n{{apiVersion: events.k8s.io/v1, kind: Event, metadata: {{name: e}}, type: Normal, reason: IPAllocated, \
         note: Assigned IP, action: Assign, eventTime: '2026-01-01T00:00:00.000000Z', \
         reportingController: herald-controller, reportingInstance: a, regarding: {{apiVersion: v1, kind: Service, \
         name: myapp, namespace: default, uid: {uid}}}}}"
    );
    kubectl.pipe(&event, &["create", "-f", "-"])?;
    let service = columns(&kubectl.run(&["describe", "svc", "myapp"])?);
    contains(&service, "Type: LoadBalancer")?;
    contains(&service, "Normal IPAllocated")?;
    contains(&service, "herald-controller Assigned IP")?;
    let node = columns(&kubectl.run(&["describe", "node", "n1"])?);
    contains(&node, "InternalIP: 192.168.67.11")?;
    let events = columns(&kubectl.run(&["get", "events"])?);
    contains(&events, "Normal IPAllocated service/myapp Assigned IP")
}

fn explain_knows_built_in_kinds(kubectl: &Kubectl) -> Result<(), Failed> {
    let ports = kubectl.run(&["explain", "service.spec.ports"])?;
    contains(&ports, "FIELD: ports <[]ServicePort>")?;
    contains(&ports, "-required-")
}

fn api_resources_list_every_kind(kubectl: &Kubectl) -> Result<(), Failed> {
    let listed = columns(&kubectl.run(&["api-resources"])?);
    contains(&listed, "services svc v1 true Service")?;
    contains(&listed, "leases coordination.k8s.io/v1 true Lease")?;
    contains(&kubectl.run(&["version"])?, "v1.33.0+devkube")
}

fn watch_output_follows_changes(kubectl: &Kubectl) -> Result<(), Failed> {
    kubectl.apply("seed-services.yaml")?;
    let watched = [
        "get",
        "svc",
        "nodeport",
        "-w",
        "--request-timeout=60s",
        "-L",
        "tier",
    ];
    let mut lines = kubectl.follow(&watched)?;
    contains(&lines.next()?, "TIER")?;
    contains(&lines.next()?, "nodeport")?;
    kubectl.run(&["label", "svc", "nodeport", "tier=front"])?;
    contains(&lines.next()?, "front")?;
    kubectl.run(&["delete", "svc", "nodeport"])?;
    contains(&lines.next()?, "front")
}
