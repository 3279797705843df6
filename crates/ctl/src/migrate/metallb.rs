//! MetalLB as it runs in the cluster, and what it has there that Herald does not read.

use herald_api::convert::{MetalLbPod, MetalLbProgram, UnreadConfigMap, metallb_pod};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Error, ResourceExt};

use super::{MigrationCheck, MigrationFinding};
use crate::cluster::{Absence, ClusterView, list, plain};
use crate::doctor::names;

/// The objects of MetalLB that Herald has none of.
#[derive(Debug, Default)]
pub(super) struct MetalLbObjects {
    /// Its Pods, with what they are.
    pub(super) pods: Vec<(Pod, MetalLbPod)>,
    /// Why Pods are unknown.
    no_pods: Option<Absence>,
    /// The `ConfigMap`s that exist, each with its namespace and what to do instead.
    config_maps: Vec<(String, UnreadConfigMap)>,
    /// The namespaces with a `ConfigMap` that configured MetalLB before version 0.13.
    old_configurations: Vec<String>,
    /// The `FRRConfiguration`s, as `NAMESPACE/NAME`.
    frr_configurations: Vec<String>,
    unknown: Vec<(MigrationCheck, String)>,
}

/// The name and the key of the `ConfigMap` that configured MetalLB before version 0.13.
const OLD_CONFIGURATION: &str = "config";

impl MetalLbObjects {
    pub(super) async fn list(client: &Client) -> Self {
        let mut found = Self::default();
        match list::<Pod>(Api::all(client.clone()), ListParams::default()).await {
            Ok(pods) => found.set_pods(pods),
            Err(absence) => found.no_pods = Some(absence),
        }
        for namespace in found.namespaces() {
            found.read_config_maps(client, &namespace).await;
        }
        let kind = GroupVersionKind::gvk("frrk8s.metallb.io", "v1beta1", "FRRConfiguration");
        let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        match api.list_metadata(&ListParams::default()).await {
            Ok(listed) => {
                let names = listed.items.into_iter();
                let names =
                    names.map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()));
                found.frr_configurations = names.collect();
            }
            // Without frr-k8s the kind does not exist.
            Err(Error::Api(status)) if status.code == 404 => {}
            Err(error) => found
                .unknown
                .push((MigrationCheck::FrrConfigurations, plain(&error))),
        }
        found
    }

    /// Keeps those that are of MetalLB.
    pub(super) fn set_pods(&mut self, pods: Vec<Pod>) {
        let own = pods
            .into_iter()
            .filter_map(|pod| metallb_pod(&pod).map(|own| (pod, own)));
        self.pods = own.collect();
    }

    async fn read_config_maps(&mut self, client: &Client, namespace: &str) {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        for unread in UnreadConfigMap::all(true) {
            match maps.get_metadata_opt(unread.name).await {
                Ok(Some(_)) => self.config_maps.push((namespace.to_owned(), *unread)),
                Ok(None) => {}
                Err(error) => {
                    let text = format!("ConfigMap {namespace}/{}: {}", unread.name, plain(&error));
                    self.unknown.push((MigrationCheck::ConfigMaps, text));
                }
            }
        }
        let old = maps.get_opt(OLD_CONFIGURATION).await.ok().flatten();
        if old
            .and_then(|map| map.data)
            .is_some_and(|data| data.contains_key(OLD_CONFIGURATION))
        {
            self.old_configurations.push(namespace.to_owned());
        }
    }

    fn namespaces(&self) -> Vec<String> {
        let mut namespaces: Vec<String> = self.pods.iter().filter_map(|(pod, _)| pod.namespace()).collect();
        namespaces.sort();
        namespaces.dedup();
        namespaces
    }

    /// Returns the class of the Services that MetalLB handles; `None` if its Pods do not say one.
    pub(super) fn class(&self) -> Option<String> {
        let pods = self.pods.iter().filter_map(|(pod, _)| pod.spec.as_ref());
        let mut flags = pods
            .flat_map(|spec| &spec.containers)
            .flat_map(|container| container.args.iter().flatten());
        flags.find_map(|flag| flag.strip_prefix("--lb-class=").map(str::to_owned))
    }

    /// Returns the nodes with a speaker of MetalLB that is ready.
    pub(super) fn speaker_nodes(&self) -> Vec<&str> {
        let speakers = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.program == MetalLbProgram::Speaker && pod.is_ready);
        speakers.filter_map(|(_, pod)| pod.node.as_deref()).collect()
    }

    pub(super) fn findings(&self, cluster: &ClusterView) -> Vec<MigrationFinding> {
        let mut findings = vec![self.pods_finding(cluster), self.frr_finding()];
        findings.extend(self.config_maps.iter().map(|(namespace, unread)| {
            let found = format!("Herald does not read the ConfigMap {namespace}/{}", unread.name);
            MigrationFinding::warn(MigrationCheck::ConfigMaps, found, unread.instead)
        }));
        findings.extend(self.old_configurations.iter().map(|namespace| {
            let found = format!("the ConfigMap {namespace}/{OLD_CONFIGURATION} looks like the configuration of MetalLB before 0.13");
            MigrationFinding::warn(
                MigrationCheck::ConfigMaps,
                found,
                "if it is in force, print its resources by heraldctl convert, and apply them; otherwise delete it",
            )
        }));
        findings.extend(
            self.unknown
                .iter()
                .map(|(check, text)| MigrationFinding::unknown(*check, text)),
        );
        findings
    }

    fn pods_finding(&self, cluster: &ClusterView) -> MigrationFinding {
        if let Some(absence) = &self.no_pods {
            return MigrationFinding::unknown(MigrationCheck::MetalLb, absence.to_string());
        }
        let of = |program| {
            self.pods
                .iter()
                .filter(move |(_, pod)| pod.program == program)
                .count()
        };
        let (controllers, speakers) = (of(MetalLbProgram::Controller), of(MetalLbProgram::Speaker));
        if controllers + speakers == 0 {
            return MigrationFinding::fail(
                MigrationCheck::MetalLb,
                "no Pod has the labels of MetalLB",
                "if MetalLB runs under other labels (nameOverride of its chart), Herald does not see it, and both would announce: do not \
                 install Herald beside it",
            );
        }
        let namespaces = self.namespaces();
        let installed = cluster.installation.namespace.as_deref();
        if let Some(installed) =
            installed.filter(|installed| namespaces.iter().any(|namespace| namespace != installed))
        {
            return MigrationFinding::fail(
                MigrationCheck::MetalLb,
                format!(
                    "Herald is in the namespace {installed}, and MetalLB in {}",
                    namespaces.join(", ")
                ),
                "install Herald in the namespace of MetalLB: it sees no Pods of others",
            );
        }
        let frr = of(MetalLbProgram::FrrK8s);
        let frr = if frr > 0 {
            format!(", {frr} of frr-k8s")
        } else {
            String::new()
        };
        MigrationFinding::pass(
            MigrationCheck::MetalLb,
            format!(
                "{controllers} Pods of its controller and {speakers} of its speaker{frr} in {}",
                namespaces.join(", ")
            ),
        )
    }

    fn frr_finding(&self) -> MigrationFinding {
        let is_of_metallb = |name: &&String| {
            name.split('/')
                .next_back()
                .is_some_and(|name| name.starts_with("metallb-"))
        };
        let (own, foreign): (Vec<&String>, Vec<&String>) =
            self.frr_configurations.iter().partition(is_of_metallb);
        if !foreign.is_empty() {
            return MigrationFinding::warn(
                MigrationCheck::FrrConfigurations,
                format!(
                    "{} that MetalLB did not write: {}",
                    foreign.len(),
                    names(foreign.into_iter().map(String::as_str))
                ),
                "they have no counterpart in Herald (received routes, prepending, raw configuration): move what they do to the routers, or \
                 keep frr-k8s for other peers than those of Herald",
            );
        }
        if own.is_empty() {
            return MigrationFinding::pass(MigrationCheck::FrrConfigurations, "none");
        }
        MigrationFinding::pass(
            MigrationCheck::FrrConfigurations,
            format!(
                "{} of MetalLB, which go with it; delete those that are left after its removal",
                own.len()
            ),
        )
    }
}
