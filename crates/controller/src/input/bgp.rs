//! The watches of the resources of BGP.

use std::fmt::Debug;
use std::time::Duration;

use herald_api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, convert};
use herald_core::config::bgp::{BgpChange, BgpKind};
use herald_runtime::task;
use herald_runtime::watch::watch;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::ClusterChange;

/// A resource of BGP as written, and the reference for events about it.
#[derive(Debug)]
pub(crate) struct WrittenBgp {
    pub(crate) name: String,
    pub(crate) change: BgpChange,
    pub(crate) reference: ObjectReference,
}

/// Returns the change that a peer is. A controller may not read Secrets: whether there is the one of `passwordSecret` is for the
/// speakers to say.
pub(crate) fn peer_change(peer: &BGPPeer) -> BgpChange {
    let mut raw = convert::bgp_peer(peer);
    if raw.password.is_none() {
        raw.password_secret = None;
    }
    BgpChange::ApplyPeer(raw)
}

/// Returns the change that an advertisement is.
pub(crate) fn advertisement_change(advertisement: &BGPAdvertisement) -> BgpChange {
    BgpChange::ApplyAdvertisement(convert::bgp_advertisement(advertisement))
}

/// Returns the change that names of communities are.
pub(crate) fn communities_change(community: &Community) -> BgpChange {
    BgpChange::ApplyCommunities(convert::communities(community))
}

/// Returns the change that a profile is.
pub(crate) fn profile_change(profile: &BFDProfile) -> BgpChange {
    BgpChange::ApplyBfdProfile(convert::bfd_profile(profile))
}

/// Starts the watches.
pub(super) fn watch_all(
    client: &Client,
    namespace: &str,
    version_check: Duration,
    inputs: &mpsc::Sender<Vec<ClusterChange>>,
) {
    let watches = BgpWatches {
        client,
        namespace,
        version_check,
        inputs,
    };
    watches.start(BgpKind::Peer, peer_change);
    watches.start(BgpKind::Advertisement, advertisement_change);
    watches.start(BgpKind::Communities, communities_change);
    watches.start(BgpKind::BfdProfile, profile_change);
}

/// What the four watches have in common.
#[derive(Clone, Copy)]
struct BgpWatches<'a> {
    client: &'a Client,
    namespace: &'a str,
    version_check: Duration,
    inputs: &'a mpsc::Sender<Vec<ClusterChange>>,
}

impl BgpWatches<'_> {
    fn start<K>(self, kind: BgpKind, change: fn(&K) -> BgpChange)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        task::spawn(watch(
            Api::<K>::namespaced(self.client.clone(), self.namespace),
            ListParams::default(),
            self.version_check,
            move |object: K| {
                Box::new(WrittenBgp {
                    name: object.name_any(),
                    change: change(&object),
                    reference: object.object_ref(&()),
                })
            },
            move |update| ClusterChange::Bgp(kind, update),
            self.inputs.clone(),
        ));
    }
}
