//! Reviews of the resources of BGP.

use herald_api::{BFDProfile, BGPAdvertisement, BGPPeer, Community};
use herald_core::config::bgp::{BgpCatalog, BgpChange, BgpError, BgpIneffective, BgpKind, RawCommunities};
use herald_core::config::{Catalog, ConfigError, Ineffective, Problem};
use herald_core::{PoolName, RawSelector};
use kube::core::DynamicObject;

use super::review::within_bounds;
use super::{NOT_CHECKED, ReviewAnswer, is_quick};
use crate::configuration::BgpConfiguration;
use crate::effects::Effects;
use crate::input::{advertisement_change, communities_change, peer_change, profile_change};

/// MetalLB's warning of `disableMP`.
const DISABLED_MP: &str = "disable mp is deprecated and has no effect since it's the default behavior now";

/// A change of a resource of BGP that a user wants to make.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BgpProposal {
    pub(super) change: BgpChange,
    /// A change that keeps the `spec` is not refused.
    pub(super) keeps_spec: bool,
    /// What is said of it in any case.
    pub(super) warning: Option<&'static str>,
}

/// Returns the kind that is called so.
pub(super) fn kind(name: &str) -> Option<BgpKind> {
    let kinds = [
        BgpKind::Peer,
        BgpKind::Advertisement,
        BgpKind::Communities,
        BgpKind::BfdProfile,
    ];
    kinds.into_iter().find(|kind| kind.to_string() == name)
}

/// Reads a resource.
///
/// # Errors
/// When it cannot be read, or a list of it is longer than the definition allows.
pub(super) fn propose(kind: BgpKind, object: DynamicObject, keeps_spec: bool) -> Result<BgpProposal, String> {
    let mut warning = None;
    let change = match kind {
        BgpKind::Peer => object.try_parse::<BGPPeer>().map(|peer| {
            warning = (peer.spec.spec.disable_mp == Some(true)).then_some(DISABLED_MP);
            peer_change(&peer)
        }),
        BgpKind::Advertisement => object
            .try_parse::<BGPAdvertisement>()
            .map(|parsed| advertisement_change(&parsed)),
        BgpKind::Communities => object
            .try_parse::<Community>()
            .map(|parsed| communities_change(&parsed)),
        BgpKind::BfdProfile => object
            .try_parse::<BFDProfile>()
            .map(|parsed| profile_change(&parsed)),
    };
    let change = change.map_err(|error| error.to_string())?;
    check_bounds(&change)?;
    Ok(BgpProposal {
        change,
        keeps_spec,
        warning,
    })
}

/// As for pools: an API server sends no longer lists, but every Pod may reach the port.
fn check_bounds(change: &BgpChange) -> Result<(), String> {
    match change {
        BgpChange::ApplyPeer(raw) => within_bounds(&[raw.node_selectors.len()], &[], compared(change)),
        BgpChange::ApplyAdvertisement(raw) => within_bounds(
            &[
                raw.pool_selectors.len(),
                raw.node_selectors.len(),
                raw.service_selectors.len(),
                raw.communities.len(),
            ],
            &[raw.pools.len(), raw.peers.len()],
            compared(change).into_iter().chain(&raw.service_selectors),
        ),
        BgpChange::ApplyCommunities(raw) => within_bounds(&[raw.communities.len()], &[], []),
        BgpChange::ApplyBfdProfile(_)
        | BgpChange::ApplySecret(_)
        | BgpChange::Delete(..)
        | BgpChange::DeleteSecret(_) => Ok(()),
    }
}

/// Returns the selectors of a resource that a review compares with pools and Nodes.
fn compared(change: &BgpChange) -> Vec<&RawSelector> {
    match change {
        BgpChange::ApplyPeer(raw) => raw.node_selectors.iter().collect(),
        BgpChange::ApplyAdvertisement(raw) => raw.pool_selectors.iter().chain(&raw.node_selectors).collect(),
        BgpChange::ApplyCommunities(_)
        | BgpChange::ApplyBfdProfile(_)
        | BgpChange::ApplySecret(_)
        | BgpChange::Delete(..)
        | BgpChange::DeleteSecret(_) => Vec::new(),
    }
}

/// Decides on a change of a resource of BGP, as [`super::review_resource`] does: what is wrong with the resource itself is refused, and
/// what depends on other resources is a warning. A profile that a peer names cannot be deleted.
pub(crate) fn review_bgp(
    proposal: BgpProposal,
    configuration: &BgpConfiguration,
    pools: &Catalog,
    effects: &Effects,
) -> ReviewAnswer {
    let BgpProposal {
        change,
        keeps_spec,
        warning,
    } = proposal;
    let catalog = configuration.catalog();
    let (kind, name) = match &change {
        BgpChange::ApplyPeer(raw) => (BgpKind::Peer, raw.name.clone()),
        BgpChange::ApplyAdvertisement(raw) => (BgpKind::Advertisement, raw.name.clone()),
        BgpChange::ApplyCommunities(raw) => (BgpKind::Communities, raw.name.clone()),
        BgpChange::ApplyBfdProfile(raw) => (BgpKind::BfdProfile, raw.name.clone()),
        BgpChange::Delete(BgpKind::BfdProfile, name) => {
            return match catalog.peer_with_profile(name) {
                Some(peer) => ReviewAnswer::refuse(format!(
                    "failed to delete BFDProfile {name}, used by BGPPeer {peer}"
                )),
                None => ReviewAnswer::default(),
            };
        }
        BgpChange::Delete(..) | BgpChange::ApplySecret(_) | BgpChange::DeleteSecret(_) => {
            return ReviewAnswer::default();
        }
    };
    let written = change.clone();
    let after = catalog.after(change);
    let problems = after.problems_of(kind, &name);
    let (own, of_others): (Vec<_>, Vec<_>) = problems.partition(|problem| is_its_own(problem, &written));
    if !own.is_empty() && !keeps_spec {
        let texts: Vec<String> = own.iter().map(ToString::to_string).collect();
        return ReviewAnswer::refuse(texts.join("; "));
    }
    let mut warnings: Vec<String> = warning.into_iter().map(str::to_owned).collect();
    let ineffective = ineffective(&written, configuration.is_disabled());
    warnings.extend(ineffective.map(|why| why.to_string()));
    warnings.extend(own.iter().map(ToString::to_string));
    // Before all kinds are listed nothing is known of other resources.
    if configuration.is_listed() {
        warnings.extend(of_others.iter().map(ToString::to_string));
        warnings.extend(unknown(&written, configuration, pools));
        match is_quick(compared(&written), pools, effects) {
            true => warnings.extend(selecting_nothing(&name, kind, &after, pools, effects)),
            false => warnings.push(NOT_CHECKED.to_owned()),
        }
    }
    ReviewAnswer::warn(warnings)
}

/// Returns why a resource has less effect than it is written for, whatever others there are.
fn ineffective(change: &BgpChange, is_disabled: bool) -> Option<BgpIneffective> {
    let names_profile = match change {
        BgpChange::ApplyPeer(raw) => raw.bfd_profile.as_ref().is_some_and(|name| !name.is_empty()),
        BgpChange::ApplyAdvertisement(_) => false,
        BgpChange::ApplyCommunities(_)
        | BgpChange::ApplyBfdProfile(_)
        | BgpChange::ApplySecret(_)
        | BgpChange::Delete(..)
        | BgpChange::DeleteSecret(_) => return None,
    };
    let without_bfd = names_profile.then_some(BgpIneffective::NoBfd);
    is_disabled.then_some(BgpIneffective::Disabled).or(without_bfd)
}

/// Whether a problem is of the resource itself, whatever others there are.
fn is_its_own(problem: &Problem<BgpKind>, change: &BgpChange) -> bool {
    let ConfigError::Bgp(error) = &problem.error else {
        return true;
    };
    match (error, change) {
        (BgpError::DuplicateCommunity(name), BgpChange::ApplyCommunities(raw)) => is_twice_in(name, raw),
        _ => !error.is_transient(),
    }
}

fn is_twice_in(name: &str, raw: &RawCommunities) -> bool {
    raw.communities
        .iter()
        .filter(|(other, _)| other == name)
        .nth(1)
        .is_some()
}

/// Returns which pools and peers an advertisement names that do not exist.
fn unknown(change: &BgpChange, configuration: &BgpConfiguration, pools: &Catalog) -> Vec<String> {
    let BgpChange::ApplyAdvertisement(raw) = change else {
        return Vec::new();
    };
    let withheld = pools.withheld();
    let has_pool =
        |name: &PoolName| withheld.contains(name) || pools.pools().iter().any(|pool| pool.name == *name);
    let named = raw.pools.iter().map(PoolName::new);
    let unknown_pools: Vec<PoolName> = named.filter(|name| !has_pool(name)).collect();
    let peers = raw.peers.iter();
    let unknown_peers = peers.filter(|name| !configuration.catalog().has(BgpKind::Peer, name));
    let unknown_peers: Vec<&str> = unknown_peers.map(String::as_str).collect();
    let mut texts = Vec::new();
    if !unknown_pools.is_empty() {
        texts.push(Ineffective::UnknownPools(unknown_pools).to_string());
    }
    if !unknown_peers.is_empty() {
        let names = unknown_peers.join(", ");
        texts.push(format!("spec.peers names BGPPeers that do not exist: {names}"));
    }
    texts
}

/// Returns which selectors of a resource in force select nothing.
fn selecting_nothing(
    name: &str,
    kind: BgpKind,
    after: &BgpCatalog,
    pools: &Catalog,
    effects: &Effects,
) -> Vec<String> {
    let mut texts = Vec::new();
    match kind {
        BgpKind::Peer => {
            let peer = after.peers().find(|peer| peer.name == name);
            if peer.is_some_and(|peer| !effects.has_node(|labels| peer.selects_node(labels))) {
                texts.push(Ineffective::NoNode.to_string());
            }
        }
        BgpKind::Advertisement => {
            let advertisement = after
                .advertisements()
                .find(|advertisement| advertisement.name == name);
            let Some(scope) = advertisement.map(|advertisement| &advertisement.scope) else {
                return texts;
            };
            let names_pools = !scope.pools.is_empty();
            if !names_pools && !pools.pools().iter().any(|pool| scope.selects_pool(pool)) {
                texts.push(Ineffective::NoPool.to_string());
            }
            if !effects.has_node(|labels| scope.selects_node(labels)) {
                texts.push(Ineffective::NoNode.to_string());
            }
        }
        BgpKind::Communities | BgpKind::BfdProfile => {}
    }
    texts
}
