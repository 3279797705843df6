//! What advertisements put on routes, and at which routers.

use herald_api::{BGPAdvertisement, BGPPeer};
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use herald_routers::Kind;
use serde_json::{Value, json};

use super::resources::{
    ONE, TWO, advertisement, apply, delete, hostname, label_node, pools, resource, service,
    wait_for_announcing, with,
};
use super::routers::{self, FIRST, LabRouter, Sent, wait_for_all};

/// The routes to [`ONE`] and [`TWO`], and the aggregate of pool `one`.
const HOST_ONE: [&str; 2] = ["10.67.1.1/32", "fd00:6701::1/128"];
const HOST_TWO: [&str; 2] = ["10.67.2.1/32", "fd00:6702::1/128"];
const AGGREGATE: [&str; 2] = ["10.67.1.0/28", "fd00:6701::/124"];

const ALL: &[usize] = &[0, 1, 2];

pub(super) async fn updated(lab: &mut Lab) -> anyhow::Result<()> {
    let routers = routers::start(lab, FIRST).await?;
    let name = json!({"communities": [{"name": "inside", "value": "65001:3"}]});
    apply(lab, &pools()).await?;
    apply(lab, &routers::peers(&routers)).await?;
    let names = resource("v1beta1", "Community", "names", &name);
    apply(lab, &[names, service("one", ONE), service("two", TWO)]).await?;

    attributes(lab, &routers).await?;
    peers(lab, &routers).await?;
    node_selectors(lab, &routers).await?;
    service_selectors(lab, &routers).await?;
    mistake(lab, &routers).await?;
    without_peers(lab, &routers).await
}

/// The advertisement of pool `one` once it is aggregated.
fn aggregated(changes: &Value) -> Value {
    let spec = json!({
        "ipAddressPools": ["one"], "aggregationLength": 28, "aggregationLengthV6": 124,
        "communities": ["inside"], "localPref": 300,
    });
    advertisement("one", &with(spec, changes))
}

/// The aggregate with the attributes of [`aggregated`].
fn aggregate() -> Sent<'static> {
    Sent {
        local_pref: 300,
        communities: "65001:3",
        ..Sent::new(AGGREGATE, ALL)
    }
}

/// Attributes are on the routes of their pool only, change together with the length, and those of two advertisements add up.
async fn attributes(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let two = Sent::new(HOST_TWO, ALL);
    let one = json!({"ipAddressPools": ["one"], "communities": ["65001:1"], "localPref": 200});
    let plain = advertisement("two", &json!({"ipAddressPools": ["two"]}));
    apply(lab, &[advertisement("one", &one), plain]).await?;
    let sent = Sent {
        local_pref: 200,
        communities: "65001:1",
        ..Sent::new(HOST_ONE, ALL)
    };
    wait_for_all(routers, &[sent, two]).await?;

    apply(lab, &[aggregated(&json!({}))]).await?;
    wait_for_all(routers, &[aggregate(), two]).await?;

    apply(lab, &[overlapping(&json!({}))]).await?;
    let both = Sent {
        communities: "65001:2 65001:3",
        ..aggregate()
    };
    wait_for_all(routers, &[both, two]).await
}

/// Another advertisement of the same aggregate, with another community.
fn overlapping(changes: &Value) -> Value {
    let other = with(json!({"communities": ["65001:2"]}), changes);
    with(aggregated(&other), &json!({"metadata": {"name": "overlapping"}}))
}

/// An advertisement is for the peers that it lists, and without a list for all.
async fn peers(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let two = Sent::new(HOST_TWO, ALL);
    let changed = [
        aggregated(&json!({"peers": ["frr"]})),
        overlapping(&json!({"peers": ["bird", "gobgp"]})),
    ];
    apply(lab, &changed).await?;
    for router in routers {
        let communities = match router.side.kind {
            Kind::Frr => "65001:3",
            Kind::Bird | Kind::GoBgp => "65001:2",
        };
        let own = Sent {
            communities,
            ..aggregate()
        };
        router.wait_for(&[own, two]).await?;
    }
    delete::<BGPAdvertisement>(lab, "overlapping").await?;
    for router in routers {
        let one = (router.side.kind == Kind::Frr).then(aggregate);
        let sent: Vec<Sent<'_>> = one.into_iter().chain([two]).collect();
        router.wait_for(&sent).await?;
    }
    apply(lab, &[aggregated(&json!({}))]).await?;
    wait_for_all(routers, &[aggregate(), two]).await
}

/// The nodes that announce a pool are those of all its advertisements. The other pool is not touched.
async fn node_selectors(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let zone = json!({"nodeSelectors": [{"matchLabels": {"zone": "a"}}], "ipAddressPools": ["two"]});
    apply(lab, &[advertisement("two", &zone)]).await?;
    wait_for_all(routers, &[aggregate()]).await?;
    label_node(lab, 0, &json!({"zone": "a"})).await?;
    wait_for_all(routers, &[aggregate(), Sent::new(HOST_TWO, &[0])]).await?;
    let third = json!({"nodeSelectors": [hostname(lab, 2)], "ipAddressPools": ["two"]});
    apply(lab, &[advertisement("third", &third)]).await?;
    wait_for_all(routers, &[aggregate(), Sent::new(HOST_TWO, &[0, 2])]).await?;
    label_node(lab, 0, &json!({"zone": null})).await?;
    wait_for_all(routers, &[aggregate(), Sent::new(HOST_TWO, &[2])]).await?;
    delete::<BGPAdvertisement>(lab, "third").await?;
    wait_for_all(routers, &[aggregate()]).await
}

/// A Service is announced by the advertisements that select both its pool and its labels. A host route goes beside the aggregate.
async fn service_selectors(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let gold = json!({"metadata": {"labels": {"tier": "gold"}}});
    let selector = json!([{"matchLabels": {"tier": "gold"}}]);
    let two = json!({"ipAddressPools": ["two"], "serviceSelectors": selector, "communities": ["65001:4"]});
    let one = json!({"ipAddressPools": ["one"], "serviceSelectors": selector, "communities": ["65001:5"]});
    apply(
        lab,
        &[
            advertisement("two", &two),
            advertisement("hosts", &one),
            with(service("one", ONE), &gold),
        ],
    )
    .await?;
    let host = Sent {
        communities: "65001:5",
        ..Sent::new(HOST_ONE, ALL)
    };
    wait_for_all(routers, &[aggregate(), host]).await?;
    let other = Sent {
        communities: "65001:4",
        ..Sent::new(HOST_TWO, ALL)
    };
    apply(lab, &[with(service("two", TWO), &gold)]).await?;
    wait_for_all(routers, &[aggregate(), host, other]).await?;
    apply(lab, &[service("one", ONE)]).await?;
    wait_for_all(routers, &[aggregate(), other]).await
}

/// The metric of each speaker shows an advertisement with an unknown community until it is corrected. The routes stay as they are.
async fn mistake(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    let two = Sent {
        communities: "65001:4",
        ..Sent::new(HOST_TWO, ALL)
    };
    let unknown = json!({"communities": ["inside", "outside"]});
    for (changes, is_stale) in [(unknown, true), (json!({}), false)] {
        apply(lab, &[aggregated(&changes)]).await?;
        for node in lab.nodes() {
            let what = format!("the configuration of {} is stale: {is_stale}", node.name());
            wait_for(&what, DEADLINE, async || {
                let stale = node.metric("metallb_k8s_client_config_stale_bool").await?;
                Ok(((stale > 0.0) == is_stale).then_some(()))
            })
            .await?;
        }
        wait_for_all(routers, &[aggregate(), two]).await?;
    }
    Ok(())
}

/// Without any peer no node publishes that it announces a Service.
async fn without_peers(lab: &Lab, routers: &[LabRouter]) -> anyhow::Result<()> {
    for service in ["one", "two"] {
        wait_for_announcing(lab, service, ALL, &["bird", "frr", "gobgp"]).await?;
    }
    for router in routers {
        delete::<BGPPeer>(lab, &router.name()).await?;
    }
    for service in ["one", "two"] {
        wait_for_announcing(lab, service, &[], &[]).await?;
    }
    wait_for_all(routers, &[]).await
}
