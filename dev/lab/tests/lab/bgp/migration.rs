//! From FRR as MetalLB's speaker to Herald, node by node, behind a router and under requests.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use herald_lab::clock::Monotonic;
use herald_lab::gateway::{self, Gateway};
use herald_lab::objects::{NAMESPACE, Pod};
use herald_lab::prober::{History, Pace};
use herald_lab::role::probe::Outcome;
use herald_lab::switch::Host;
use herald_lab::{DEADLINE, Lab, plan};
use herald_netns::wait_for;
use herald_routers::{Kind, Neighbour, Router, Setup};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::task::block_in_place;

use super::resources::{advertisement, apply, pools, resource};
use super::{ASN, ROUTER_ASN};
use crate::{PROCESSORS, trial};

const ADDRESS: &str = "10.67.1.1";
const ROUTE: &str = "10.67.1.1/32";
const NETWORKS: [&str; 2] = ["10.67.1.0/28", "fd00:6701::/124"];
/// A thousand requests a second.
const PACE: Pace = Pace {
    interval: Duration::from_millis(1),
    timeout: Duration::from_secs(20),
    most_open: 100,
};
/// So many answers in a row show that nothing is under way any more.
const STREAK: usize = 500;
/// How late a change of next hops may be seen here.
const LATENESS: Duration = Duration::from_millis(500);

/// What the migration meets.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    /// `spec.externalTrafficPolicy`.
    policy: &'static str,
    /// Whether the router keeps routes for a graceful restart.
    keeps_routes: bool,
}

pub(super) fn trials() -> Vec<Trial> {
    let of = |name, policy, keeps_routes| of_migration(name, Conditions { policy, keeps_routes });
    vec![
        of(
            "nodes_move_from_frr_to_herald_one_by_one_and_every_request_finds_a_node",
            "Cluster",
            true,
        ),
        of(
            "nodes_move_from_frr_to_herald_with_policy_local_and_every_request_finds_a_node",
            "Local",
            true,
        ),
        of(
            "nodes_move_from_frr_to_herald_behind_a_router_that_keeps_no_routes",
            "Cluster",
            false,
        ),
    ]
}

fn of_migration(name: &str, conditions: Conditions) -> Trial {
    let obstacle = [Kind::Frr, Kind::Bird].into_iter().find_map(Kind::obstacle);
    if let Some(obstacle) = obstacle.filter(|_| std::env::var_os("CI").is_none()) {
        return Trial::test(format!("{name} ({obstacle})"), || Ok(())).with_ignored_flag(true);
    }
    trial(name, async move || {
        // A thousand requests a second take a processor.
        let _alone = PROCESSORS.write().await;
        let mut lab = Lab::builder().beside_metallb().start().await?;
        match moved(&mut lab, conditions).await {
            Ok(()) => Ok(()),
            Err(error) => anyhow::bail!("{error:#}\n{}", lab.report().await),
        }
    })
}

async fn moved(lab: &mut Lab, conditions: Conditions) -> anyhow::Result<()> {
    lab.run_app("hello", 8080, &[0, 1, 2]).await?;
    let gateway = Gateway {
        kind: Kind::Bird,
        networks: NETWORKS,
        asns: [ASN, ROUTER_ASN],
        keeps_nothing: !conditions.keeps_routes,
    };
    let router = gateway::start(lab, gateway).await?;
    let controller = metallb(lab, "controller", 0);
    let pods: Vec<Pod> = (0..3).map(|node| metallb(lab, "speaker", node)).collect();
    for pod in pods.iter().chain([&controller]) {
        lab.cluster().add_pod(pod).await?;
    }
    let peer = json!({"myASN": ASN, "peerASN": ROUTER_ASN, "peerAddress": plan::router(0)[0]});
    apply(lab, &pools()).await?;
    apply(
        lab,
        &[
            resource("v1beta2", "BGPPeer", "router", &peer),
            advertisement("all", &json!({})),
        ],
    )
    .await?;
    add_service(lab, conditions.policy).await?;
    lab.start_herald().await?;
    lab.wait_for_speakers(DEADLINE).await?;
    let lab = &*lab;
    let old: Vec<Router<&Host>> = (0..3).map(|node| frr(lab, node)).collect();
    wait_for_paths(&router, 0).await?;

    let address: IpAddr = ADDRESS.parse()?;
    let mut prober = lab.probe(address, 80, PACE, DEADLINE).await?;
    prober
        .wait_until_served(Monotonic::from_nanos(0), STREAK, DEADLINE)
        .await?;
    let changes = NextHopChanges::watch(router.host()).await?;
    let begin = Monotonic::now();
    for (node, (old, pod)) in old.into_iter().zip(&pods).enumerate() {
        block_in_place(|| old.stop());
        lab.cluster().remove_pod(NAMESPACE, &pod.name).await?;
        wait_for_paths(&router, node + 1).await?;
        prober
            .wait_until_served(Monotonic::now(), STREAK, DEADLINE)
            .await?;
    }
    let changes = changes.seen();
    let judged = judge(&prober.history(), begin, &changes);
    ensure!(
        judged.lost.is_empty() && changes.is_empty() == conditions.keeps_routes,
        "{judged:?}, with the next hops {changes:?}"
    );
    Ok(())
}

/// What became of the requests that were begun since a moment.
#[derive(Debug)]
struct Judged {
    answered: usize,
    /// Those that were reset, and that were open while the router changed its next hops: their packets reached another node then,
    /// which does not know the connection.
    moved: usize,
    /// All others without an answer.
    lost: Vec<Outcome>,
}

fn judge(history: &History, begin: Monotonic, changes: &[NextHopChange]) -> Judged {
    let mut judged = Judged {
        answered: 0,
        moved: 0,
        lost: Vec::new(),
    };
    for outcome in history
        .outcomes()
        .iter()
        .filter(|outcome| outcome.started > begin)
    {
        let was_open = |change: &NextHopChange| {
            outcome.started <= change.at && change.at.since(outcome.finished) <= LATENESS
        };
        match &outcome.answer {
            Ok(_) => judged.answered += 1,
            Err(error) if error.contains("Connection reset") && changes.iter().any(was_open) => {
                judged.moved += 1;
            }
            Err(_) => judged.lost.push(outcome.clone()),
        }
    }
    judged
}

/// A change of the next hops of [`ADDRESS`] in the kernel of the router.
#[derive(Debug, Clone)]
struct NextHopChange {
    /// When it was seen, at most [`LATENESS`] afterwards.
    at: Monotonic,
    /// Those since then.
    #[expect(dead_code, reason = "shown when the test fails")]
    next_hops: BTreeSet<IpAddr>,
}

/// The changes of next hops so far.
struct NextHopChanges(Arc<Mutex<Vec<NextHopChange>>>);

impl NextHopChanges {
    /// Watches from now on. All nodes are next hops.
    async fn watch(router: &Host) -> anyhow::Result<Self> {
        let mut watch = router.netns().watch_routes().await?;
        let address: IpAddr = ADDRESS.parse()?;
        let all: BTreeSet<IpAddr> = (0..3).map(|node| plan::node(node)[0]).collect();
        let changes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&changes);
        tokio::spawn(async move {
            let mut before = all;
            while let Some(event) = watch.next().await {
                let at = Monotonic::now();
                let next_hops = event.next_hops.unwrap_or_default();
                if event.destination == address && next_hops != before {
                    before.clone_from(&next_hops);
                    lock(&seen).push(NextHopChange { at, next_hops });
                }
            }
        });
        Ok(Self(changes))
    }

    fn seen(&self) -> Vec<NextHopChange> {
        lock(&self.0).clone()
    }
}

fn lock(changes: &Mutex<Vec<NextHopChange>>) -> MutexGuard<'_, Vec<NextHopChange>> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Pod of MetalLB.
fn metallb(lab: &Lab, component: &str, node: usize) -> Pod {
    let node = lab.node(node);
    let labels = json!({"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": component});
    let name = format!("metallb-{component}-{}", node.name());
    Pod::herald(&name, node.name(), node.host().addresses(), labels)
}

/// A Service with the address that the controller of MetalLB gave it.
async fn add_service(lab: &Lab, policy: &str) -> anyhow::Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": "default",
            "annotations": {"metallb.io/ip-allocated-from-pool": "one"},
        },
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "hello"}, "externalTrafficPolicy": policy,
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    });
    lab.cluster().create(&service).await?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS, "ipMode": "VIP"}]}}});
    Api::<Service>::namespaced(lab.cluster().client(), "default")
        .patch_status("web", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// FRR on a node, as MetalLB has it there: it connects to the router, and its routes have no MED.
fn frr(lab: &Lab, node: usize) -> Router<&Host> {
    let neighbour = Neighbour {
        router_asn: ASN,
        router: plan::node(node)[0],
        asn: ROUTER_ASN,
        address: plan::router(0)[0],
        interface: None,
        password: None,
    };
    let setup = Setup {
        neighbours: &[neighbour],
        networks: &[ROUTE],
        dials: true,
        ..Setup::default()
    };
    block_in_place(|| Router::start_with(Kind::Frr, lab.node(node).host(), &setup))
}

/// Waits until the router has the address by all nodes, of which the first ones run Herald. A route of FRR has the MED 0, and one of
/// Herald beside MetalLB has none, which is the same for a router.
///
/// FRR ends its sessions without a NOTIFICATION, and says that it can restart gracefully (RFC 4724): the router keeps its routes until
/// the session of Herald has replaced them.
async fn wait_for_paths(router: &Router<Host>, moved: usize) -> anyhow::Result<()> {
    let med = |node| (node >= moved).then_some(0);
    let expected: Vec<(String, Option<u64>)> = (0..3)
        .map(|node| (plan::node(node)[0].to_string(), med(node)))
        .collect();
    let what = format!("the router has {ROUTE} by {expected:?}");
    wait_for(&what, DEADLINE, async || {
        let routes = block_in_place(|| router.try_routes()).map_err(anyhow::Error::msg)?;
        let paths = routes.get(ROUTE).map_or(&[][..], Vec::as_slice);
        let found = paths.iter().map(|path| (path.next_hop.clone(), path.med));
        ensure!(found.eq(expected.iter().cloned()), "{paths:?}");
        Ok(Some(()))
    })
    .await
}
