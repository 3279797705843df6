//! The ConfigMaps of MetalLB that Herald does not read. An event about each says what to use instead.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use herald_api::convert::UnreadConfigMap;
use herald_api::reason::EventReason;
use herald_runtime::client::is_away;
use herald_runtime::event::{Events, Severity};
use herald_runtime::lease::Leadership;
use herald_runtime::reconcile::{TIMEOUT, within};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::api::Api;
use tracing::warn;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(60);
/// Time until a look that failed is repeated.
const RETRY: Duration = Duration::from_secs(5);

/// Reports each ConfigMap once, for as long as this controller has the Lease.
pub(crate) async fn report(
    maps: Api<ConfigMap>,
    is_beside_metallb: bool,
    events: Events,
    mut leadership: Leadership,
) -> Infallible {
    let unread = UnreadConfigMap::all(is_beside_metallb);
    let mut reported = BTreeSet::new();
    let mut complaints = BTreeMap::new();
    loop {
        if leadership.remaining().is_none() {
            leadership.after(None).await;
        }
        let mut pause = PERIOD;
        for UnreadConfigMap { name, instead } in unread {
            let found = match within(TIMEOUT, maps.get_metadata_opt(name)).await {
                Ok(found) => {
                    complaints.remove(name);
                    found
                }
                Err(failure) => {
                    let error = failure.message().to_owned();
                    if !is_away() && complaints.get(name) != Some(&error) {
                        warn!("cannot see whether there is a ConfigMap {name}: {error}");
                        complaints.insert(*name, error);
                    }
                    pause = RETRY;
                    continue;
                }
            };
            let Some(metadata) = found.map(|found| found.metadata) else {
                continue;
            };
            if !reported.insert(metadata.uid.clone()) {
                continue;
            }
            let message = format!("Herald does not read ConfigMap {name}: {instead}");
            warn!("{message}");
            let about = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("ConfigMap".to_owned()),
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                ..ObjectReference::default()
            };
            events.emit(
                &about,
                Severity::Warning,
                EventReason::UnreadConfigMap.reason(),
                message,
            );
        }
        tokio::time::sleep(pause).await;
    }
}
