//! `heraldctl explain`: why a Service, an address, a pool or a node is as it is.

mod address;
mod announcement;
mod history;
mod node;
mod pool;
mod service;

use std::net::IpAddr;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use herald_core::ServiceKey;
use serde::Serialize;

use crate::cluster::{ApiConnection, ClusterView, CommonArgs};
use crate::model::Model;
use crate::output::Printable;
pub(crate) use announcement::{AddressAnnouncement, DECISIVE};
pub(crate) use history::{History, MoveLine, last_moves};
pub(crate) use pool::advertisements_of;
pub(crate) use service::{ServiceExplainer, message as pool_message};

/// What to explain.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(subcommand)]
    subject: Subject,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Subject {
    /// Why a Service has its addresses or none, which node announces them, and what to do next.
    #[command(visible_alias = "svc")]
    Service {
        /// The Service: NAMESPACE/NAME, or NAME in the namespace of -n or of the context.
        service: String,
        /// The namespace of the Service.
        #[arg(long, short)]
        namespace: Option<String>,
    },
    /// Who has an address, for whom it is reserved, who waits for it, and who answers for it.
    Address {
        /// The address.
        address: IpAddr,
    },
    /// What a pool gives, to whom, and who announces its addresses.
    Pool {
        /// The name of the IPAddressPool.
        pool: String,
    },
    /// What a node announces, and why not more.
    Node {
        /// The name of the Node.
        node: String,
    },
}

impl ExplainArgs {
    /// Explains, and prints the explanation.
    ///
    /// # Errors
    /// When the subject does not exist, or the API server does not answer.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let (connection, cluster) = self.common.read().await?;
        let explanation = self.subject.explain(&connection, &cluster).await?;
        self.common.output.print(&explanation)
    }
}

impl Subject {
    /// Explains it.
    ///
    /// # Errors
    /// When it does not exist.
    pub(crate) async fn explain(
        &self,
        connection: &ApiConnection,
        cluster: &ClusterView,
    ) -> anyhow::Result<Explanation> {
        let mut model = Model::of(cluster);
        Ok(match self {
            Self::Service { service, namespace } => {
                let key = service_key(service, namespace.as_deref(), &connection.namespace)?;
                let history = history::of_service(connection, cluster, &key).await;
                let explanation = service::explain(cluster, &mut model, &key, history)?;
                Explanation::Service(Box::new(explanation))
            }
            Self::Address { address } => {
                let explanation = address::explain(cluster, &mut model, address.to_canonical());
                Explanation::Address(Box::new(explanation))
            }
            Self::Pool { pool } => Explanation::Pool(Box::new(pool::explain(cluster, &mut model, pool)?)),
            Self::Node { node } => Explanation::Node(Box::new(node::explain(cluster, &model, node)?)),
        })
    }
}

/// Why a subject is as it is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Explanation {
    Service(Box<service::ServiceExplanation>),
    Address(Box<address::AddressExplanation>),
    Pool(Box<pool::PoolExplanation>),
    Node(Box<node::NodeExplanation>),
}

impl Printable for Explanation {
    fn text(&self, is_wide: bool) -> String {
        match self {
            Self::Service(explanation) => explanation.text(is_wide),
            Self::Address(explanation) => explanation.text(is_wide),
            Self::Pool(explanation) => explanation.text(is_wide),
            Self::Node(explanation) => explanation.text(is_wide),
        }
    }
}

fn service_key(text: &str, given: Option<&str>, default: &str) -> anyhow::Result<ServiceKey> {
    let Some((namespace, name)) = text.split_once('/') else {
        return Ok(ServiceKey::new(given.unwrap_or(default), text));
    };
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        bail!("{text:?} names no Service; write NAMESPACE/NAME");
    }
    if let Some(other) = given.filter(|given| *given != namespace) {
        bail!("{text:?} and --namespace={other} name two namespaces");
    }
    Ok(ServiceKey::new(namespace, name))
}

/// Returns the object with a name.
///
/// # Errors
/// When there is none; the message names those that are like it.
fn find<'a, T>(
    kind: &'static str,
    name: &str,
    objects: &'a [T],
    name_of: impl Fn(&T) -> String,
) -> anyhow::Result<&'a T> {
    let found = objects.iter().find(|object| name_of(object) == name);
    found.with_context(|| {
        let names: Vec<String> = objects.iter().map(name_of).take(10).collect();
        if names.is_empty() {
            format!("there is no {kind} {name:?}, and no other {kind}")
        } else {
            format!("there is no {kind} {name:?}; there are {}", names.join(", "))
        }
    })
}

#[cfg(test)]
mod tests;
