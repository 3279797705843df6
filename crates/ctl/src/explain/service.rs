//! Why a Service has its addresses or none, who announces them, and what to do next.

mod next;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use herald_api::convert;
use herald_core::ServiceKey;
use herald_core::announce::eligibility::{Endpoints, TrafficPolicy};
use herald_core::ipam::{AllocationOutcome, PoolOutcome};
use k8s_openapi::api::core::v1::Service;
use serde::Serialize;

use super::announcement::AddressAnnouncement;
use super::history::History;
use crate::cluster::ClusterView;
use crate::model::{AnnouncementModel, Model, endpoints};
use crate::output::{Printable, Table, error, good, heading, quoted, unknown_text, warning};

/// Mistakes of other objects that are printed.
const MISTAKES: usize = 5;

/// The explanation of a Service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceExplanation {
    pub(crate) service: String,
    /// Why Herald does not handle the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_handled: Option<String>,
    /// `status.loadBalancer.ingress`.
    pub(crate) addresses: Vec<String>,
    allocation: Option<AllocationExplanation>,
    pub(crate) announcements: Vec<AddressAnnouncement>,
    data_path: DataPath,
    history: History,
    /// The mistakes of pools, advertisements and peers: of these resources the last good version is in force, if there is one, which
    /// is on no object.
    problems: Vec<String>,
    /// What could not be read.
    unknown: Vec<String>,
    /// The one thing to do next.
    pub(crate) next: Next,
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
pub(crate) struct Next {
    /// Whether all is as it should be, as far as is known.
    pub(crate) is_well: bool,
    pub(crate) text: String,
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
    let addresses = convert::ingress_addresses(service).into_iter().collect();
    Ok(ServiceExplainer::new(cluster, model, &addresses).explain(service, history))
}

/// Explains Services, with what all explanations need computed once.
pub(crate) struct ServiceExplainer<'a> {
    cluster: &'a ClusterView,
    model: &'a mut Model,
    announcements: AnnouncementModel,
    endpoints: BTreeMap<ServiceKey, Arc<Endpoints>>,
}

impl<'a> ServiceExplainer<'a> {
    /// Prepares to explain Services that have some of `addresses` and no others.
    pub(crate) fn new(cluster: &'a ClusterView, model: &'a mut Model, addresses: &BTreeSet<IpAddr>) -> Self {
        let ClusterView {
            installation,
            objects,
            states,
            ..
        } = cluster;
        Self {
            announcements: AnnouncementModel::of(addresses, objects, states, installation, model),
            endpoints: endpoints(objects),
            cluster,
            model,
        }
    }

    /// Explains a Service of the cluster.
    pub(crate) fn explain(&mut self, service: &Service, history: History) -> ServiceExplanation {
        let cluster = self.cluster;
        let key = convert::key(service);
        // Without the Pods the class that Herald handles is not known.
        let no_pods = cluster.absent(&["Pod"]);
        let not_handled = not_handled(service, cluster.installation.class()).filter(|_| no_pods.is_none());
        let held = convert::ingress_addresses(service);
        let announced = held.iter().filter(|_| not_handled.is_none());
        let explain = |address| AddressAnnouncement::new(cluster, &self.announcements, &key, address);
        let announcements = announced.copied().map(explain).collect();
        let no_events = history.unknown.clone();
        let is_known = cluster
            .absent(&["Pod", "Service", "Namespace", "IPAddressPool", "Node"])
            .is_none();
        let allocation = if not_handled.is_none() && is_known {
            allocation(self.model, &key)
        } else {
            None
        };
        let endpoints = self.endpoints.get(&key).cloned().unwrap_or_default();
        let mut explanation = ServiceExplanation {
            service: key.to_string(),
            not_handled,
            addresses: held.iter().map(ToString::to_string).collect(),
            allocation,
            announcements,
            data_path: data_path(cluster, service, &endpoints),
            history,
            problems: self.model.problems().collect(),
            unknown: cluster.unknown.iter().cloned().chain(no_events).collect(),
            next: Next {
                is_well: true,
                text: String::new(),
            },
            today: self.model.today,
        };
        explanation.next = explanation.next(cluster, self.model);
        explanation
    }
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
pub(crate) fn message(outcome: &PoolOutcome) -> String {
    let list = |addresses: &[IpAddr]| {
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

fn data_path(cluster: &ClusterView, service: &Service, endpoints: &Endpoints) -> DataPath {
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
        if !self.problems.is_empty() {
            text += &format!("\n{}\n", heading("Mistakes of other objects"));
            for problem in self.problems.iter().take(MISTAKES) {
                text += &format!("  {}\n", crate::output::escaped(problem));
            }
            if let Some(more) = self.problems.len().checked_sub(MISTAKES + 1) {
                text += &format!("  and {} more; heraldctl doctor names them\n", more + 1);
            }
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
