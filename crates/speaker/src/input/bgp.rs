//! The watches of the resources of BGP, and of the Secrets with passwords.

use std::fmt::Debug;
use std::time::Duration;

use herald_api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, convert};
use herald_core::config::bgp::{BgpChange, BgpKind, BgpSource};
use herald_runtime::watch::watch;
use herald_runtime::{Update, task};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Input;

/// A change of a resource of BGP, as input of the driver.
#[derive(Debug)]
pub(crate) enum BgpUpdate {
    /// A resource or a Secret has changed.
    Changed(Box<BgpChange>),
    /// An object that does not matter has changed.
    Ignored,
    /// The first list of a kind is complete.
    Listed(BgpSource),
}

/// Returns the change that a deleted object is.
fn deletion(source: BgpSource, name: String) -> BgpChange {
    let kind = match source {
        BgpSource::Peers => BgpKind::Peer,
        BgpSource::Advertisements => BgpKind::Advertisement,
        BgpSource::Communities => BgpKind::Communities,
        BgpSource::BfdProfiles => BgpKind::BfdProfile,
        BgpSource::Secrets => return BgpChange::DeleteSecret(name),
    };
    BgpChange::Delete(kind, name)
}

impl BgpUpdate {
    fn new(source: BgpSource, update: Update<Option<BgpChange>>) -> Self {
        match update {
            Update::Applied(Some(change)) => Self::Changed(Box::new(change)),
            Update::Applied(None) => Self::Ignored,
            Update::Deleted(key) => Self::Changed(Box::new(deletion(source, key.name))),
            Update::Synced => Self::Listed(source),
        }
    }
}

/// Starts the watches. Of the Secrets only those of the type that a peer can refer to are listed, and of each only the password is
/// kept.
pub(super) fn watch_all(
    client: &Client,
    namespace: &str,
    check: Duration,
    inputs: &mpsc::Sender<Vec<Input>>,
) {
    let all = ListParams::default();
    let watches = NamespaceWatches {
        client,
        namespace,
        check,
        inputs,
    };
    watches.watch(BgpSource::Peers, &all, |peer: BGPPeer| {
        Some(BgpChange::ApplyPeer(convert::bgp_peer(&peer)))
    });
    watches.watch(
        BgpSource::Advertisements,
        &all,
        |advertisement: BGPAdvertisement| {
            let raw = convert::bgp_advertisement(&advertisement);
            Some(BgpChange::ApplyAdvertisement(raw))
        },
    );
    watches.watch(BgpSource::Communities, &all, |community: Community| {
        Some(BgpChange::ApplyCommunities(convert::communities(&community)))
    });
    watches.watch(BgpSource::BfdProfiles, &all, |profile: BFDProfile| {
        Some(BgpChange::ApplyBfdProfile(convert::bfd_profile(&profile)))
    });
    let with_password = all.fields("type=kubernetes.io/basic-auth");
    watches.watch(BgpSource::Secrets, &with_password, |secret: Secret| {
        convert::secret(&secret).map(BgpChange::ApplySecret)
    });
}

/// What all watches have in common.
struct NamespaceWatches<'a> {
    client: &'a Client,
    namespace: &'a str,
    check: Duration,
    inputs: &'a mpsc::Sender<Vec<Input>>,
}

impl NamespaceWatches<'_> {
    fn watch<K>(&self, source: BgpSource, selected: &ListParams, convert: fn(K) -> Option<BgpChange>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        task::spawn(watch(
            Api::<K>::namespaced(self.client.clone(), self.namespace),
            selected.clone(),
            self.check,
            convert,
            move |update| Input::Bgp(BgpUpdate::new(source, update)),
            self.inputs.clone(),
        ));
    }
}
