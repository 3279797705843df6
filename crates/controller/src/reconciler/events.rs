//! Kubernetes Events about decisions.

use herald_api::reason::EventReason;
use herald_core::ipam::{AllocationOutcome, Decision, Refusal};
use herald_runtime::event::{LONGEST_MESSAGE, Severity};
use herald_runtime::log::shorten;

use super::ServiceEvent;
use crate::observed::ObservedService;

/// Returns what to report of a decision.
pub(super) fn events(observed: &ObservedService, decision: &Decision) -> Vec<ServiceEvent> {
    use Severity::{Normal, Warning};
    let event = |severity, reason, note| ServiceEvent {
        about: observed.reference(),
        severity,
        reason,
        note,
    };
    let notes = decision.notes.iter().map(|note| {
        let severity = if note.is_warning() { Warning } else { Normal };
        event(severity, note.reason(), shorten(note, LONGEST_MESSAGE))
    });
    let refusal = match &decision.outcome {
        // Kubernetes is about to give the Service cluster IPs; the user has nothing to do.
        AllocationOutcome::Assigned(_) | AllocationOutcome::Unassigned(Refusal::NoClusterIps) => None,
        AllocationOutcome::Unassigned(refusal) => {
            let service = &decision.service;
            let note = format_args!("Failed to allocate IP for \"{service}\": {refusal}");
            Some(shorten(note, LONGEST_MESSAGE))
        }
    };
    let refusal = refusal.map(|note| event(Warning, EventReason::AllocationFailed.reason(), note));
    let deprecated = observed.deprecated.iter().map(|annotation| {
        let note = format!("Service uses deprecated annotation {annotation}");
        event(Warning, EventReason::DeprecatedAnnotation.reason(), note)
    });
    let labels = observed.has_too_long_labels.then(|| {
        let note = "Service has more than 64 labels or 16 kB of labels: it counts as one without labels";
        event(Warning, EventReason::LabelsTooLong.reason(), note.to_owned())
    });
    notes.chain(refusal).chain(deprecated).chain(labels).collect()
}
