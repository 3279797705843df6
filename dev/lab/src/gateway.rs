//! A router between the client and the addresses of Services: it learns them by BGP and spreads connections over the nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, bail};
use herald_routers::{Kind, Neighbour, Router, Setup};
use ipnet::IpNet;
use tokio::task::block_in_place;

use crate::switch::Host;
use crate::{Lab, plan};

/// Parameters of its kernel: it forwards packets, it takes ports into account when it chooses among nodes, and it does not tell the
/// client, which is on the same segment, to go to a node directly.
const PARAMETERS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/fib_multipath_hash_policy", "1"),
    ("net/ipv6/fib_multipath_hash_policy", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/eth0/send_redirects", "0"),
];

/// Returns a program that can run here and forwards packets.
///
/// # Errors
/// When there is none, with what is missing.
pub fn installed() -> anyhow::Result<Kind> {
    let mut obstacles = Vec::new();
    for kind in [Kind::Frr, Kind::Bird] {
        match kind.obstacle() {
            None => return Ok(kind),
            Some(obstacle) => obstacles.push((kind, obstacle)),
        }
    }
    bail!("{}", nothing_installed(&obstacles))
}

fn nothing_installed(obstacles: &[(Kind, String)]) -> String {
    let reason =
        |(kind, obstacle): &(Kind, String)| format!("{kind}: {obstacle} (package {})", kind.package());
    let reasons: Vec<String> = obstacles.iter().map(reason).collect();
    format!(
        "no router can run here: {}; on Debian and Ubuntu, `apt install {}` installs one that needs no root",
        reasons.join("; "),
        Kind::Bird.package()
    )
}

/// What the router is.
#[derive(Debug, Clone, Copy)]
pub struct Gateway {
    /// Its program.
    pub kind: Kind,
    /// What the client and the switch send through it: an IPv4 and an IPv6 network.
    pub networks: [&'static str; 2],
    /// The AS numbers of the nodes and of the router.
    pub asns: [u32; 2],
    /// Whether it removes the routes of a node as soon as the session ends (BIRD only).
    pub keeps_nothing: bool,
}

/// Starts the router, which waits for all nodes over IPv4.
///
/// # Errors
/// When the kernel refuses.
///
/// # Panics
/// When the program does not start.
pub async fn start(lab: &Lab, gateway: Gateway) -> anyhow::Result<Router<Host>> {
    let Gateway {
        kind,
        networks,
        asns,
        keeps_nothing,
    } = gateway;
    let [asn, router_asn] = asns;
    let addresses = plan::router(0);
    let host = lab.switch().attach("router", addresses).await?;
    for (parameter, value) in PARAMETERS {
        host.netns().set_sysctl(parameter, value).await?;
    }
    // A kernel that forwards IPv6 always tells of the shorter way.
    let redirects = "net/ipv6/conf/eth0/accept_redirects";
    lab.client().netns().set_sysctl(redirects, "0").await?;
    let switch = lab.switch().netns().links().await?;
    for (network, gateway) in networks.into_iter().zip(addresses) {
        let network: IpNet = network.parse()?;
        lab.client().links().add_network_route(network, gateway).await?;
        switch.add_network_route(network, gateway).await?;
    }
    let neighbour = |node: usize| Neighbour {
        router_asn,
        router: addresses[0],
        asn,
        address: plan::node(node)[0],
        interface: None,
        password: None,
    };
    let neighbours: Vec<Neighbour> = (0..lab.nodes().len()).map(neighbour).collect();
    let setup = Setup {
        neighbours: &neighbours,
        forwards: true,
        keeps_nothing,
        ..Setup::default()
    };
    Ok(block_in_place(|| Router::start_with(kind, host, &setup)))
}

/// Returns the nodes by which the router has an address.
///
/// # Errors
/// When the router does not answer, or has a route by another machine.
pub fn nodes_with(router: &Router<Host>, address: IpAddr) -> anyhow::Result<BTreeSet<usize>> {
    let routes = block_in_place(|| router.try_routes()).map_err(anyhow::Error::msg)?;
    let paths = routes.get(&IpNet::from(address).to_string());
    let node = |hop: IpAddr| (0..plan::MAX_NODES).find(|node| plan::node(*node).contains(&hop));
    let nodes = paths
        .into_iter()
        .flatten()
        .map(|path| path.next_hop.parse().ok().and_then(node));
    let nodes: Option<BTreeSet<usize>> = nodes.collect();
    nodes.context("the router has a route by another machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let missing = |program: &str| format!("{program} is not installed");
        let text = nothing_installed(&[(Kind::Frr, missing("vtysh")), (Kind::Bird, missing("bird"))]);
        assert_eq!(
            text,
            "no router can run here: frr: vtysh is not installed (package frr); bird: bird is not installed (package bird2); \
             on Debian and Ubuntu, `apt install bird2` installs one that needs no root"
        );
    }
}
