//! Services that are not as they should be.

use herald_api::convert;
use herald_api::crd::{ALLOCATED, ANNOUNCED};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::output::{Table, good, heading, warning};

/// The Services that the text shows.
const SHOWN: usize = 20;

/// A Service without an address, or one that is not announced, or not as it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceLine {
    pub(crate) service: String,
    pub(super) addresses: Vec<String>,
    pub(crate) trouble: Trouble,
    /// The reason of the condition.
    pub(crate) reason: String,
    pub(super) message: String,
}

/// What is wrong, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Trouble {
    /// It has no address.
    NoAddress,
    /// No node announces it, or that is unknown.
    NotAnnounced,
    /// It has an address, and another one than it asks for.
    NotAsRequested,
}

impl Trouble {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no address",
            Self::NotAnnounced => "not announced",
            Self::NotAsRequested => "not as requested",
        }
    }
}

/// Returns how many Services Herald handles, and those in trouble.
pub(super) fn lines(services: &[Service], class: Option<&str>) -> (usize, Vec<ServiceLine>) {
    let handled = || services.iter().filter(|service| convert::is_ours(service, class));
    let mut troubled: Vec<ServiceLine> = handled().filter_map(line).collect();
    troubled.sort_by(|a, b| (a.trouble, &a.service).cmp(&(b.trouble, &b.service)));
    (handled().count(), troubled)
}

fn line(service: &Service) -> Option<ServiceLine> {
    let addresses = convert::ingress_addresses(service);
    let allocated = condition(service, ALLOCATED);
    let announced = condition(service, ANNOUNCED);
    let is_true = |condition: &&Condition| condition.status == "True";
    let (trouble, condition) = if addresses.is_empty() {
        (Trouble::NoAddress, allocated)
    } else if announced.is_none_or(|announced| !is_true(&announced)) {
        (Trouble::NotAnnounced, announced)
    } else if allocated.is_some_and(|allocated| !is_true(&allocated)) {
        (Trouble::NotAsRequested, allocated)
    } else {
        return None;
    };
    Some(ServiceLine {
        service: convert::key(service).to_string(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        trouble,
        reason: condition.map_or_else(|| "Pending".to_owned(), |condition| condition.reason.clone()),
        message: condition.map_or_else(String::new, |condition| condition.message.clone()),
    })
}

fn condition<'a>(service: &'a Service, kind: &str) -> Option<&'a Condition> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

pub(super) fn text(handled: Option<usize>, troubled: &[ServiceLine], is_wide: bool) -> String {
    let Some(handled) = handled else {
        return format!("\n{} unknown\n", heading("Services"));
    };
    let well = handled.saturating_sub(troubled.len());
    let summary = if troubled.is_empty() {
        good(&format!(
            "all {handled} have their addresses, and these are announced"
        ))
    } else {
        format!("{well} of {handled} have their addresses, and these are announced; the others:")
    };
    let mut text = format!("\n{} {summary}\n", heading("Services"));
    let mut table = Table::new(&["SERVICE", "ADDRESS", "TROUBLE", "REASON", "MESSAGE"]);
    let shown = if is_wide { usize::MAX } else { SHOWN };
    for line in troubled.iter().take(shown) {
        table.row([
            line.service.as_str().into(),
            line.addresses.join(",").into(),
            crate::output::Cell::from(line.trouble.as_str()).styled(warning),
            line.reason.as_str().into(),
            line.message.as_str().into(),
        ]);
    }
    if !table.is_empty() {
        text += &table.text(2);
    }
    if let more @ 1.. = troubled.len().saturating_sub(shown) {
        text += &format!("  and {more} more; -o wide shows all\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(name: &str, ingress: Value, conditions: &[(&str, &str)]) -> Service {
        let conditions = conditions.iter().map(|(kind, status)| {
            json!({"type": kind, "status": status, "reason": format!("Of{status}"), "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        });
        let conditions: Vec<Value> = conditions.collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"}, "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": ingress}, "conditions": conditions},
        }))
        .expect("a Service")
    }

    #[test]
    fn services_in_trouble_are_listed_worst_first() {
        let address = || json!([{"ip": "192.0.2.1"}]);
        let services = [
            service("kept", address(), &[(ALLOCATED, "False"), (ANNOUNCED, "True")]),
            service("well", address(), &[(ALLOCATED, "True"), (ANNOUNCED, "True")]),
            service("dark", address(), &[(ALLOCATED, "True"), (ANNOUNCED, "False")]),
            service("new", json!([]), &[]),
            service("refused", json!([]), &[(ALLOCATED, "False")]),
        ];
        let (handled, troubled) = lines(&services, None);
        let troubled = troubled
            .iter()
            .map(|line| (line.service.as_str(), line.trouble, line.reason.as_str()));
        let expected = [
            ("default/new", Trouble::NoAddress, "Pending"),
            ("default/refused", Trouble::NoAddress, "OfFalse"),
            ("default/dark", Trouble::NotAnnounced, "OfFalse"),
            ("default/kept", Trouble::NotAsRequested, "OfFalse"),
        ];
        assert_eq!((handled, troubled.collect::<Vec<_>>()), (5, expected.to_vec()));
        assert_eq!(lines(&services, Some("other")), (0, Vec::new()));
    }
}
