//! The events that say what happened to Herald, and what it did.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::cluster::list_at_most;

/// The components of events that Herald writes, as field selectors; MetalLB's have the same names.
const WRITTEN: [&str; 2] = ["source=metallb-controller", "source=metallb-speaker"];
/// The events of one list, at most: at 1 kB each, about 10 MB. An API server keeps events for an hour.
const MOST: usize = 10_000;

/// Lists the events that Herald wrote, in all namespaces, and all events of its own one: those of a `DaemonSet` say why there is no Pod.
/// Returns what is not known, too.
pub(super) async fn read(client: &Client, namespace: Option<&str>) -> (Vec<Event>, Vec<String>) {
    let everywhere = Api::<Event>::all(client.clone());
    let list = |api: &Api<Event>, params| list_at_most(api.clone(), params, MOST);
    let of = |selector| list(&everywhere, ListParams::default().fields(selector));
    let own = async {
        match namespace {
            Some(namespace) => {
                let api = Api::namespaced(client.clone(), namespace);
                list(&api, ListParams::default()).await
            }
            None => Ok((Vec::new(), true)),
        }
    };
    let (controller, speaker, own) = tokio::join!(of(WRITTEN[0]), of(WRITTEN[1]), own);
    let (mut events, mut unknown) = (BTreeMap::new(), Vec::new());
    for listed in [controller, speaker, own] {
        match listed {
            Ok((items, is_complete)) => {
                let keyed = items
                    .into_iter()
                    .map(|event| ((event.namespace(), event.name_any()), event));
                events.extend(keyed);
                if !is_complete {
                    unknown.push(format!("some events: there are more than {MOST}"));
                }
            }
            Err(absence) => unknown.push(absence.to_string()),
        }
    }
    unknown.dedup();
    (events.into_values().collect(), unknown)
}
