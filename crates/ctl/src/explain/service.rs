//! Why a Service has its addresses or none, who announces them, and what to do next.

mod next;

use std::collections::BTreeSet;

use anyhow::Context;
use herald_api::convert;
use herald_core::ServiceKey;
use herald_core::announce::eligibility::TrafficPolicy;
use herald_core::ipam::{AllocationOutcome, PoolOutcome};
use k8s_openapi::api::core::v1::Service;
use serde::Serialize;

use super::announcement::AddressAnnouncement;
use super::history::History;
use crate::cluster::ClusterView;
use crate::model::{AnnouncementModel, Model, endpoints};
use crate::output::{Printable, Table, error, good, heading, quoted, unknown_text, warning};

/// The explanation of a Service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceExplanation {
    service: String,
    /// Why Herald does not handle the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_handled: Option<String>,
    /// `status.loadBalancer.ingress`.
    addresses: Vec<String>,
    allocation: Option<AllocationExplanation>,
    announcements: Vec<AddressAnnouncement>,
    data_path: DataPath,
    history: History,
    /// The mistakes of pools, advertisements and peers: of these resources the last good version is in force, if there is one, which
    /// is on no object.
    problems: Vec<String>,
    /// What could not be read.
    unknown: Vec<String>,
    /// The one thing to do next.
    next: Next,
    #[serde(skip)]
    today: jiff::Timestamp,
}

/// What the controller decides on it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AllocationExplanation {
    /// The addresses that it is to have.
    addresses: Vec<String>,
    pool: Option<String>,
    /// Why it is to have none: the reason and the message.
    refusal: Option<(String, String)>,
    /// What is not as it should be although it has addresses.
    caveat: Option<(String, String)>,
    pools: Vec<PoolAnswer>,
}

/// What a pool says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolAnswer {
    pool: String,
    reason: &'static str,
    message: String,
}

/// Where its traffic goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataPath {
    external_traffic_policy: &'static str,
    health_check_node_port: Option<i32>,
    /// Whether the endpoints are known.
    is_known: bool,
    has_endpoints: bool,
    /// The nodes with a ready endpoint.
    ready_on: Vec<String>,
    /// The nodes with endpoints that all terminate.
    terminating_on: Vec<String>,
}

/// What to do next.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Next {
    /// Whether all is as it should be, as far as is known.
    is_well: bool,
    text: String,
}

/// Explains a Service.
///
/// # Errors
/// When there is no such Service.
pub(crate) fn explain(
    cluster: &ClusterView,
    model: &mut Model,
    key: &ServiceKey,
    history: History,
) -> anyhow::Result<ServiceExplanation> {
    let mut services = cluster.objects.services.iter();
    let service = services
        .find(|service| convert::key(service) == *key)
        .with_context(|| match cluster.objects.missing.get("Service") {
            Some(absence) => absence.to_string(),
            None => format!("there is no Service {key}"),
        })?;
    // Without the Pods the class that Herald handles is not known.
    let no_pods = cluster.absent(&["Pod"]);
    let not_handled = not_handled(service, cluster.installation.class()).filter(|_| no_pods.is_none());
    let held = convert::ingress_addresses(service);
    let addresses: BTreeSet<_> = held.iter().copied().collect();
    let announcements = if not_handled.is_some() || addresses.is_empty() {
        Vec::new()
    } else {
        let announcements = AnnouncementModel::of(
            &addresses,
            &cluster.objects,
            &cluster.states,
            &cluster.installation,
            model,
        );
        let explain = |address| AddressAnnouncement::new(cluster, &announcements, key, address);
        held.iter().copied().map(explain).collect()
    };
    let no_events = history.unknown.clone();
    let is_known = cluster
        .absent(&["Pod", "Service", "Namespace", "IPAddressPool", "Node"])
        .is_none();
    let allocation = if not_handled.is_none() && is_known {
        allocation(model, key)
    } else {
        None
    };
    let mut explanation = ServiceExplanation {
        service: key.to_string(),
        not_handled,
        addresses: held.iter().map(ToString::to_string).collect(),
        allocation,
        announcements,
        data_path: data_path(cluster, service, key),
        history,
        problems: model.problems().collect(),
        unknown: cluster.unknown.iter().cloned().chain(no_events).collect(),
        next: Next {
            is_well: true,
            text: String::new(),
        },
        today: model.today,
    };
    explanation.next = explanation.next(cluster);
    Ok(explanation)
}

/// Returns why Herald does not handle a Service.
fn not_handled(service: &Service, class: Option<&str>) -> Option<String> {
    if convert::is_ours(service, class) {
        return None;
    }
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP");
    if kind != "LoadBalancer" {
        return Some(format!(
            "it is of type {kind}; only Services of type LoadBalancer get an address"
        ));
    }
    let own = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    let own = own.map_or_else(
        || "no loadBalancerClass".to_owned(),
        |own| format!("the loadBalancerClass {}", quoted(own)),
    );
    let ours = class.map_or_else(
        || "those without one".to_owned(),
        |class| format!("those of class {}", quoted(class)),
    );
    Some(format!(
        "it has {own}, and Herald handles {ours}; if Herald should handle it, create it with that class (the class of a Service of type \
         LoadBalancer cannot be changed)"
    ))
}

fn allocation(model: &mut Model, key: &ServiceKey) -> Option<AllocationExplanation> {
    let (outcome, caveat) = model.allocator.decision(key)?;
    let pools = model.allocator.explain(key, model.now)?;
    let (addresses, pool, refusal) = match outcome {
        AllocationOutcome::Assigned(assignment) => {
            let addresses = assignment.addresses.iter().map(ToString::to_string).collect();
            (addresses, Some(assignment.pool.to_string()), None)
        }
        AllocationOutcome::Unassigned(refusal) => (
            Vec::new(),
            None,
            Some((refusal.reason().to_owned(), format!("{refusal:#}"))),
        ),
    };
    let line = |(pool, outcome): (_, PoolOutcome)| PoolAnswer {
        pool: format!("{pool}"),
        reason: outcome.reason(),
        message: message(&outcome),
    };
    Some(AllocationExplanation {
        addresses,
        pool,
        refusal,
        caveat: caveat.map(|note| (note.reason().to_owned(), format!("{note:#}"))),
        pools: pools.into_iter().map(line).collect(),
    })
}

/// Returns what a pool says, as a sentence.
pub(super) fn message(outcome: &PoolOutcome) -> String {
    let list = |addresses: &[std::net::IpAddr]| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    };
    match outcome {
        PoolOutcome::Held(addresses) => format!("the Service has {}", list(addresses)),
        PoolOutcome::Offered(addresses) => format!("would give {}", list(addresses)),
        PoolOutcome::OnRequestOnly => {
            "autoAssign is false, and the Service does not ask for the pool (metallb.io/address-pool)"
                .to_owned()
        }
        PoolOutcome::NotRequested => {
            "the Service asks for another pool, or for addresses of another pool".to_owned()
        }
        PoolOutcome::Refused(refusal) => format!("{refusal:#}"),
    }
}

fn data_path(cluster: &ClusterView, service: &Service, key: &ServiceKey) -> DataPath {
    let endpoints = endpoints(&cluster.objects).remove(key).unwrap_or_default();
    let ready = endpoints.nodes.difference(&endpoints.terminating);
    let spec = service.spec.as_ref();
    DataPath {
        external_traffic_policy: match convert::exposure(service).traffic_policy {
            TrafficPolicy::Cluster => "Cluster",
            TrafficPolicy::Local => "Local",
        },
        health_check_node_port: spec
            .and_then(|spec| spec.health_check_node_port)
            .filter(|port| *port != 0),
        is_known: cluster.absent(&["EndpointSlice"]).is_none(),
        has_endpoints: endpoints.any,
        ready_on: ready.map(ToString::to_string).collect(),
        terminating_on: endpoints.terminating.iter().map(ToString::to_string).collect(),
    }
}

impl Printable for ServiceExplanation {
    fn text(&self, is_wide: bool) -> String {
        let addresses = if self.addresses.is_empty() {
            warning("no address")
        } else {
            self.addresses.join(", ")
        };
        let mut text = format!("Service {}: {addresses}\n", heading(&self.service));
        if let Some(allocation) = &self.allocation {
            text += &allocation.text();
        }
        if !self.announcements.is_empty() {
            text += &format!("\n{}\n", heading("Announcement"));
            for announcement in &self.announcements {
                text += &announcement.text(is_wide);
            }
        }
        text += &self.data_path.text();
        if !self.history.is_empty() {
            text += &format!("\n{}\n{}", heading("History"), self.history.text(self.today));
        }
        text += &unknown_text(&self.unknown);
        let mark = if self.next.is_well {
            good("Next")
        } else {
            error("Next")
        };
        text + &format!("\n{mark}: {}\n", crate::output::escaped(&self.next.text))
    }
}

impl AllocationExplanation {
    fn text(&self) -> String {
        let outcome = match (&self.refusal, &self.pool) {
            (Some((reason, message)), _) => {
                format!("{}: {}", warning(reason), crate::output::escaped(message))
            }
            (None, Some(pool)) => format!("{} of pool {}", self.addresses.join(", "), quoted(pool)),
            (None, None) => self.addresses.join(", "),
        };
        let mut text = format!("\n{}\n  {outcome}\n", heading("Allocation"));
        if let Some((reason, message)) = &self.caveat {
            text += &format!("  {}: {}\n", warning(reason), crate::output::escaped(message));
        }
        let mut table = Table::new(&["POOL", "OUTCOME", "WHY"]);
        for line in &self.pools {
            table.row([
                line.pool.as_str().into(),
                line.reason.into(),
                line.message.as_str().into(),
            ]);
        }
        if !table.is_empty() {
            text += &table.text(2);
        }
        text
    }
}

impl DataPath {
    fn text(&self) -> String {
        let list = |nodes: &[String]| {
            if nodes.is_empty() {
                "no node".to_owned()
            } else {
                nodes.join(", ")
            }
        };
        let mut text = format!(
            "\n{}\n  externalTrafficPolicy {}",
            heading("Data path"),
            self.external_traffic_policy
        );
        if let Some(port) = self.health_check_node_port {
            text += &format!(", healthCheckNodePort {port}");
        }
        if !self.is_known {
            text += "\n  the endpoints are unknown\n";
        } else if self.has_endpoints {
            text += &format!("\n  ready endpoints on {}\n", list(&self.ready_on));
        } else {
            text += &format!("\n  {}\n", warning("no endpoint that could serve a request"));
        }
        if !self.terminating_on.is_empty() {
            text += &format!("  only terminating endpoints on {}\n", list(&self.terminating_on));
        }
        text
    }
}
