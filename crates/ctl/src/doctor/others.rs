//! Checks of what else runs in the cluster: kube-proxy, other load balancers, labels that exclude nodes.

use std::collections::BTreeMap;

use herald_api::convert::{MetalLbProgram, metallb_pod};
use herald_core::announce::eligibility::EXCLUDE_LABEL;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::{DoctorCheck, DoctorFinding, names};
use crate::cluster::{Absence, ClusterView, list};

/// Objects that only the doctor looks at.
#[derive(Debug, Default)]
pub(super) struct OtherObjects {
    pub(super) pods: Vec<Pod>,
    /// Why Pods are unknown.
    pub(super) no_pods: Option<Absence>,
    /// The configuration of kube-proxy, as kubeadm writes it.
    pub(super) kube_proxy: Option<String>,
    /// Whether Cilium announces addresses of Services.
    pub(super) cilium: bool,
    /// The networks of cluster IPs.
    pub(super) service_networks: Vec<String>,
}

impl OtherObjects {
    pub(super) async fn list(client: &Client) -> Self {
        let all = ListParams::default;
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
        let (pods, kube_proxy, cilium, networks) = tokio::join!(
            list::<Pod>(Api::all(client.clone()), all()),
            config_maps.get("kube-proxy"),
            config_maps.get("cilium-config"),
            list::<ServiceCIDR>(Api::all(client.clone()), all()),
        );
        let networks = networks.unwrap_or_default().into_iter();
        let networks = networks
            .filter_map(|network| network.spec)
            .flat_map(|spec| spec.cidrs.unwrap_or_default());
        let (pods, no_pods) = pods.map_or_else(|absence| (Vec::new(), Some(absence)), |pods| (pods, None));
        Self {
            pods,
            no_pods,
            kube_proxy: kube_proxy.ok().and_then(|map| map.data?.remove("config.conf")),
            cilium: cilium
                .ok()
                .and_then(|map| map.data)
                .is_some_and(|data| announces(&data)),
            service_networks: networks.collect(),
        }
    }
}

/// Whether the configuration of Cilium lets it announce addresses of Services.
fn announces(data: &BTreeMap<String, String>) -> bool {
    let switches = ["enable-l2-announcements", "enable-bgp-control-plane"];
    switches
        .iter()
        .any(|switch| data.get(*switch).is_some_and(|value| value == "true"))
}

pub(super) fn findings(cluster: &ClusterView, others: &OtherObjects) -> Vec<DoctorFinding> {
    vec![
        excluded_nodes(cluster),
        kube_proxy(others),
        other_balancers(cluster, others),
    ]
}

fn excluded_nodes(cluster: &ClusterView) -> DoctorFinding {
    if let Some(absence) = cluster.absent(&["Node"]) {
        return DoctorFinding::unknown(DoctorCheck::ExcludedNodes, absence);
    }
    let nodes = cluster.objects.nodes.iter();
    let excluded: Vec<String> = nodes
        .filter(|node| node.labels().contains_key(EXCLUDE_LABEL))
        .map(ResourceExt::name_any)
        .collect();
    if excluded.is_empty() || cluster.installation.ignores_exclude_label() {
        return DoctorFinding::pass(DoctorCheck::ExcludedNodes, "no node is excluded by its label");
    }
    let text = format!(
        "{} of {} nodes have the label {EXCLUDE_LABEL}: {}",
        excluded.len(),
        cluster.objects.nodes.len(),
        names(excluded.iter().map(String::as_str))
    );
    let remedy = "kubeadm labels control planes; if these nodes should announce, remove the label, or set speaker.ignoreExcludeLB: true";
    if excluded.len() == cluster.objects.nodes.len() {
        DoctorFinding::fail(DoctorCheck::ExcludedNodes, text, remedy)
    } else {
        DoctorFinding::warn(DoctorCheck::ExcludedNodes, text, remedy)
    }
}

fn kube_proxy(others: &OtherObjects) -> DoctorFinding {
    let Some(text) = &others.kube_proxy else {
        return DoctorFinding::unknown(
            DoctorCheck::KubeProxy,
            "no ConfigMap kube-system/kube-proxy; if kube-proxy runs in mode ipvs, it needs strictARP: true",
        );
    };
    let Ok(config) = serde_saphyr::from_str::<Value>(text) else {
        return DoctorFinding::unknown(
            DoctorCheck::KubeProxy,
            "the ConfigMap kube-system/kube-proxy is no YAML",
        );
    };
    let mode = config["mode"].as_str().unwrap_or_default();
    if mode != "ipvs" {
        let mode = if mode.is_empty() { "iptables" } else { mode };
        return DoctorFinding::pass(DoctorCheck::KubeProxy, format!("mode {mode}"));
    }
    if config["ipvs"]["strictARP"] == true {
        return DoctorFinding::pass(DoctorCheck::KubeProxy, "mode ipvs with strictARP");
    }
    DoctorFinding::fail(
        DoctorCheck::KubeProxy,
        "mode ipvs without strictARP: every node answers for the addresses of all Services",
        "set ipvs.strictARP: true in the ConfigMap kube-system/kube-proxy, and restart kube-proxy",
    )
}

/// A load balancer that would handle the same Services.
fn balancer_of(pod: &Pod) -> Option<&'static str> {
    let labels = pod.labels();
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|other| other == value);
    if matches!(
        metallb_pod(pod).map(|pod| pod.program),
        Some(MetalLbProgram::Controller | MetalLbProgram::Speaker)
    ) {
        return Some("MetalLB");
    }
    if labels.contains_key("svccontroller.k3s.cattle.io/svcname") {
        return Some("ServiceLB of k3s (klipper-lb)");
    }
    if is("app.kubernetes.io/name", "kube-vip-cloud-provider") || is("app.kubernetes.io/name", "kube-vip-ds")
    {
        return Some("kube-vip");
    }
    // A static Pod has no labels of its own.
    if pod.namespace().as_deref() == Some("kube-system") && pod.name_any().starts_with("kube-vip") {
        return Some("kube-vip");
    }
    if is("app.kubernetes.io/name", "purelb") || is("app", "purelb") {
        return Some("PureLB");
    }
    if is("app", "openelb-controller") || is("app.kubernetes.io/name", "openelb") {
        return Some("OpenELB");
    }
    None
}

fn other_balancers(cluster: &ClusterView, others: &OtherObjects) -> DoctorFinding {
    if let Some(absence) = &others.no_pods {
        return DoctorFinding::unknown(DoctorCheck::OtherBalancers, absence.to_string());
    }
    let cilium = others
        .cilium
        .then_some("Cilium (L2 announcements or BGP control plane)");
    let mut found: Vec<&str> = others.pods.iter().filter_map(balancer_of).chain(cilium).collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return DoctorFinding::pass(DoctorCheck::OtherBalancers, "none of those that are known");
    }
    let remedy = if found == ["MetalLB"] {
        "if this is a migration, follow the page \"In place of MetalLB\" of the documentation; otherwise remove one of the two"
    } else {
        "remove it, or give each a spec.loadBalancerClass of its own (loadBalancerClass in the values of the chart)"
    };
    let text = names(found);
    if cluster.installation.class().is_some() {
        let class = cluster.installation.class().unwrap_or_default();
        return DoctorFinding::pass(
            DoctorCheck::OtherBalancers,
            format!(
                "{text}; Herald handles only Services of the class {class}, which must not be theirs, too"
            ),
        );
    }
    DoctorFinding::warn(
        DoctorCheck::OtherBalancers,
        format!("{text}: may handle Services without a class, too"),
        remedy,
    )
}
