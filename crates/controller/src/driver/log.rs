//! What the driver logs of decisions and writes.

use herald_core::ServiceKey;
use herald_core::ipam::{AllocationOutcome, Note, Refusal};
use herald_runtime::client::is_away;
use herald_runtime::log::shorten;
use herald_runtime::reconcile::Written;
use tracing::{info, warn};

use crate::write::StatusTarget;

/// Bytes of a refusal in the log.
const LONGEST_LOG: usize = 1024;

/// Logs what was decided on a Service.
pub(super) fn log_decision(service: &ServiceKey, outcome: &AllocationOutcome, caveat: Option<&Note>) {
    match outcome {
        AllocationOutcome::Assigned(assignment) => {
            info!(%service, addresses = ?assignment.addresses, pool = %assignment.pool, "assigned");
        }
        AllocationOutcome::Unassigned(Refusal::NoClusterIps) => {}
        AllocationOutcome::Unassigned(refusal) => {
            // The log is for operators, who may know the Services of all namespaces.
            let text = shorten(format_args!("{refusal:#}"), LONGEST_LOG);
            info!(%service, reason = refusal.reason(), "no address: {text}");
        }
    }
    if let Some(note @ Note::UsedExternally { .. }) = caveat {
        let text = shorten(format_args!("{note:#}"), LONGEST_LOG);
        warn!(%service, reason = note.reason(), "{text}");
    }
}

/// Logs why a write failed.
pub(super) fn log_failure(target: &StatusTarget, written: &Written) {
    match written {
        Written::Refused(error) => {
            warn!(
                ?target,
                error,
                "the API server refuses a status: check the permission to patch services/status, ipaddresspools/status and l2advertisements/status and to delete servicel2statuses, and admission policies; trying again later"
            );
        }
        Written::Failed(_) if is_away() => {}
        Written::Failed(error) => warn!(?target, error, "a status could not be written; trying again"),
        Written::Fenced => warn!(?target, "not written: the lease has run out"),
        Written::Version(_) | Written::Outdated => {}
    }
}
