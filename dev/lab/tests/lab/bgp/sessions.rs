//! Which sessions there are, and that a peer which is added, changed or wrong disturbs no other.

use anyhow::ensure;
use herald_api::{BGPSessionState, BGPSessionStateStatus, ConfigurationState};
use herald_lab::objects::NAMESPACE;
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use herald_routers::{Session, Sessions};
use serde_json::{Value, json};

use super::resources::{
    ONE, advertisement, apply, hostname, label_node, pools, service, wait_for_states, with,
};
use super::routers::{self, LabRouter, SECOND, Sent};
use super::{ASN, ROUTER_ASN};

const WEB: [&str; 2] = ["10.67.1.1/32", "fd00:6701::1/128"];
/// The password of all sessions, and the same in base64.
const PASSWORD: &str = "key-of-the-lab";
const PASSWORD_BASE64: &str = "a2V5LW9mLXRoZS1sYWI=";
/// The AS number that the nodes show to one router in place of their own.
const SHOWN_ASN: u32 = 65_201;
/// The AS number that each node has towards one router.
const OWN_ASNS: [u32; 3] = [65_101, 65_102, 65_103];
/// The BGP identifier that all nodes have towards one router.
const IDENTIFIER: &str = "10.9.9.9";

pub(super) async fn configured(lab: &mut Lab) -> anyhow::Result<()> {
    let [frr, bird, gobgp] = SECOND.map(|side| routers::Side {
        password: Some(PASSWORD),
        ..side
    });
    let bird = routers::Side {
        asns: OWN_ASNS,
        ..bird
    };
    let gobgp = routers::Side {
        asns: [SHOWN_ASN; 3],
        ..gobgp
    };
    let routers = routers::start(lab, [frr, bird, gobgp]).await?;
    let [frr, bird, gobgp] = &routers[..] else {
        anyhow::bail!("three routers");
    };
    let password = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "routers", "namespace": NAMESPACE}, "data": {"password": PASSWORD_BASE64},
    });
    apply(lab, &pools()).await?;
    let all = advertisement("all", &json!({}));
    apply(lab, &[password, all, service("web", ONE)]).await?;

    let of_frr = added_one_by_one(lab, [frr, bird, gobgp]).await?;
    node_selectors(lab, bird).await?;
    wrong_as_numbers(lab, [frr, bird, gobgp]).await?;
    ensure!(frr.sessions()?.len() == of_frr.len(), "the sessions are back");
    password_is_shown_nowhere(lab).await
}

/// The password is in no log, on no page and in no object that Herald writes, also after sessions have failed.
async fn password_is_shown_nowhere(lab: &Lab) -> anyhow::Result<()> {
    let mut shown = Vec::new();
    for file in std::fs::read_dir(lab.logs())? {
        let file = file?;
        let name = format!("log {}", file.file_name().display());
        shown.push((
            name,
            String::from_utf8_lossy(&std::fs::read(file.path())?).into_owned(),
        ));
    }
    for node in lab.nodes() {
        shown.push((
            format!("state of {}", node.name()),
            node.state().await?.to_string(),
        ));
        shown.push((format!("metrics of {}", node.name()), node.metrics().await?));
    }
    for namespace in ["default", NAMESPACE] {
        let events = lab.cluster().events(namespace).await?;
        shown.push((format!("events of {namespace}"), events.join("\n")));
    }
    let sessions = lab.cluster().list::<BGPSessionState>(NAMESPACE).await?;
    shown.push(("sessions".to_owned(), serde_json::to_string(&sessions)?));
    let configuration = lab.cluster().list::<ConfigurationState>(NAMESPACE).await?;
    shown.push(("configuration".to_owned(), serde_json::to_string(&configuration)?));
    for (place, text) in &shown {
        let has_password = [PASSWORD, PASSWORD_BASE64].iter().any(|key| text.contains(key));
        ensure!(!has_password, "{place} shows the password");
    }
    // They are about these sessions.
    for (place, about) in [
        ("log speaker-", "bird-0"),
        ("state of ", "bird-0"),
        ("metrics of ", "metallb_bgp_session_up"),
        ("events of default", "bird-0"),
        ("sessions", "bird-0"),
    ] {
        let is_about = |(name, text): &(String, String)| name.starts_with(place) && text.contains(about);
        ensure!(shown.iter().any(is_about), "{place} says nothing of {about}");
    }
    Ok(())
}

/// Each router gets its sessions, and those of the routers before it stay. Returns the sessions of the first one.
async fn added_one_by_one(lab: &Lab, [frr, bird, gobgp]: [&LabRouter; 3]) -> anyhow::Result<Sessions> {
    let nodes = &[0, 1, 2];
    let route = [Sent::new(WEB, nodes)];
    apply(lab, &[peer_of_frr(frr, "internal")]).await?;
    frr.wait_for(&route).await?;
    let of_frr = established(frr, nodes)?;
    for (node, session) in nodes.iter().zip(of_frr.values()) {
        let [own, _] = lab.node(*node).host().addresses();
        ensure!(session.identifier == own.to_string(), "{session:?} of {own}");
    }

    let changes = json!({
        "peerASN": null, "dynamicASN": "external", "localASN": SHOWN_ASN, "routerID": IDENTIFIER,
        "passwordSecret": {"name": "routers"},
    });
    apply(lab, &[gobgp.peer_with(&changes)]).await?;
    gobgp.wait_for(&route).await?;
    let of_gobgp = established(gobgp, nodes)?;
    let has_identifier = |session: &Session| session.identifier == IDENTIFIER;
    ensure!(of_gobgp.values().all(has_identifier), "{of_gobgp:?}");

    apply(lab, &peers_of_bird(lab, bird)).await?;
    bird.wait_for(&route).await?;
    for node in nodes {
        wait_for_states(lab, &format!("bird-{node}"), &[*node], is_established).await?;
    }
    ensure!(established(frr, nodes)? == of_frr, "sessions of FRR ended");
    ensure!(established(gobgp, nodes)? == of_gobgp, "sessions of GoBGP ended");
    Ok(of_frr)
}

fn peer_of_frr(frr: &LabRouter, asn: &str) -> Value {
    let changes = json!({"peerASN": null, "dynamicASN": asn, "passwordSecret": {"name": "routers"}});
    frr.peer_with(&changes)
}

/// A peer for each node, with another AS number.
fn peers_of_bird(lab: &Lab, bird: &LabRouter) -> Vec<Value> {
    let peer = |(node, asn): (usize, u32)| {
        let changes = json!({
            "myASN": asn, "nodeSelectors": [hostname(lab, node)], "passwordSecret": {"name": "routers"},
        });
        let name = json!({"metadata": {"name": format!("bird-{node}")}});
        with(bird.peer_with(&changes), &name)
    };
    OWN_ASNS.into_iter().enumerate().map(peer).collect()
}

/// Returns the sessions, which are those with these nodes.
fn established(router: &LabRouter, nodes: &[usize]) -> anyhow::Result<Sessions> {
    let sessions = router.sessions()?;
    let expected = nodes.iter().map(|node| router.node(*node));
    ensure!(sessions.keys().copied().eq(expected), "{sessions:?}");
    Ok(sessions)
}

fn is_established(state: &BGPSessionStateStatus) -> bool {
    state.bgp_status.as_deref() == Some("Established")
}

/// A session begins and ends with the label of its node.
async fn node_selectors(lab: &Lab, bird: &LabRouter) -> anyhow::Result<()> {
    let mut peers = peers_of_bird(lab, bird);
    let by_label = json!({"spec": {"nodeSelectors": [{"matchLabels": {"rack": "b"}}]}});
    peers[2] = with(peers[2].clone(), &by_label);
    apply(lab, &peers).await?;
    bird.wait_for(&[Sent::new(WEB, &[0, 1])]).await?;
    wait_for_states(lab, "bird-2", &[], is_established).await?;
    let others = established(bird, &[0, 1])?;
    label_node(lab, 2, &json!({"rack": "b"})).await?;
    bird.wait_for(&[Sent::new(WEB, &[0, 1, 2])]).await?;
    wait_for_states(lab, "bird-2", &[2], is_established).await?;
    let with_third = established(bird, &[0, 1, 2])?;
    let is_kept = |(address, session): (_, &Session)| with_third.get(address) == Some(session);
    ensure!(others.iter().all(is_kept), "{others:?}, then {with_third:?}");
    Ok(())
}

/// A wrong AS number is named on either side, ends that session only, and the right one brings it back.
async fn wrong_as_numbers(lab: &Lab, [frr, bird, gobgp]: [&LabRouter; 3]) -> anyhow::Result<()> {
    let route = [Sent::new(WEB, &[0, 1, 2])];
    let of_gobgp = established(gobgp, &[0, 1, 2])?;
    let of_bird = established(bird, &[0, 1, 2])?;
    // Here the router has another one than the resource says ...
    apply(lab, &[peer_of_frr(frr, "external")]).await?;
    frr.wait_for(&[]).await?;
    let named = format!("the peer has AS number {ASN}, which is not the expected one");
    wait_for_event(lab, "frr", &named).await?;
    wait_for_states(lab, "frr", &[0, 1, 2], |state| {
        let error = state.last_error.as_deref().unwrap_or_default();
        !is_established(state) && error.contains(&named)
    })
    .await?;
    // ... and here the resource says another one than the router expects.
    let mut peers = peers_of_bird(lab, bird);
    peers[0] = with(peers[0].clone(), &json!({"spec": {"myASN": ROUTER_ASN - 1}}));
    apply(lab, &peers).await?;
    bird.wait_for(&[Sent::new(WEB, &[1, 2])]).await?;
    wait_for_event(lab, "bird-0", "Bad Peer AS").await?;
    ensure!(
        established(gobgp, &[0, 1, 2])? == of_gobgp,
        "sessions of GoBGP ended"
    );
    let of_others: Sessions = of_bird.into_iter().skip(1).collect();
    ensure!(established(bird, &[1, 2])? == of_others, "sessions of BIRD ended");

    apply(lab, &[peer_of_frr(frr, "internal")]).await?;
    apply(lab, &peers_of_bird(lab, bird)).await?;
    for router in [frr, bird, gobgp] {
        router.wait_for(&route).await?;
    }
    wait_for_states(lab, "frr", &[0, 1, 2], is_established).await?;
    ensure!(
        established(gobgp, &[0, 1, 2])? == of_gobgp,
        "sessions of GoBGP ended"
    );
    Ok(())
}

async fn wait_for_event(lab: &Lab, peer: &str, text: &str) -> anyhow::Result<()> {
    let about = format!("BGPSessionDown: BGP session with peer \"{peer}\"");
    let what = format!("an event about {peer} says {text:?}");
    wait_for(&what, DEADLINE, async || {
        let events = lab.cluster().events("default").await?;
        let of_peer: Vec<&String> = events.iter().filter(|event| event.contains(&about)).collect();
        ensure!(of_peer.iter().any(|event| event.contains(text)), "{of_peer:#?}");
        Ok(Some(()))
    })
    .await
}
