//! The Pods of MetalLB, which Herald can run beside.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

/// How much later than its deadline a Pod that is deleted counts as gone: the clock of this node may be ahead.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(10);

/// A program of MetalLB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetalLbProgram {
    /// Gives addresses to Services.
    Controller,
    /// Announces the addresses.
    Speaker,
    /// Has the sessions of BGP for the speaker, on each node: the daemon of frr-k8s, which MetalLB's chart installs.
    FrrK8s,
}

/// A ConfigMap of MetalLB that Herald does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadConfigMap {
    /// Its name.
    pub name: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

impl UnreadConfigMap {
    /// That of the interfaces comes first.
    const ALL: [Self; 3] = [
        Self {
            name: "metallb-excludel2",
            instead: "if its list was edited, set speaker.excludeInterfaces.announcedInterfacesToExclude to that list in the \
                      chart's values",
        },
        Self {
            name: "metallb-memberlist-config",
            instead: "Herald's gossip has fixed timings; for slow or wide-area networks set speaker.wanConfig: true in the chart's \
                      values",
        },
        Self {
            name: "bgpextras",
            instead: "it is raw configuration of FRR, which does not run here; write what it did for sessions and routes into BGPPeers \
                      and BGPAdvertisements, and the rest into the configuration of the routers",
        },
    ];

    /// Returns all of them. Without MetalLB the ConfigMap of interfaces is Herald's.
    pub const fn all(has_metallb: bool) -> &'static [Self] {
        match &Self::ALL {
            all if has_metallb => all,
            [_, others @ ..] => others,
        }
    }
}

/// A Pod of MetalLB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetalLbPod {
    /// What it runs.
    pub program: MetalLbProgram,
    /// The name of the node that it runs on.
    pub node: Option<String>,
    /// Whether the API server considers it ready.
    pub is_ready: bool,
    has_ended: bool,
    /// When the kubelet has to have ended it, after it was deleted.
    deadline: Option<Timestamp>,
}

impl MetalLbPod {
    /// Whether it runs, or may run later. The object of a Pod whose node is gone can stay for ever.
    pub fn is_left(&self, now: Timestamp) -> bool {
        let is_over = |deadline: Timestamp| {
            now.duration_since(deadline) > CLOCK_DIFFERENCE.try_into().unwrap_or_default()
        };
        !self.has_ended && !self.deadline.is_some_and(is_over)
    }
}

/// Returns a Pod of MetalLB; `None` for other Pods.
pub fn metallb_pod(pod: &Pod) -> Option<MetalLbPod> {
    let program = metallb_program(pod.labels())?;
    let status = pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| &status.conditions).flatten();
    let phase = status.and_then(|status| status.phase.as_deref());
    Some(MetalLbPod {
        program,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        is_ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        has_ended: matches!(phase, Some("Succeeded" | "Failed")),
        deadline: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
    })
}

/// Returns the program of MetalLB that a Pod runs, by the labels that MetalLB's chart and its manifests, and those of frr-k8s, give to
/// Pods; `None` for other Pods. Components of frr-k8s besides its daemon have no sessions.
fn metallb_program(labels: &BTreeMap<String, String>) -> Option<MetalLbProgram> {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let (program, component) = match (label("app.kubernetes.io/name"), label("app")) {
        (Some(program @ ("metallb" | "frr-k8s")), _) => (program, label("app.kubernetes.io/component")),
        (_, Some(program @ ("metallb" | "frr-k8s"))) => (program, label("component")),
        _ => return None,
    };
    match (program, component) {
        ("metallb", Some("controller")) => Some(MetalLbProgram::Controller),
        ("metallb", Some("speaker")) => Some(MetalLbProgram::Speaker),
        ("frr-k8s", None | Some("frr-k8s")) => Some(MetalLbProgram::FrrK8s),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_of_metallb_is_left_until_it_has_ended_or_its_deletion_is_overdue() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let is_left = |deletion: Option<&str>, phase: &str| {
            let pod = json!({
                "metadata": {"labels": {"app": "metallb", "component": "speaker"}, "deletionTimestamp": deletion},
                "spec": {"nodeName": "a", "containers": []},
                "status": {"phase": phase},
            });
            let pod = metallb_pod(&serde_json::from_value(pod).expect("a Pod")).expect("one of MetalLB");
            assert_eq!((pod.node.as_deref(), pod.is_ready), (Some("a"), false));
            pod.is_left(now)
        };
        assert!(is_left(None, "Pending"));
        assert!(is_left(None, "Running"));
        assert!(!is_left(None, "Succeeded"));
        assert!(!is_left(None, "Failed"));
        assert!(
            is_left(Some("2026-01-01T00:01:30Z"), "Running"),
            "it has time left"
        );
        assert!(is_left(Some("2026-01-01T00:00:55Z"), "Running"), "clocks differ");
        assert!(
            !is_left(Some("2026-01-01T00:00:30Z"), "Running"),
            "its node is dead"
        );
    }

    #[test]
    fn pods_of_metallb_are_recognized_by_the_labels_of_its_chart_and_of_its_manifests() {
        let program = |labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()));
            metallb_program(&labels.collect())
        };
        let (name, component) = ("app.kubernetes.io/name", "app.kubernetes.io/component");
        let speaker = Some(MetalLbProgram::Speaker);
        let controller = Some(MetalLbProgram::Controller);
        assert_eq!(program(&[(name, "metallb"), (component, "speaker")]), speaker);
        assert_eq!(
            program(&[(name, "metallb"), (component, "controller")]),
            controller
        );
        assert_eq!(program(&[("app", "metallb"), ("component", "speaker")]), speaker);
        assert_eq!(
            program(&[("app", "metallb"), ("component", "controller")]),
            controller
        );
        assert_eq!(program(&[("app", "metallb"), (component, "speaker")]), None);
        assert_eq!(program(&[(name, "metallb"), (component, "frr-k8s")]), None);
        assert_eq!(program(&[(name, "herald"), (component, "speaker")]), None);
        assert_eq!(program(&[]), None);
        let frr = Some(MetalLbProgram::FrrK8s);
        assert_eq!(program(&[(name, "frr-k8s"), (component, "frr-k8s")]), frr);
        assert_eq!(
            program(&[("app", "frr-k8s"), ("control-plane", "frr-k8s")]),
            frr,
            "of its manifests"
        );
        assert_eq!(
            program(&[(name, "frr-k8s"), (component, "frr-k8s-statuscleaner")]),
            None
        );
    }
}
