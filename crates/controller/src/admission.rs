//! Admission: answers to the API server's reviews of pools, advertisements, resources of BGP and Services before they are written.

mod bgp;
mod review;

use herald_core::config::{Catalog, ConfigChange, Ineffective, ResourceKind};
use herald_core::{PoolName, RawSelector, Service, Time};
use herald_runtime::log::shorten;
use tokio::sync::oneshot;

use crate::effects::{Effects, LONGEST_MESSAGE};
use crate::reconciler::Reconciler;
pub(crate) use bgp::{BgpProposal, review_bgp};
pub(crate) use review::{AdmissionScope, PATHS, answer};

/// The longest warning, in bytes. API servers cut longer ones when there are many.
const LONGEST_WARNING: usize = 256;
/// The most warnings of one review.
const MOST_WARNINGS: usize = 8;

/// The most comparisons of a review, of a label, expression or value of a selector with a Node or a pool: they take a few milliseconds.
/// The driver rests after each review for nine times as long, and every Pod may ask for reviews, so that one that took long would hold
/// up those of others. A resource that needs more is not warned of what it does not select, but that this was not checked; its condition
/// says it.
const MOST_COMPARISONS: usize = 100_000;

/// The warning of a resource that needs more comparisons.
const NOT_CHECKED: &str = "not checked: which pools and nodes the selectors select, because they have too many labels, expressions and \
                           values for a review; the condition of the resource says it";

/// A review that the webhook's server asks the driver for.
pub(crate) type ReviewRequest = (ProposedChange, oneshot::Sender<ReviewAnswer>);

/// A change that a user wants to make.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ProposedChange {
    /// Of a pool or an advertisement. A change that keeps the `spec` is not refused, so that metadata of an invalid resource can
    /// be changed, for example its finalizers.
    Resource { change: ConfigChange, keeps_spec: bool },
    /// Of a resource of BGP.
    Bgp(Box<BgpProposal>),
    /// Of a Service of our class, with its annotations that have the deprecated prefix.
    Service {
        service: Box<Service>,
        deprecated: Vec<String>,
    },
}

/// The answer to a review.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReviewAnswer {
    /// The reason why the change is not made.
    pub(crate) refusal: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl ReviewAnswer {
    fn refuse(reason: String) -> Self {
        Self {
            refusal: Some(shorten(reason, LONGEST_MESSAGE)),
            warnings: Vec::new(),
        }
    }

    /// Permits the change, with warnings as far as they fit.
    fn warn(texts: impl IntoIterator<Item = String>) -> Self {
        let warnings = texts.into_iter().take(MOST_WARNINGS);
        Self {
            refusal: None,
            warnings: warnings.map(|text| shorten(text, LONGEST_WARNING)).collect(),
        }
    }
}

/// Decides on a change of a pool or an advertisement. What is wrong with the resource itself is refused, and what depends on other
/// resources is a warning: `kubectl apply` writes several in any order, and a watch may be behind. The problems are those of the
/// condition, in the same words.
pub(crate) fn review_resource(
    change: ConfigChange,
    keeps_spec: bool,
    catalog: &Catalog,
    effects: &Effects,
    reconciler: &Reconciler,
) -> ReviewAnswer {
    let problems = catalog.check(&change);
    if !problems.is_empty() {
        let is_wrong = problems
            .iter()
            .any(|problem| !problem.error.is_of_another_resource());
        let text = Ineffective::SetAside(problems).to_string();
        return match is_wrong && !keeps_spec {
            true => ReviewAnswer::refuse(text),
            false => ReviewAnswer::warn([text]),
        };
    }
    let (kind, name) = match &change {
        ConfigChange::ApplyPool(raw) => (ResourceKind::Pool, raw.name.clone()),
        ConfigChange::ApplyL2Advertisement(raw) => (ResourceKind::L2Advertisement, raw.name.clone()),
        ConfigChange::DeletePool(_) | ConfigChange::DeleteL2Advertisement(_) => {
            return ReviewAnswer::default();
        }
    };
    let is_quick = is_quick(review::compared(&change), catalog, effects);
    let after = catalog.after(change);
    let reasons = is_quick.then(|| effects.reasons(&after, kind, &name));
    let reasons = reasons.into_iter().flatten();
    let pool = PoolName::new(name);
    let pool = after
        .pools()
        .iter()
        .find(|found| kind == ResourceKind::Pool && found.name == pool);
    let overlap = pool.and_then(|pool| reconciler.node_overlap(pool));
    let overlap = overlap.map(|overlap| overlap.to_string());
    let not_checked = (!is_quick).then(|| NOT_CHECKED.to_owned());
    let reasons = reasons.map(|reason| reason.to_string());
    ReviewAnswer::warn(reasons.chain(overlap).chain(not_checked))
}

/// Whether a review may compare these selectors with all Nodes and pools.
fn is_quick<'a>(
    selectors: impl IntoIterator<Item = &'a RawSelector>,
    catalog: &Catalog,
    effects: &Effects,
) -> bool {
    let others = effects.node_count() + catalog.pools().len();
    review::terms(selectors).saturating_mul(others) <= MOST_COMPARISONS
}

/// Decides on a Service: it is permitted, with a warning if it would not get what it requests, or would lose what it has. The
/// warning names no other Service, because every Pod may send a review with any namespace in it.
pub(crate) fn review_service(
    service: &Service,
    deprecated: Vec<String>,
    reconciler: &mut Reconciler,
    now: Time,
) -> ReviewAnswer {
    let refusal = reconciler.check_request(service, now);
    let refusal = refusal.map(|refusal| refusal.anonymous().to_string());
    let deprecated = deprecated.into_iter().map(|annotation| {
        let current = annotation
            .rsplit_once('/')
            .map_or(annotation.as_str(), |(_, name)| name);
        format!("annotation {annotation} is deprecated; use metallb.io/{current}")
    });
    ReviewAnswer::warn(refusal.into_iter().chain(deprecated))
}

#[cfg(test)]
mod tests;
