//! The stand-in for kube-proxy: brings what arrives for a load balancer address to a ready endpoint.
//!
//! For every `status.loadBalancer.ingress` address it makes the node's kernel accept packets for it, without
//! ever answering ARP or NDP, and listens on the Service's ports. Without an endpoint it does not listen,
//! so clients are refused. It keeps going with what it knows while the API server is away. Unlike
//! kube-proxy it forwards in user space (pods see the node as the client) and serves load balancer
//! addresses only, no cluster addresses and node ports.

mod forward;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures::stream::select;
use futures::{Stream, StreamExt};
use herald_netns::{Links, sysctl};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{Store, store};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

pub use self::forward::DIAL;
use self::forward::Forwarder;
use self::table::{Frontend, Table};

/// Between two tries to reach the API server, or to make a listener that could not be made.
const RETRY: Duration = Duration::from_millis(500);

/// Changes that are looked at together, at most.
const MANY: usize = 4096;

/// Arguments of the proxy role. The API server is found by KUBECONFIG.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Name of the node that it runs on.
    #[arg(long)]
    node: String,
}

/// Follows Services and EndpointSlices, for ever.
pub async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    // Without it the kernel answers ARP for every address that it accepts, on every node.
    sysctl::set("net/ipv4/conf/all/arp_ignore", "1")?;
    let (connection, handle, _) = rtnetlink::new_connection().context("cannot open netlink")?;
    tokio::spawn(connection);
    let client = Client::try_default()
        .await
        .context("no API server is configured")?;
    let (services, service_events) = follow::<Service>(&client);
    let (slices, slice_events) = follow::<EndpointSlice>(&client);
    // All that is known by now at once: with thousands of Services, a table for each change would take for ever.
    let mut changes = pin!(select(service_events, slice_events).ready_chunks(MANY));
    let mut proxy = Proxy::new(Links::new(handle));
    let mut behind = false;
    loop {
        let limit = if behind { RETRY } else { Duration::MAX };
        if let Ok(None) = timeout(limit, changes.next()).await {
            anyhow::bail!("the watches ended");
        }
        let table = Table::new(&services.state(), &slices.state(), &args.node);
        behind = proxy.apply(&table).await.is_err_and(|error| {
            tracing::warn!("{error:#}; trying again");
            true
        });
    }
}

/// A store of all objects of a kind, and a stream that must be polled to keep it up to date.
fn follow<K>(client: &Client) -> (Store<K>, impl Stream<Item = ()> + use<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = store();
    // A short time-out: kube notices a connection that died silently only after it.
    let events = watcher(Api::all(client.clone()), watcher::Config::default().timeout(60)).backoff(Steady);
    let stream = reflector(writer, events).map(|event| {
        if let Err(error) = event {
            tracing::warn!("watch: {error}");
        }
    });
    (store, stream)
}

/// Tries again at the same pace for ever: the one API server of the lab needs no mercy.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(RETRY)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// What is in force on this node.
struct Proxy {
    links: Links,
    accepted: BTreeSet<IpAddr>,
    forwarders: BTreeMap<Frontend, Forwarder>,
}

impl Proxy {
    fn new(links: Links) -> Self {
        Self {
            links,
            accepted: BTreeSet::new(),
            forwarders: BTreeMap::new(),
        }
    }

    /// Brings the node to what `table` says. After an error the rest may be undone; applying again goes on.
    async fn apply(&mut self, table: &Table) -> anyhow::Result<()> {
        self.forwarders
            .retain(|frontend, _| table.frontends.contains_key(frontend));
        for &address in table.addresses.difference(&self.accepted.clone()) {
            self.links.accept_locally(address).await?;
            self.accepted.insert(address);
        }
        for (&frontend, endpoints) in &table.frontends {
            match self.forwarders.get(&frontend) {
                Some(forwarder) => forwarder.set_endpoints(endpoints),
                None => {
                    let forwarder = Forwarder::start(frontend, endpoints.clone())?;
                    self.forwarders.insert(frontend, forwarder);
                }
            }
        }
        for address in self.accepted.clone().difference(&table.addresses) {
            self.links.stop_accepting(*address).await?;
            self.accepted.remove(address);
        }
        Ok(())
    }
}
