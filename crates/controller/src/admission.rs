//! Admission: what the API server is told of a pool, an advertisement or a Service before it is written.

mod review;

use herald_core::config::{Catalog, ConfigChange, Ineffective, ResourceKind};
use herald_core::{PoolName, Service, Time};
use herald_runtime::log::shorten;
use tokio::sync::oneshot;

use crate::effects::Effects;
use crate::reconciler::Reconciler;
pub(crate) use review::{AdmissionScope, PATHS, answer};

/// The longest warning, in bytes. API servers cut longer ones when there are many.
const LONGEST_WARNING: usize = 256;
/// The most warnings of one review.
const MOST_WARNINGS: usize = 8;

/// A question of the webhook's server to the driver.
pub(crate) type ReviewRequest = (ProposedChange, oneshot::Sender<AdmissionVerdict>);

/// A change that a user wants to make.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ProposedChange {
    /// Of a pool or an advertisement. One that changes no `spec` is not refused, so that metadata of an invalid resource can be
    /// changed, for example its finalizers.
    Resource { change: ConfigChange, keeps_spec: bool },
    /// Of a Service of our class, with its annotations that have the deprecated prefix.
    Service {
        service: Box<Service>,
        deprecated: Vec<String>,
    },
}

/// What the user is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AdmissionVerdict {
    /// The reason why the change is not made.
    pub(crate) refusal: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl AdmissionVerdict {
    /// Permits the change, with warnings as far as they fit.
    fn warn(texts: impl IntoIterator<Item = String>) -> Self {
        let warnings = texts.into_iter().take(MOST_WARNINGS);
        Self {
            refusal: None,
            warnings: warnings.map(|text| shorten(text, LONGEST_WARNING)).collect(),
        }
    }
}

/// Decides on a change of a pool or an advertisement. Its problems are those of the condition, in the same words.
pub(crate) fn review_resource(
    change: ConfigChange,
    keeps_spec: bool,
    catalog: &Catalog,
    effects: &Effects,
    reconciler: &Reconciler,
) -> AdmissionVerdict {
    let problems = catalog.check(&change);
    if !problems.is_empty() {
        let text = Ineffective::SetAside(problems).to_string();
        return match keeps_spec {
            true => AdmissionVerdict::warn([text]),
            false => AdmissionVerdict {
                refusal: Some(text),
                ..AdmissionVerdict::default()
            },
        };
    }
    let (kind, name) = match &change {
        ConfigChange::ApplyPool(raw) => (ResourceKind::Pool, raw.name.clone()),
        ConfigChange::ApplyL2Advertisement(raw) => (ResourceKind::L2Advertisement, raw.name.clone()),
        ConfigChange::DeletePool(_) | ConfigChange::DeleteL2Advertisement(_) => {
            return AdmissionVerdict::default();
        }
    };
    let mut after = catalog.clone();
    after.apply([change]);
    let reasons = effects.reasons(&after, kind, &name).into_iter();
    let pool = PoolName::new(name);
    let pool = after
        .pools()
        .iter()
        .find(|found| kind == ResourceKind::Pool && found.name == pool);
    let overlap = pool.and_then(|pool| reconciler.node_overlap(pool));
    let overlap = overlap.map(|overlap| overlap.to_string());
    AdmissionVerdict::warn(reasons.map(|reason| reason.to_string()).chain(overlap))
}

/// Decides on a Service: it is permitted, with a warning if it would not get what it requests. The warning names no Service of
/// another namespace.
pub(crate) fn review_service(
    service: &Service,
    deprecated: Vec<String>,
    reconciler: &mut Reconciler,
    now: Time,
) -> AdmissionVerdict {
    let refusal = reconciler.check_request(service, now);
    let refusal = refusal.map(|refusal| shorten(refusal, LONGEST_WARNING));
    let deprecated = deprecated.into_iter().map(|annotation| {
        let current = annotation
            .rsplit_once('/')
            .map_or(annotation.as_str(), |(_, name)| name);
        format!("annotation {annotation} is deprecated; use metallb.io/{current}")
    });
    AdmissionVerdict::warn(refusal.into_iter().chain(deprecated))
}

#[cfg(test)]
mod tests;
