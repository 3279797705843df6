//! A router of each kind on the segment, and the routes that each is to have.

use std::net::IpAddr;

use anyhow::ensure;
use herald_lab::switch::Host;
use herald_lab::{DEADLINE, Lab, plan};
use herald_netns::wait_for;
use herald_routers::{Kind, Neighbour, Router, Routes, Seen, Sessions, Setup};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::resources::{resource, with};
use super::{ASN, ROUTER_ASN};

/// The session of the nodes with a router.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub(super) kind: Kind,
    /// Whether the router has the AS number of the nodes.
    pub(super) is_internal: bool,
    pub(super) over_ipv6: bool,
    /// The AS number that the router expects of each node.
    pub(super) asns: [u32; 3],
    pub(super) password: Option<&'static str>,
}

impl Side {
    const fn new(kind: Kind, is_internal: bool, over_ipv6: bool) -> Self {
        Self {
            kind,
            is_internal,
            over_ipv6,
            asns: [ASN; 3],
            password: None,
        }
    }
}

/// Two arrangements, so that the routers have each sort of session.
pub(super) const FIRST: [Side; 3] = [
    Side::new(Kind::Frr, false, false),
    Side::new(Kind::Bird, true, true),
    Side::new(Kind::GoBgp, true, false),
];
pub(super) const SECOND: [Side; 3] = [
    Side::new(Kind::Frr, true, true),
    Side::new(Kind::Bird, false, false),
    Side::new(Kind::GoBgp, false, true),
];

/// What the routers send to the nodes.
pub(super) const NETWORKS: [&str; 2] = ["203.0.113.0/24", "2001:db8:bad::/48"];

/// A router of the lab.
pub(super) struct LabRouter {
    pub(super) side: Side,
    pub(super) router: Router<Host>,
}

/// Starts the routers, which wait for all nodes. Those that can forward packets.
pub(super) async fn start(lab: &Lab, sides: [Side; 3]) -> anyhow::Result<Vec<LabRouter>> {
    let mut routers = Vec::new();
    for (index, side) in sides.into_iter().enumerate() {
        let addresses = plan::router(index);
        let host = lab.switch().attach(&side.kind.to_string(), addresses).await?;
        // Each connection takes a path of its own.
        for policy in [
            "net/ipv4/fib_multipath_hash_policy",
            "net/ipv6/fib_multipath_hash_policy",
        ] {
            host.netns().set_sysctl(policy, "1").await?;
        }
        let family = usize::from(side.over_ipv6);
        let neighbour = |(node, asn): (usize, u32)| Neighbour {
            router_asn: if side.is_internal { ASN } else { ROUTER_ASN },
            router: addresses[family],
            asn,
            address: plan::node(node)[family],
            interface: None,
            password: side.password,
        };
        let neighbours: Vec<Neighbour> = side.asns.into_iter().enumerate().map(neighbour).collect();
        let setup = Setup {
            neighbours: &neighbours,
            networks: &NETWORKS,
            forwards: side.kind != Kind::GoBgp,
            ..Setup::default()
        };
        let router = block_in_place(|| Router::start_with(side.kind, host, &setup));
        routers.push(LabRouter { side, router });
    }
    Ok(routers)
}

/// A route that nodes announce.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    /// The prefix of each family.
    pub(super) prefixes: [&'a str; 2],
    /// The nodes that announce it.
    pub(super) nodes: &'a [usize],
    pub(super) local_pref: u64,
    pub(super) communities: &'a str,
}

impl<'a> Sent<'a> {
    /// A route without attributes of its own.
    pub(super) fn new(prefixes: [&'a str; 2], nodes: &'a [usize]) -> Self {
        Self {
            prefixes,
            nodes,
            local_pref: 100,
            communities: "",
        }
    }
}

impl LabRouter {
    /// The name of its `BGPPeer`.
    pub(super) fn name(&self) -> String {
        self.side.kind.to_string()
    }

    /// Its `BGPPeer` for both families.
    pub(super) fn peer(&self) -> Value {
        let [v4, v6] = self.router.host().addresses();
        let spec = json!({
            "myASN": ASN,
            "peerASN": if self.side.is_internal { ASN } else { ROUTER_ASN },
            "peerAddress": if self.side.over_ipv6 { v6 } else { v4 },
            "dualStackAddressFamily": true,
            "connectTime": "1s",
        });
        resource("v1beta2", "BGPPeer", &self.name(), &spec)
    }

    /// The same with changes of its spec.
    pub(super) fn peer_with(&self, changes: &Value) -> Value {
        with(self.peer(), &json!({"spec": changes}))
    }

    /// Waits until the router has exactly these routes, of both families.
    pub(super) async fn wait_for(&self, sent: &[Sent<'_>]) -> anyhow::Result<()> {
        self.wait_for_families([true; 2], sent).await
    }

    /// The same with the routes of some families only.
    pub(super) async fn wait_for_families(
        &self,
        families: [bool; 2],
        sent: &[Sent<'_>],
    ) -> anyhow::Result<()> {
        let mut expected = Routes::new();
        for route in sent {
            for (family, prefix) in route.prefixes.into_iter().enumerate() {
                if families[family] && !route.nodes.is_empty() {
                    expected.insert(prefix.to_owned(), self.paths(family, route));
                }
            }
        }
        let what = format!("{} has the routes {expected:#?}", self.name());
        wait_for(&what, DEADLINE, async || {
            let routes = block_in_place(|| self.router.try_routes()).map_err(anyhow::Error::msg)?;
            ensure!(routes == expected, "it has {routes:#?}");
            Ok(Some(()))
        })
        .await
    }

    fn paths(&self, family: usize, route: &Sent<'_>) -> Vec<Seen> {
        let is_internal = self.side.is_internal;
        let path = |node: &usize| Seen {
            next_hop: plan::node(*node)[family].to_string(),
            as_path: if is_internal {
                String::new()
            } else {
                self.side.asns[*node].to_string()
            },
            med: Some(100),
            local_pref: is_internal.then_some(route.local_pref),
            communities: route.communities.to_owned(),
        };
        let mut paths: Vec<Seen> = route.nodes.iter().map(path).collect();
        paths.sort();
        paths
    }

    /// The established sessions.
    pub(super) fn sessions(&self) -> anyhow::Result<Sessions> {
        block_in_place(|| self.router.try_sessions()).map_err(anyhow::Error::msg)
    }

    /// The address that a node has in the session.
    pub(super) fn node(&self, node: usize) -> IpAddr {
        plan::node(node)[usize::from(self.side.over_ipv6)]
    }
}

/// Waits until each router has exactly these routes.
pub(super) async fn wait_for_all(routers: &[LabRouter], sent: &[Sent<'_>]) -> anyhow::Result<()> {
    for router in routers {
        router.wait_for(sent).await?;
    }
    Ok(())
}

/// The resources of all routers.
pub(super) fn peers(routers: &[LabRouter]) -> Vec<Value> {
    routers.iter().map(LabRouter::peer).collect()
}
