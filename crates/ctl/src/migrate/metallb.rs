//! MetalLB as it runs in the cluster, and what it has there that Herald does not read.

use std::collections::BTreeSet;

use herald_api::convert::{MetalLbPod, MetalLbProgram, UnreadConfigMap, metallb_pod};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Error, ResourceExt};
use serde_json::Value;

use super::{MigrationCheck, MigrationFinding, values};
use crate::cluster::{Absence, ClusterView, flag, list, plain};
use crate::doctor::names;

/// The objects of MetalLB that Herald has none of.
#[derive(Debug, Default)]
pub(super) struct MetalLbObjects {
    /// Its Pods, with what they are.
    pub(super) pods: Vec<(Pod, MetalLbPod)>,
    /// Why Pods are unknown.
    pub(super) no_pods: Option<Absence>,
    /// The `ConfigMap`s that exist, each with its namespace and what to do instead.
    config_maps: Vec<(String, UnreadConfigMap)>,
    /// The namespaces with a `ConfigMap` that configured MetalLB before version 0.13.
    old_configurations: Vec<String>,
    /// The `FRRConfiguration`s, as `NAMESPACE/NAME`.
    pub(super) frr_configurations: Vec<String>,
    /// What could not be read.
    pub(super) unknown: Vec<(MigrationCheck, String)>,
}

/// The programs that Herald takes the place of in their namespace.
const OWN_PROGRAMS: [MetalLbProgram; 2] = [MetalLbProgram::Controller, MetalLbProgram::Speaker];
/// The key of the list in the `ConfigMap` of interfaces.
const INTERFACES: &str = "excludel2.yaml";
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
            match maps.get_opt(unread.name).await {
                Ok(Some(map)) => self.add_config_map(namespace, *unread, &map),
                Ok(None) => {}
                Err(error) => {
                    let text = format!("ConfigMap {namespace}/{}: {}", unread.name, plain(&error));
                    self.unknown.push((MigrationCheck::ConfigMaps, text));
                }
            }
        }
        match maps.get_opt(OLD_CONFIGURATION).await {
            Ok(map) => {
                let data = map.and_then(|map| map.data).unwrap_or_default();
                if data.contains_key(OLD_CONFIGURATION) {
                    self.old_configurations.push(namespace.to_owned());
                }
            }
            Err(error) => {
                let text = format!("ConfigMap {namespace}/{OLD_CONFIGURATION}: {}", plain(&error));
                self.unknown.push((MigrationCheck::ConfigMaps, text));
            }
        }
    }

    /// Adds a `ConfigMap`, if it says something that Herald would not do without it.
    pub(super) fn add_config_map(&mut self, namespace: &str, unread: UnreadConfigMap, map: &ConfigMap) {
        if !has_default_interfaces(map) {
            self.config_maps.push((namespace.to_owned(), unread));
        }
    }

    fn of(&self, programs: &[MetalLbProgram]) -> impl Iterator<Item = &(Pod, MetalLbPod)> {
        self.pods
            .iter()
            .filter(move |(_, pod)| programs.contains(&pod.program))
    }

    /// Returns the namespaces with Pods of these programs.
    fn namespaces_of(&self, programs: &[MetalLbProgram]) -> BTreeSet<String> {
        self.of(programs).filter_map(|(pod, _)| pod.namespace()).collect()
    }

    fn namespaces(&self) -> BTreeSet<String> {
        self.namespaces_of(&OWN_PROGRAMS)
    }

    /// Returns the namespace that MetalLB reads its resources of; `None` if it is not known.
    pub(super) fn namespace(&self) -> Option<String> {
        let mut namespaces = self.namespaces();
        let first = namespaces.pop_first();
        first.filter(|_| namespaces.is_empty())
    }

    /// Whether Pods of it are known.
    pub(super) fn runs(&self) -> bool {
        self.of(&OWN_PROGRAMS).next().is_some()
    }

    /// Whether a Pod of a program runs, or may run later.
    pub(super) fn is_left(&self, program: MetalLbProgram, today: Timestamp) -> bool {
        self.of(&[program]).any(|(_, pod)| pod.is_left(today))
    }

    /// Whether frr-k8s has the sessions of BGP, by the environment of MetalLB's Pods.
    pub(super) fn uses_frr_k8s(&self) -> bool {
        let specs = self.of(&OWN_PROGRAMS).filter_map(|(pod, _)| pod.spec.as_ref());
        let mut variables = specs
            .flat_map(|spec| &spec.containers)
            .flat_map(|container| container.env.iter().flatten());
        variables.any(|variable| {
            variable.name == "METALLB_BGP_TYPE" && variable.value.as_deref() == Some("frr-k8s")
        })
    }

    /// Returns the class of the Services that MetalLB handles; `None` if its Pods do not say one.
    pub(super) fn class(&self) -> Option<String> {
        let pods = self.pods.iter().filter_map(|(pod, _)| pod.spec.as_ref());
        let mut arguments = pods
            .flat_map(|spec| &spec.containers)
            .filter_map(|container| container.args.as_deref());
        arguments.find_map(|arguments| flag(arguments, "--lb-class").map(str::to_owned))
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
        let mut findings = vec![self.pods_finding(cluster)];
        findings.extend(self.frr_pods_finding());
        findings.extend(self.frr_findings(cluster));
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
        let of = |program| self.of(&[program]).count();
        let (controllers, speakers) = (of(MetalLbProgram::Controller), of(MetalLbProgram::Speaker));
        if controllers + speakers == 0 {
            return MigrationFinding::fail(
                MigrationCheck::MetalLb,
                "no Pod has the labels of MetalLB",
                "if MetalLB runs under other labels (nameOverride of its chart), Herald does not see it, and both would announce: do not \
                 install Herald beside it",
            );
        }
        let namespaces: Vec<String> = self.namespaces().into_iter().collect();
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

    /// Herald waits for the daemon of frr-k8s only where it sees its Pods.
    fn frr_pods_finding(&self) -> Option<MigrationFinding> {
        let elsewhere: Vec<String> = self.frr_namespaces_elsewhere();
        (!elsewhere.is_empty()).then(|| {
            MigrationFinding::warn(
                MigrationCheck::MetalLb,
                format!("frr-k8s runs in {}, where Herald does not see it", elsewhere.join(", ")),
                "Herald will connect to the same routers as frr-k8s does: delete the FRRConfigurations metallb-NODE before you remove MetalLB",
            )
        })
    }

    fn frr_namespaces_elsewhere(&self) -> Vec<String> {
        let namespaces = self.namespaces_of(&[MetalLbProgram::FrrK8s]);
        namespaces.difference(&self.namespaces()).cloned().collect()
    }

    /// Whether the daemon of frr-k8s goes with MetalLB: that of its chart does. Pods of the manifests have other labels.
    fn is_removed_with_frr_k8s(&self) -> bool {
        let is_of_chart = |(pod, _): &(Pod, MetalLbPod)| pod.labels().contains_key("app.kubernetes.io/name");
        self.of(&[MetalLbProgram::FrrK8s]).next().is_some()
            && self.pods.iter().all(is_of_chart)
            && self.frr_namespaces_elsewhere().is_empty()
    }

    fn frr_findings(&self, cluster: &ClusterView) -> Vec<MigrationFinding> {
        let check = MigrationCheck::FrrConfigurations;
        // MetalLB writes one for each node.
        let is_of_metallb = |name: &&String| {
            let node = name
                .split('/')
                .next_back()
                .and_then(|name| name.strip_prefix("metallb-"));
            node.is_some_and(|node| cluster.objects.nodes.iter().any(|one| one.name_any() == node))
        };
        let (own, foreign): (Vec<&String>, Vec<&String>) =
            self.frr_configurations.iter().partition(is_of_metallb);
        let listed = |some: &[&String]| names(some.iter().map(|name| name.as_str()));
        let mut findings = Vec::new();
        if !foreign.is_empty() {
            findings.push(MigrationFinding::warn(
                check,
                format!("{} that MetalLB did not write: {}", foreign.len(), listed(&foreign)),
                "they have no counterpart in Herald (received routes, prepending, raw configuration): move what they do to the routers, or \
                 keep frr-k8s for other peers than those of Herald",
            ));
        }
        if !own.is_empty() && !self.is_removed_with_frr_k8s() {
            findings.push(MigrationFinding::warn(
                check,
                format!(
                    "{} of MetalLB, which may stay in force without it: {}",
                    own.len(),
                    listed(&own)
                ),
                "delete metallb-NODE of each node before you remove MetalLB: otherwise frr-k8s and Herald connect to the same routers",
            ));
        } else if !own.is_empty() {
            findings.push(MigrationFinding::pass(
                check,
                format!(
                    "{} of MetalLB, which have no effect without its frr-k8s",
                    own.len()
                ),
            ));
        }
        let is_known = self.unknown.iter().all(|(unknown, _)| *unknown != check);
        if findings.is_empty() && is_known {
            findings.push(MigrationFinding::pass(check, "none"));
        }
        findings
    }
}

/// Whether this is the `ConfigMap` of interfaces as MetalLB makes it, whose list is the default of Herald's chart as well.
fn has_default_interfaces(map: &ConfigMap) -> bool {
    let text = map.data.as_ref().and_then(|data| data.get(INTERFACES));
    let Some(parsed) = text.and_then(|text| serde_saphyr::from_str::<Value>(text).ok()) else {
        return false;
    };
    let set = |list: &Value| -> Option<BTreeSet<String>> {
        let items = list.as_array()?.iter();
        items.map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let defaults = values::defaults();
    let default = &defaults["speaker"]["excludeInterfaces"]["announcedInterfacesToExclude"];
    let own = set(&parsed["announcedInterfacesToExclude"]);
    own.is_some() && own == set(default)
}
