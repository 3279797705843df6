//! What changes while sessions stand: pools, and the timers of peers.

use anyhow::ensure;
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use herald_routers::Sessions;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::resources::{ONE, TWO, advertisement, apply, pools, service};
use super::routers::{self, FIRST, LabRouter, Sent, wait_for_all};

const ROUTE_ONE: [&str; 2] = ["10.67.1.1/32", "fd00:6701::1/128"];
const ROUTE_TWO: [&str; 2] = ["10.67.2.1/32", "fd00:6702::1/128"];
const NODES: &[usize] = &[0, 1, 2];
/// Seconds: those of a peer without timers, and those that it gets.
const HOLD_TIMES: [u64; 2] = [90, 9];

pub(super) async fn changed(lab: &mut Lab) -> anyhow::Result<()> {
    let mut routers = routers::start(lab, FIRST).await?;
    apply(lab, &routers::peers(&routers)).await?;
    let communities = json!({"communities": ["large:65001:1:4294967295", "65001:3"]});
    let services = [service("one", ONE), service("two", TWO)];
    apply(lab, &[advertisement("all", &communities)]).await?;
    apply(lab, &services).await?;
    wait_for_sessions(&routers, HOLD_TIMES[0]).await?;

    let before = sessions(&routers)?;
    let sent = [ROUTE_ONE, ROUTE_TWO].map(|prefixes| Sent {
        communities: "65001:3 large:65001:1:4294967295",
        ..Sent::new(prefixes, NODES)
    });
    for (number, pool) in pools().into_iter().enumerate() {
        apply(lab, &[pool]).await?;
        wait_for_all(&routers, &sent[..=number]).await?;
    }
    ensure!(sessions(&routers)? == before, "a pool ended a session");

    let timers = json!({"holdTime": "9s", "keepaliveTime": "2s", "connectTime": "2s"});
    let peers: Vec<Value> = routers.iter().map(|router| router.peer_with(&timers)).collect();
    apply(lab, &peers).await?;
    // What is applied behind them has arrived.
    let plain = [ROUTE_ONE, ROUTE_TWO].map(|prefixes| Sent::new(prefixes, NODES));
    apply(lab, &[advertisement("all", &json!({}))]).await?;
    wait_for_all(&routers, &plain).await?;
    ensure!(sessions(&routers)? == before, "timers ended a session");

    // The next OPEN has them.
    for router in &mut routers {
        block_in_place(|| {
            router.router.kill();
            router.router.run();
        });
    }
    wait_for_sessions(&routers, HOLD_TIMES[1]).await?;
    wait_for_all(&routers, &plain).await
}

fn sessions(routers: &[LabRouter]) -> anyhow::Result<Vec<Sessions>> {
    routers.iter().map(LabRouter::sessions).collect()
}

/// Waits until each router has a session with each node, with this hold time.
async fn wait_for_sessions(routers: &[LabRouter], hold_time: u64) -> anyhow::Result<()> {
    let what = format!("all sessions have a hold time of {hold_time} s");
    wait_for(&what, DEADLINE, async || {
        let all = sessions(routers)?;
        let is_right = |sessions: &Sessions| {
            let mut sessions = sessions.values();
            sessions.len() == NODES.len() && sessions.all(|session| session.hold_time == Some(hold_time))
        };
        ensure!(all.iter().all(is_right), "{all:#?}");
        Ok(Some(()))
    })
    .await
}
