//! The kinds of objects that a speaker writes: names, labels and contents.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use herald_api::crd::{ANNOUNCED, BGPSessionStateFields, ServiceBGPStatusFields, ServiceL2StatusFields};
use herald_api::reason::ConditionReason;
use herald_api::{BGPSessionState, ServiceBGPStatus, ServiceL2Status};
use herald_core::ServiceKey;
use herald_core::announce::agent::AnnouncementStatus;
use herald_core::announce::bgp::{BgpStatus, PrefixCounts};
use herald_runtime::log::shorten;
use herald_runtime::reconcile::WriteTarget;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Label with the node of the speaker.
pub(super) const NODE: &str = "metallb.io/node";
const SERVICE_NAME: &str = "metallb.io/service-name";
const SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";
/// Annotation with the name of the peer, which may be too long for a label.
const PEER: &str = "herald.io/peer";

/// Longest message, in bytes: as much as a person reads.
pub(crate) const LONGEST_MESSAGE: usize = 1024;
/// The least time between two writes about a session, which may come and go all the time. Numbers of prefixes come settled.
const SESSION_SPACING: Duration = Duration::from_secs(2);

/// A kind of object of which a speaker has one for each subject that it publishes something about.
pub(crate) trait SpeakerObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The subject.
    type Key: WriteTarget + Hash + Debug + Display;
    /// What is published about it.
    type Status: Clone + PartialEq + Debug + Send + 'static;
    /// The beginning of names.
    const PREFIX: &'static str;
    /// Whether the speaker deletes an object that it has nothing to say by. Otherwise the controller does.
    const DELETES: bool;

    /// Returns an object without a status.
    fn new(metadata: ObjectMeta) -> Self;
    /// Returns labels and annotations, of which one label is [`NODE`].
    fn metadata(key: &Self::Key, node: &str) -> ObjectMeta;
    /// Returns the subject by labels or annotations.
    fn key_of(metadata: &ObjectMeta) -> Option<Self::Key>;
    /// Whether it is good news: the object says since when it is so, or not.
    fn is_so(status: &Self::Status) -> bool;
    /// Returns the merge patch of the status. What is null is removed.
    fn patch(key: &Self::Key, node: &str, status: Option<&Self::Status>, since: Timestamp) -> Value;
}

impl SpeakerObject for ServiceL2Status {
    type Key = ServiceKey;
    type Status = AnnouncementStatus;
    const PREFIX: &'static str = "l2";
    const DELETES: bool = false;

    fn new(metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            spec: ServiceL2StatusFields::default(),
            status: None,
        }
    }

    fn metadata(key: &ServiceKey, node: &str) -> ObjectMeta {
        service_metadata(key, node)
    }

    fn key_of(metadata: &ObjectMeta) -> Option<ServiceKey> {
        service_of(metadata)
    }

    fn is_so(status: &AnnouncementStatus) -> bool {
        status.obstacle.is_none()
    }

    fn patch(key: &ServiceKey, node: &str, status: Option<&AnnouncementStatus>, since: Timestamp) -> Value {
        let (is_so, reason, message) = match status.map(|status| &status.obstacle) {
            Some(None) => ("True", ConditionReason::Announced.reason(), String::new()),
            Some(Some((reason, message))) => ("False", *reason, shorten(message, LONGEST_MESSAGE)),
            None => ("False", ConditionReason::NotAnnounced.reason(), String::new()),
        };
        let condition = json!({
            "type": ANNOUNCED, "status": is_so, "reason": reason, "message": message,
            "lastTransitionTime": Time(since),
        });
        let addresses = status.iter().flat_map(|status| &status.addresses);
        let interfaces = status.iter().flat_map(|status| &status.interfaces);
        let is_elected = status.is_some_and(|status| status.is_elected);
        json!({"status": {
            "node": is_elected.then_some(node),
            "serviceName": &*key.name,
            "serviceNamespace": &*key.namespace,
            "addresses": list(addresses.map(|address| json!(address))),
            "interfaces": list(interfaces.map(|name| json!({"name": name}))),
            "conditions": [condition],
        }})
    }
}

impl SpeakerObject for ServiceBGPStatus {
    type Key = ServiceKey;
    type Status = BgpStatus;
    const PREFIX: &'static str = "bgp";
    const DELETES: bool = true;

    fn new(metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            spec: ServiceBGPStatusFields::default(),
            status: None,
        }
    }

    fn metadata(key: &ServiceKey, node: &str) -> ObjectMeta {
        service_metadata(key, node)
    }

    fn key_of(metadata: &ObjectMeta) -> Option<ServiceKey> {
        service_of(metadata)
    }

    fn is_so(_status: &BgpStatus) -> bool {
        true
    }

    fn patch(key: &ServiceKey, node: &str, status: Option<&BgpStatus>, _since: Timestamp) -> Value {
        let addresses = status.iter().flat_map(|status| &status.addresses);
        let peers = status.iter().flat_map(|status| &status.peers);
        json!({"status": {
            "node": node,
            "serviceName": &*key.name,
            "serviceNamespace": &*key.namespace,
            "peers": list(peers.map(|peer| json!(**peer))),
            "addresses": list(addresses.map(|address| json!(address))),
        }})
    }
}

/// The session with a peer, by the name of the peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey(pub(crate) Arc<str>);

impl Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl WriteTarget for SessionKey {
    /// Administrators make peers, no tenants.
    fn namespace(&self) -> &'static str {
        ""
    }

    fn spacing(&self) -> Option<Duration> {
        Some(SESSION_SPACING)
    }
}

/// What is published of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionStatus {
    /// The address of the peer, or the interface that it is at.
    pub(crate) peer_address: String,
    /// The VRF device.
    pub(crate) vrf: Option<String>,
    /// The state (RFC 4271 section 8.2.2).
    pub(crate) state: &'static str,
    /// How many prefixes the peer is to have.
    pub(crate) prefixes: PrefixCounts,
    /// Why the last session or attempt ended.
    pub(crate) last_error: Option<String>,
}

/// The state of a session in which routes are exchanged.
pub(crate) const ESTABLISHED: &str = "Established";

impl SpeakerObject for BGPSessionState {
    type Key = SessionKey;
    type Status = SessionStatus;
    const PREFIX: &'static str = "session";
    const DELETES: bool = true;

    fn new(metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            spec: BGPSessionStateFields {},
            status: None,
        }
    }

    fn metadata(key: &SessionKey, node: &str) -> ObjectMeta {
        ObjectMeta {
            labels: Some([(NODE.to_owned(), node.to_owned())].into()),
            annotations: Some([(PEER.to_owned(), key.to_string())].into()),
            ..ObjectMeta::default()
        }
    }

    fn key_of(metadata: &ObjectMeta) -> Option<SessionKey> {
        let peer = metadata.annotations.as_ref()?.get(PEER)?;
        Some(SessionKey(peer.as_str().into()))
    }

    fn is_so(status: &SessionStatus) -> bool {
        status.state == ESTABLISHED
    }

    fn patch(key: &SessionKey, node: &str, status: Option<&SessionStatus>, since: Timestamp) -> Value {
        let last_error = status.and_then(|status| status.last_error.as_ref());
        let prefixes = status.map(|status| status.prefixes);
        json!({"status": {
            "node": node,
            "peer": *key.0,
            "peerAddress": status.map(|status| &status.peer_address),
            "vrf": status.and_then(|status| status.vrf.as_ref()),
            "bgpStatus": status.map(|status| status.state),
            "bfdStatus": "N/A",
            "since": Time(since),
            "prefixes": prefixes.map(|prefixes| prefixes.sendable),
            "unsendablePrefixes": prefixes.map(|prefixes| prefixes.unsendable),
            "unsendableReason": prefixes.and_then(|prefixes| prefixes.reason).map(|reason| reason.to_string()),
            "lastError": last_error.map(|error| shorten(error, LONGEST_MESSAGE)),
        }})
    }
}

fn service_metadata(key: &ServiceKey, node: &str) -> ObjectMeta {
    let labels = [
        (NODE, node),
        (SERVICE_NAME, &*key.name),
        (SERVICE_NAMESPACE, &*key.namespace),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ObjectMeta {
        labels: Some(labels.into()),
        ..ObjectMeta::default()
    }
}

fn service_of(metadata: &ObjectMeta) -> Option<ServiceKey> {
    let labels = metadata.labels.as_ref()?;
    let (namespace, name) = labels.get(SERVICE_NAMESPACE).zip(labels.get(SERVICE_NAME))?;
    Some(ServiceKey::new(namespace, name))
}

/// Returns a list, or null instead of an empty one.
fn list(values: impl Iterator<Item = Value>) -> Value {
    let values: Vec<Value> = values.collect();
    if values.is_empty() {
        Value::Null
    } else {
        Value::Array(values)
    }
}
