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

use crate::cluster::CommonArgs;
use crate::model::Model;
pub(crate) use announcement::AddressAnnouncement;
pub(crate) use pool::advertisements_of;

/// What to explain.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(subcommand)]
    subject: Subject,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Subject {
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
        let mut model = Model::of(&cluster);
        let output = self.common.output;
        match self.subject {
            Subject::Service { service, namespace } => {
                let key = service_key(&service, namespace.as_deref(), &connection.namespace)?;
                let history = history::of_service(&connection, &cluster, &key).await;
                output.print(&service::explain(&cluster, &mut model, &key, history)?)
            }
            Subject::Address { address } => {
                output.print(&address::explain(&cluster, &mut model, address.to_canonical()))
            }
            Subject::Pool { pool } => output.print(&pool::explain(&cluster, &mut model, &pool)?),
            Subject::Node { node } => output.print(&node::explain(&cluster, &model, &node)?),
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
