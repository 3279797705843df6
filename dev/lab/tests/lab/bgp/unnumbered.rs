//! A session over the link of a router, without an address of it in any resource.

use std::net::Ipv6Addr;

use anyhow::ensure;
use herald_lab::switch::LINK;
use herald_lab::{DEADLINE, Lab, plan};
use herald_netns::{MacAddr, wait_for};
use herald_routers::{Kind, Neighbour, Router, Routes, Seen};
use serde_json::json;
use tokio::task::block_in_place;

use super::resources::{
    ONE, advertisement, apply, hostname, pools, resource, service, wait_for_announcing, wait_for_states,
};
use super::{ASN, ROUTER_ASN};

/// The routes to [`ONE`].
const WEB: [&str; 2] = ["10.67.1.1/32", "fd00:6701::1/128"];

pub(super) async fn connected(lab: &mut Lab) -> anyhow::Result<()> {
    let addresses = plan::router(0);
    let host = lab.switch().attach("frr", addresses).await?;
    let neighbour = Neighbour {
        router_asn: ROUTER_ASN,
        router: addresses[0],
        asn: ASN,
        address: plan::node(0)[0],
        interface: Some(LINK),
        password: None,
    };
    let router = block_in_place(|| Router::start(Kind::Frr, host, &[neighbour]));
    let peer = json!({
        "myASN": ASN, "peerASN": ROUTER_ASN, "interface": LINK, "nodeSelectors": [hostname(lab, 0)],
    });
    apply(lab, &pools()).await?;
    let resources = [
        resource("v1beta2", "BGPPeer", "link", &peer),
        advertisement("all", &json!({})),
        service("web", ONE),
    ];
    apply(lab, &resources).await?;

    let seen = Seen {
        next_hop: link_local(lab.node(0).host().mac()).to_string(),
        as_path: ASN.to_string(),
        med: Some(100),
        ..Seen::default()
    };
    let expected: Routes = WEB.map(|prefix| (prefix.to_owned(), vec![seen.clone()])).into();
    let what = format!("the router on the link has the routes {expected:#?}");
    wait_for(&what, DEADLINE, async || {
        let routes = block_in_place(|| router.try_routes()).map_err(anyhow::Error::msg)?;
        ensure!(routes == expected, "it has {routes:#?}");
        Ok(Some(()))
    })
    .await?;
    wait_for_announcing(lab, "web", &[0], &["link"]).await?;
    wait_for_states(lab, "link", &[0], |state| {
        state.bgp_status.as_deref() == Some("Established")
    })
    .await
}

/// The address that an interface has by its Ethernet address (RFC 4291 appendix A).
fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    let pairs = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    let [one, two, three, four] = pairs;
    Ipv6Addr::new(0xfe80, 0, 0, 0, one, two, three, four)
}
