//! An embedded Kubernetes API over plain HTTP/1.1, in memory: **a development tool**.
//!
//! It stands in for a control plane in Herald's lab, demo and tests. Stock kubectl (1.29 and later),
//! kube-rs and client-go programs work against it as against a real API server, and it can be told to
//! misbehave in the ways that a real one does ([`Faults`]). It has no TLS, no users and no storage:
//! whoever reaches its sockets may do anything, and all state ends with the [`Server`].
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use herald_devkube::{Options, Server};
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let kubeconfig = Server::kubeconfig(&format!("http://{}", listener.local_addr()?));
//! let server = Server::start(Options { listeners: vec![listener], ..Options::default() }).await?;
//! server.faults().conflict_next(1);
//! # drop(kubeconfig);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! * Kinds: Namespace, Node, Service, Pod, Secret, ConfigMap, ServiceAccount, Event (`v1` and
//!   `events.k8s.io/v1`, one store), EndpointSlice, Lease, Deployment, DaemonSet, ReplicaSet, the four
//!   RBAC kinds, ValidatingWebhookConfiguration, CustomResourceDefinition, and what CRDs define.
//! * Create, read, update, delete with optimistic concurrency, finalizers, owner references, dry run,
//!   `/status`, and field validation; JSON, merge, strategic-merge and server-side apply patches with
//!   `managedFields`.
//! * Lists and watches with label and field selectors, bookmarks, streaming lists, resumption from a
//!   bounded history and 410 Expired; as objects, metadata only, or Tables.
//! * Services get cluster IPs (dual stack, `10.96.0.0/16` and `fd00:10:96::/112`) and node ports, and
//!   EndpointSlices follow them and their Pods.
//! * CRDs: structural schemas with validation, defaulting, pruning, CEL rules with the IP and CIDR
//!   functions, printer columns and selectable fields.
//!
//! # What it does not do
//!
//! * Protobuf bodies (415), but for Namespaces, Secrets, ConfigMaps and ServiceAccounts, which kubectl 1.33
//!   and later (`kubectl create namespace`) and Helm send in no other form. Answers are always JSON.
//! * Controllers beyond namespaces, garbage collection and EndpointSlices: nothing makes Pods of a
//!   Deployment, nothing schedules or runs Pods; deleting a Pod takes effect at once.
//! * Admission webhooks: their configurations are stored and never called. CRDs of several versions
//!   are converted by strategy None only; strategy Webhook is refused.
//! * Subresources other than `/status` (scale, log, exec, eviction, token, binding), access reviews,
//!   and OpenAPI v2: 404. Scale in a CRD is refused.
//! * Paging: a list comes whole whatever its `limit`; lists of the past are 410 Expired.
//! * CEL: rules are not type-checked when the CRD is made (a mistake shows at the first write) and have
//!   no cost budget; `format: date-time` values are strings until `timestamp()` is called on them. A rule
//!   that does not parse, or calls a function that is unknown here, is refused with its CRD.
//! * Garbage collection acts when an owner goes; an object made with an owner that never was, stays.
//! * Deleting a CRD deletes its objects at once, finalizers or not.

mod admit;
mod api;
mod cluster;
mod counts;
mod crd;
mod decode;
mod delete;
mod discovery;
mod endpoints;
mod faults;
mod kinds;
mod names;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod reply;
mod request;
mod resources;
mod schema;
mod selector;
mod server;
mod services;
mod status;
mod store;
mod table;
mod view;
mod watch;
mod write;

pub use counts::RequestCounts;
pub use faults::Faults;
pub use server::{Options, Server};
