//! An embedded Kubernetes API over plain HTTP/1.1, in memory: **a development tool**.
//!
//! It stands in for a control plane in Herald's lab, demo and tests. Stock kubectl (1.29 and later), kube-rs and client-go
//! programs work against it as against a real API server, and it can misbehave in the ways that a real one does
//! ([`Faults`]). It has no TLS, no users and no storage: every client that reaches its sockets may do anything, and all
//! state ends with the [`Server`].
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
//! # Scope
//!
//! The scope is frozen. Tests on Kubernetes' own control plane (`e2e`) cover what is not here. Each module has a user among
//! the tests and commands of this repository; a module without one is removed.
//!
//! `controller` stands for the tests in `crates/controller/tests`, `lab` for those in `dev/lab/tests`, and `kubectl` and `api`
//! for those in `tests` here, which also check that the server answers as a real one does.
//!
//! | module | needed by |
//! |---|---|
//! | `server`, `api`, `shared`, `request`, `resources`, `reply`, `status` | every test with an API server |
//! | `cluster`, `store`, `operation`, `write`, `admit`, `delete`, `object`, `names`, `decode`, `view` | every test with an API server |
//! | `kinds`, `schema`: built-in kinds | every test with an API server; Secrets, ConfigMaps and Deployments: `kubectl`, `api` |
//! | `crd`, `schema::{default, prune, validate}` | Herald's custom resources: `controller`, `lab` |
//! | `schema::cel` | the rules in `crds/`: `lab::manifests` |
//! | `controllers`, `endpoints` | the lab's Pods behind Services: `herald-lab -- demo`, `lab::services` |
//! | `services` | cluster IPs and node ports of every Service; their rules: `lab::manifests` |
//! | `watch`, `selector`, `page` | the watches of controller and speaker: `controller::faults` |
//! | `faults` | `controller::{faults, handover, model}`, `lab::chaos`, `herald-bench -- failover --fault api-down` |
//! | `counts` | `herald-bench -- controller`, `controller::reports` |
//! | `patch`: merge, strategic | statuses that controller and speaker write: `controller`, `lab`, `herald-bench -- controller` |
//! | `patch`: server-side apply | the lab's manifests: `herald-lab -- demo` |
//! | `patch`: JSON | `kubectl` |
//! | `discovery`, `openapi`, `table` | `kubectl` on `herald-lab -- demo --keep`: `lab::tools`, `kubectl` |
//! | `protobuf` | `kubectl create namespace` from 1.33 on: `kubectl` |
//!
//! # What it does
//!
//! * Kinds: Namespace, Node, Service, Pod, Secret, ConfigMap, Event (`v1` and `events.k8s.io/v1`, one store),
//!   EndpointSlice, Lease, Deployment, CustomResourceDefinition, and what CRDs define.
//! * Create, read, update, delete with optimistic concurrency, finalizers, owner references, dry run, `/status`, and field
//!   validation; JSON, merge, strategic-merge and server-side apply patches with `managedFields`.
//! * Lists and watches with label and field selectors, bookmarks, streaming lists, resumption from a bounded history and
//!   410 Expired; as objects, metadata only, or Tables.
//! * Services get cluster IPs (dual stack, `10.96.0.0/16` and `fd00:10:96::/112`) and node ports, and EndpointSlices follow
//!   them and their Pods.
//! * CRDs: structural schemas with validation, defaulting, pruning, CEL rules with the IP and CIDR functions, printer
//!   columns and selectable fields.
//!
//! # What it does not do
//!
//! * Protobuf bodies (415), except for Namespaces, Secrets and ConfigMaps, which kubectl 1.33 and later
//!   (`kubectl create namespace`) sends in no other form. Answers are always JSON.
//! * Controllers beyond namespaces, garbage collection and EndpointSlices: no controller makes Pods of a Deployment, and no
//!   Pod is scheduled or run. A deleted Pod is gone at once.
//! * Admission webhooks. CRDs of several versions are converted by strategy None only; strategy Webhook is refused.
//! * Subresources other than `/status` (scale, log, exec, eviction, token, binding), access reviews, and OpenAPI v2: 404.
//!   Scale in a CRD is refused.
//! * Snapshots: a list of the past is 410 Expired, and later pages of a list show the present.
//! * CEL: rules are not type-checked when the CRD is made (a mistake shows at the first write) and have no cost budget;
//!   `format: date-time` values are strings until `timestamp()` is called on them. A rule that does not parse, or calls a
//!   function that is unknown here, is refused with its CRD.
//! * Garbage collection acts when an owner is deleted; an object whose owner never existed stays.
//! * A CRD is deleted with its objects at once, even if they have finalizers.

mod admit;
mod api;
mod cluster;
mod controllers;
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
mod operation;
mod page;
mod patch;
mod protobuf;
mod reply;
mod request;
mod resources;
mod schema;
mod selector;
mod server;
mod services;
mod shared;
mod status;
mod store;
mod table;
mod view;
mod watch;
mod write;

pub use cluster::Backup;
pub use counts::RequestCounts;
pub use faults::Faults;
pub use server::{Options, Server};
