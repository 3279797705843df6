//! `heraldctl status`: pools, Services, nodes and programs at a glance, what is wrong first.

mod nodes;
mod pools;
mod services;

use std::time::Duration;

use clap::Args;
use herald_api::{BGPSessionState, IPAddressPool};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;

use crate::cluster::{
    Absence, ApiConnection, ClusterView, CommonArgs, Installation, Program, States, TIMEOUT, list, list_in,
    plain,
};
use crate::output::{Printable, age, clear, good, heading, is_interrupted_within, unknown_text, warning};
pub(crate) use nodes::NodeLine;
use nodes::SessionLine;
pub(crate) use pools::PoolLine;
pub(crate) use services::ServiceLine;

/// Seconds between two views of `--watch`.
const PERIOD: Duration = Duration::from_secs(2);
/// The Lease of the active controller.
pub(crate) const LEASE: &str = "herald-controller";

/// How the status is shown.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show the status again every two seconds, until it is interrupted.
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    common: CommonArgs,
}

/// The status of Herald in a cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    namespace: Option<String>,
    /// The versions of the programs; more than one during an upgrade.
    versions: Vec<String>,
    controllers: ProgramLine,
    /// The active controller.
    leader: LeaderLine,
    speakers: ProgramLine,
    /// `null` if they are unknown.
    pub(crate) pools: Option<Vec<PoolLine>>,
    /// How many Services of type LoadBalancer Herald handles; `null` if that is unknown.
    services: Option<usize>,
    /// Those of them that are not as they should be.
    pub(crate) troubled: Vec<ServiceLine>,
    pub(crate) nodes: Vec<NodeLine>,
    sessions: Vec<SessionLine>,
    unknown: Vec<String>,
    #[serde(skip)]
    today: Timestamp,
}

/// The Pods of a program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgramLine {
    pods: usize,
    ready: usize,
}

/// The active controller, by the Lease.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub(crate) enum LeaderLine {
    #[serde(rename_all = "camelCase")]
    Active { pod: String, since: Option<String> },
    /// No controller holds the Lease.
    None,
    /// The Lease cannot be read.
    Unknown,
}

impl StatusArgs {
    /// Prints the status, once or again and again.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let connection = self.common.connect().await?;
        loop {
            let status = Status::read(&connection, &self.common).await;
            if !self.watch {
                return self.common.output.print(&status);
            }
            clear()?;
            self.common.output.print(&status)?;
            if is_interrupted_within(PERIOD).await? {
                return Ok(());
            }
        }
    }
}

impl Status {
    async fn read(connection: &ApiConnection, common: &CommonArgs) -> Self {
        let client = &connection.client;
        let mut unknown = Unknown(Vec::new());
        let installation = unknown.known(common.find_installation(client).await);
        let has_pods = installation.is_some();
        let installation = installation.unwrap_or_default();
        let namespace = common.namespace(&installation);
        let (services, pools, nodes, sessions, leader, states) = tokio::join!(
            services_of_type(client),
            list_in::<IPAddressPool>(client, namespace),
            list::<Node>(Api::all(client.clone()), ListParams::default()),
            list_in::<BGPSessionState>(client, namespace),
            leader(client, namespace),
            States::read(client, &installation, common.state, TIMEOUT),
        );
        let services = unknown.known(services);
        // Without the Pods the class that Herald handles is not known.
        let services = services.filter(|_| has_pods);
        let pools = unknown.known(pools);
        let nodes = unknown.known(nodes).unwrap_or_default();
        let sessions = unknown.known(sessions).unwrap_or_default();
        unknown.0.extend(installation.absence().filter(|_| has_pods));
        let leader = leader.unwrap_or_else(|error| {
            unknown.0.push(error);
            LeaderLine::Unknown
        });
        unknown.0.extend(states.reasons());
        Self::of(StatusSource {
            namespace,
            installation: &installation,
            states: &states,
            services: services.as_deref(),
            pools: pools.as_deref(),
            nodes: &nodes,
            sessions: &sessions,
            leader,
            unknown: unknown.0,
        })
    }

    /// Returns the status of a cluster that was read, with the holder of the Lease.
    pub(crate) fn of_cluster(
        cluster: &ClusterView,
        namespace: Option<&str>,
        leader: Result<LeaderLine, String>,
    ) -> Self {
        let objects = &cluster.objects;
        let mut unknown = cluster.unknown.clone();
        let leader = leader.unwrap_or_else(|error| {
            unknown.push(error);
            LeaderLine::Unknown
        });
        Self::of(StatusSource {
            namespace,
            installation: &cluster.installation,
            states: &cluster.states,
            services: cluster
                .absent(&["Service", "Pod"])
                .is_none()
                .then_some(objects.services.as_slice()),
            pools: cluster
                .absent(&["IPAddressPool"])
                .is_none()
                .then_some(objects.pools.as_slice()),
            nodes: &objects.nodes,
            sessions: &objects.bgp.sessions,
            leader,
            unknown,
        })
    }

    fn of(source: StatusSource<'_>) -> Self {
        let StatusSource {
            installation, states, ..
        } = source;
        let lines = source
            .services
            .map(|services| services::lines(services, installation.class()));
        let (handled, troubled) = lines.map_or((None, Vec::new()), |(handled, troubled)| {
            (Some(handled), troubled)
        });
        let program = |program| ProgramLine {
            pods: installation.of(program).count(),
            ready: installation.of(program).filter(|pod| pod.is_ready).count(),
        };
        let mut versions: Vec<String> = installation.pods.iter().map(|pod| pod.version.clone()).collect();
        versions.sort();
        versions.dedup();
        let nodes = source.nodes.iter();
        Self {
            namespace: source.namespace.map(str::to_owned),
            versions,
            controllers: program(Program::Controller),
            leader: source.leader,
            speakers: program(Program::Speaker),
            pools: source
                .pools
                .map(|pools| pools.iter().map(PoolLine::new).collect()),
            services: handled,
            troubled,
            nodes: nodes
                .map(|node| NodeLine::new(node, installation, states))
                .collect(),
            sessions: source.sessions.iter().filter_map(SessionLine::new).collect(),
            unknown: source.unknown,
            today: Timestamp::now(),
        }
    }
}

/// What a status is made of.
struct StatusSource<'a> {
    namespace: Option<&'a str>,
    installation: &'a Installation,
    states: &'a States,
    /// `None` if they, or the class that Herald handles, are unknown.
    services: Option<&'a [Service]>,
    pools: Option<&'a [IPAddressPool]>,
    nodes: &'a [Node],
    sessions: &'a [BGPSessionState],
    leader: LeaderLine,
    unknown: Vec<String>,
}

/// Lists the Services of type `LoadBalancer`.
async fn services_of_type(client: &Client) -> Result<Vec<Service>, Absence> {
    let params = ListParams::default().fields("spec.type=LoadBalancer");
    list::<Service>(Api::all(client.clone()), params).await
}

/// Returns the active controller, by the Lease.
///
/// # Errors
/// The reason why the Lease is not known.
pub(crate) async fn leader(client: &Client, namespace: Option<&str>) -> Result<LeaderLine, String> {
    let Some(namespace) = namespace else {
        return Ok(LeaderLine::Unknown);
    };
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let lease = leases
        .get_opt(LEASE)
        .await
        .map_err(|error| format!("the Lease {LEASE}: {}", plain(&error)))?;
    let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    Ok(holder.map_or(LeaderLine::None, |pod| LeaderLine::Active {
        pod,
        since: spec.acquire_time.map(|time| time.0.to_string()),
    }))
}

/// What could not be read.
struct Unknown(Vec<String>);

impl Unknown {
    fn known<T>(&mut self, read: Result<T, Absence>) -> Option<T> {
        read.map_err(|absence| self.0.push(absence.to_string())).ok()
    }
}

impl ProgramLine {
    fn text(&self) -> String {
        let text = format!("{} of {} ready", self.ready, self.pods);
        if self.ready == self.pods && self.pods > 0 {
            good(&text)
        } else {
            warning(&text)
        }
    }
}

impl Printable for Status {
    fn text(&self, is_wide: bool) -> String {
        let mut text = format!(
            "{} {} in namespace {}\n",
            heading("Herald"),
            if self.versions.is_empty() {
                "unknown".to_owned()
            } else {
                self.versions.join(", ")
            },
            self.namespace.as_deref().unwrap_or("unknown"),
        );
        let leader = match &self.leader {
            LeaderLine::Active { pod, since } => {
                let since = since.as_deref();
                let since =
                    since.map_or_else(String::new, |since| format!(" for {}", age(since, self.today)));
                format!("{pod} is active{since}")
            }
            LeaderLine::None => warning("no controller is active"),
            LeaderLine::Unknown => "unknown which is active".to_owned(),
        };
        text += &format!("  controllers  {}, {leader}\n", self.controllers.text());
        text += &format!("  speakers     {}\n", self.speakers.text());
        text += &format!("\n{}\n{}", heading("Pools"), pools::text(self.pools.as_deref()));
        text += &services::text(self.services, &self.troubled, is_wide);
        text += &format!("\n{}\n{}", heading("Nodes"), nodes::text(&self.nodes, is_wide));
        text += &nodes::sessions_text(&self.sessions, self.today);
        text + &unknown_text(&self.unknown)
    }
}
