//! What the client of the lab sees of an address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use herald_netns::{MacAddr, wait_for};

use super::Lab;
use crate::prober::{Pace, Prober};

impl Lab {
    /// The Ethernet address that the client's kernel resolves `address` to, after its entry was removed.
    pub async fn resolve(&self, address: IpAddr, limit: Duration) -> anyhow::Result<MacAddr> {
        self.client
            .links()
            .forget_neighbour(crate::switch::LINK, address)
            .await?;
        wait_for(&format!("the client resolves {address}"), limit, async || {
            self.client.poke(address).await?;
            let entry = self.client.links().neighbour(address).await?;
            Ok(entry.and_then(|entry| entry.mac))
        })
        .await
    }

    /// The index of the node that has this Ethernet address.
    pub fn node_with(&self, mac: MacAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.host().mac() == mac)
    }

    /// The index of the node that answers for `address`, by what the client's kernel learns.
    pub async fn owner(&self, address: IpAddr, limit: Duration) -> anyhow::Result<usize> {
        let mac = self.resolve(address, limit).await?;
        self.node_with(mac)
            .with_context(|| format!("{address} is at {mac}, which is no node's"))
    }

    /// The index of the node that the client's neighbour table has for `address`. Nothing is sent.
    pub async fn learnt_owner(&self, address: IpAddr) -> anyhow::Result<Option<usize>> {
        let entry = self.client.links().neighbour(address).await?;
        Ok(entry
            .and_then(|entry| entry.mac)
            .and_then(|mac| self.node_with(mac)))
    }

    /// Starts a client that requests `address` on `port`, once it is served. A request that comes before kube-proxy
    /// has its rules leaves an entry in that machine's connection table which, for two minutes, catches every later one from
    /// the same port; so the switch's own machine asks first.
    ///
    /// # Errors
    /// When it is not served within `limit`.
    pub async fn probe(
        &self,
        address: IpAddr,
        port: u16,
        pace: Pace,
        limit: Duration,
    ) -> anyhow::Result<Prober> {
        let target = SocketAddr::new(address, port);
        wait_for(&format!("{target} accepts connections"), limit, async || {
            let connect = move || std::net::TcpStream::connect_timeout(&target, pace.timeout);
            Ok(Some(self.switch.netns().run(connect).await?))
        })
        .await?;
        Prober::start(self.client.netns(), target, pace).await
    }
}
