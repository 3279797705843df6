//! A stand-in for MetalLB's speaker, for Services with IPv4 addresses and policy Cluster that are announced from all nodes.
//!
//! On the wire and towards the API server it does what MetalLB's speaker does. It shares no code with Herald's elections. In the
//! place of memberlist the stand-ins send each other datagrams, with the times that were measured with memberlist. As MetalLB's
//! speaker, it leaves all Services alone until all pools of the configuration are valid for the first time.

mod membership;
mod objects;
mod responder;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use herald_api::IPAddressPool;
use herald_api::convert::ingress_addresses;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::membership::Membership;
use self::objects::Objects;
use self::responder::Responder;
use crate::objects::NAMESPACE;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);
/// Until the speaker joins the others, for which memberlist needs a few round trips after its start.
const JOIN: Duration = Duration::from_millis(200);
/// Between two lists of the Services.
const LIST: Duration = Duration::from_millis(500);

/// Arguments of the MetalLB role. The API server is found by KUBECONFIG.
#[derive(Debug, Args)]
pub(super) struct MetalLbArgs {
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// Name of the Pod.
    #[arg(long)]
    pod: String,
    /// Address of the node.
    #[arg(long)]
    address: IpAddr,
    /// Address of another node with MetalLB's speaker; may be repeated.
    #[arg(long)]
    peer: Vec<IpAddr>,
}

/// Announces until SIGTERM.
pub(super) async fn run(args: MetalLbArgs) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("no API server is configured")?;
    let mut terminated = signal(SignalKind::terminate())?;
    let join_at = Instant::now() + JOIN;
    let mut speaker = Speaker {
        membership: Membership::new(&args.node, args.address, args.peer, join_at).await?,
        responder: Responder::start()?,
        objects: Objects::start(client.clone(), &args.node, &args.pod).await?,
        services: BTreeMap::new(),
        is_configured: false,
        node: args.node,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_list = Instant::now();
    loop {
        let has_changed = tokio::select! {
            _ = terminated.recv() => break,
            has_changed = speaker.membership.receive() => has_changed?,
            _ = ticks.tick() => speaker.membership.handle_time().await,
        };
        if has_changed {
            tracing::info!("members: {:?}", speaker.membership.names().collect::<Vec<_>>());
            speaker.announce(true);
        }
        if Instant::now() >= next_list {
            next_list = Instant::now() + LIST;
            // While the API server is away, the speaker continues with what it knows.
            if !speaker.is_configured {
                speaker.is_configured = is_configuration_valid(&client).await.unwrap_or(false);
            }
            if let Ok(services) = list(&client).await {
                let is_new = speaker.is_configured && services != speaker.services;
                if is_new {
                    speaker.services = services;
                    speaker.announce(false);
                }
            }
        }
        speaker.responder.send_due();
    }
    speaker.membership.leave().await;
    Ok(())
}

/// The Services of type LoadBalancer of namespace `default` with an IPv4 address.
async fn list(client: &Client) -> anyhow::Result<BTreeMap<String, Ipv4Addr>> {
    let services = Api::<Service>::namespaced(client.clone(), "default");
    let services = services.list(&ListParams::default()).await?;
    let address = |service: &Service| match ingress_addresses(service).first() {
        Some(IpAddr::V4(address)) => Some((service.name_any(), *address)),
        Some(IpAddr::V6(_)) | None => None,
    };
    Ok(services.iter().filter_map(address).collect())
}

/// Whether all pools have addresses, and none has an address that another one or the same has already.
async fn is_configuration_valid(client: &Client) -> anyhow::Result<bool> {
    let pools = Api::<IPAddressPool>::namespaced(client.clone(), NAMESPACE);
    let pools = pools.list(&ListParams::default()).await?;
    let addresses = pools.iter().flat_map(|pool| &pool.spec.addresses);
    let Some(mut ranges) = addresses.map(|text| range(text)).collect::<Option<Vec<_>>>() else {
        return Ok(false);
    };
    ranges.sort_unstable();
    Ok(!ranges.is_empty() && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0))
}

/// The first and the last address of a prefix or a range.
fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        return Some((first.trim().parse().ok()?, last.trim().parse().ok()?));
    }
    let prefix: IpNet = text.parse().ok()?;
    Some((prefix.network(), prefix.broadcast()))
}

struct Speaker {
    node: String,
    membership: Membership,
    responder: Responder,
    objects: Objects,
    services: BTreeMap<String, Ipv4Addr>,
    is_configured: bool,
}

impl Speaker {
    /// Takes and gives up addresses as the elections say. A change of the members makes each leader announce again.
    fn announce(&mut self, again: bool) {
        let mut led = BTreeMap::new();
        for (service, &address) in &self.services {
            if leader(self.membership.names(), address) == Some(&self.node) {
                led.insert(service.clone(), address);
            }
        }
        self.responder.set_addresses(led.values().copied(), again);
        self.objects.set_led(led.into_keys().collect());
    }
}

/// The node that announces an address: the first one by the hash of its name and the address.
fn leader<'a>(nodes: impl Iterator<Item = &'a String>, address: Ipv4Addr) -> Option<&'a String> {
    nodes.min_by_key(|node| Sha256::digest(format!("{node}#{address}")).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `printf 'node-1#192.168.67.120' | sha256sum` and so on.
    #[test]
    fn the_first_node_by_hash_leads() {
        let nodes = ["node-1", "node-2", "node-3"].map(str::to_owned);
        let leads = |host: u8| leader(nodes.iter(), Ipv4Addr::new(192, 168, 67, host)).unwrap();
        assert_eq!([120, 122, 124].map(leads), ["node-2", "node-1", "node-3"]);
    }
}
