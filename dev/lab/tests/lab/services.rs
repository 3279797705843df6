//! Services get addresses, and other Services are not touched.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use herald_lab::Lab;
use herald_lab::plan;
use herald_lab::role::pod::Greeting;
use herald_lab::switch::LINK;
use herald_netns::wait_for;
use k8s_openapi::api::core::v1::Service;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::in_lab;
use herald_lab::{DEADLINE, QUICKSTART};

const METRICS: &str = include_str!("../../../../docs/reference/metrics.md");
const SEED_POOL: &str = include_str!("../data/seed-first-pool.yaml");
const SEED_SERVICES: &str = include_str!("../data/seed-services.yaml");
/// A Service that another load balancer is meant for.
const OTHER_CLASS: &str = "
apiVersion: v1
kind: Service
metadata: {name: other-class}
spec:
  type: LoadBalancer
  loadBalancerClass: example.com/other
  selector: {app: myapp}
  ports: [{port: 80}]
";

/// The quickstart's Service without an address.
const INSIDE: &str = "
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  type: ClusterIP
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}]
";

/// Instead of the quickstart's.
const SELECTED_INTERFACE: &str = "
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: example, namespace: metallb-system}
spec: {interfaces: [storage]}
";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab("the_quickstart_is_reachable_in_both_families", quickstart),
        in_lab("the_manifests_of_guides_work_as_they_are", seeds),
        in_lab("a_client_resolves_an_address_to_its_owner_only", owner_only),
        in_lab(
            "an_address_is_where_the_selected_interface_is",
            selected_interface,
        ),
        in_lab("policy_local_is_owned_and_served_where_the_pod_is", policy_local),
        in_lab("datagrams_reach_a_pod", datagrams),
        in_lab(
            "a_restart_of_the_controller_keeps_all_addresses",
            controller_restart,
        ),
        in_lab("every_metric_is_in_the_reference", metrics),
        in_lab("the_state_shows_members_addresses_moves_and_quarantine", state),
    ]
}

fn in_pool(address: IpAddr) -> bool {
    let (first, last) = match address {
        IpAddr::V4(_) => ("192.168.67.120", "192.168.67.200"),
        IpAddr::V6(_) => ("fd00:67::120", "fd00:67::200"),
    };
    let [first, last] = [first, last].map(|text| text.parse::<IpAddr>().expect("a literal address"));
    (first..=last).contains(&address)
}

/// Asks until each of these pods has answered.
async fn meet_pods(lab: &Lab, address: IpAddr, expected: &[&str]) -> anyhow::Result<()> {
    let mut met = BTreeSet::new();
    wait_for(
        &format!("{expected:?} answer at {address}"),
        DEADLINE,
        async || {
            met.insert(lab.client().ask(SocketAddr::new(address, 80)).await?.pod);
            Ok(expected.iter().all(|pod| met.contains(*pod)).then_some(()))
        },
    )
    .await?;
    ensure!(met.len() == expected.len(), "others answered, too: {met:?}");
    Ok(())
}

async fn quickstart(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let single = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let dual = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    let all: BTreeSet<IpAddr> = single.iter().chain(&dual).copied().collect();
    ensure!(all.len() == 3, "an address was given twice: {single:?} {dual:?}");
    ensure!(
        all.iter().copied().all(in_pool),
        "an address is outside the pool: {all:?}"
    );
    ensure!(
        single[0].is_ipv4() && dual.iter().filter(|ip| ip.is_ipv6()).count() == 1,
        "{single:?} {dual:?}"
    );
    for address in all {
        meet_pods(lab, address, &["hello-node-1", "hello-node-2", "hello-node-3"]).await?;
    }
    Ok(())
}

async fn seeds(lab: &mut Lab) -> anyhow::Result<()> {
    lab.run_app("myapp", 80, &[0, 1]).await?;
    lab.apply("seed-services.yaml", SEED_SERVICES).await?;
    lab.apply("other-class.yaml", OTHER_CLASS).await?;
    let foreign = ["clusterip", "headless", "nodeport", "my-service", "other-class"];
    let before = services(lab).await?;
    lab.apply("seed-first-pool.yaml", SEED_POOL).await?;
    let single = lab.wait_for_addresses("myapp", 1, DEADLINE).await?;
    let dual = lab.wait_for_addresses("myapp-dual", 1, DEADLINE).await?;
    ensure!(
        single != dual && in_pool(single[0]) && in_pool(dual[0]),
        "{single:?} {dual:?}"
    );
    for address in [single[0], dual[0]] {
        meet_pods(lab, address, &["myapp-node-1", "myapp-node-2"]).await?;
    }
    let after = services(lab).await?;
    for name in foreign {
        let find = |services: &[Service]| {
            services
                .iter()
                .find(|s| s.metadata.name.as_deref() == Some(name))
                .cloned()
        };
        let untouched = find(&before).context(name)?;
        ensure!(find(&after) == Some(untouched), "Service {name} was touched");
    }
    Ok(())
}

async fn services(lab: &Lab) -> anyhow::Result<Vec<Service>> {
    lab.cluster().list::<Service>("default").await
}

async fn owner_only(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    for address in addresses {
        // While speakers start, an address may still move to the node that ranks first.
        let owner = wait_for("wire and status agree on the owner", DEADLINE, async || {
            let owner = lab.owner(address, DEADLINE).await?;
            let announcer = lab.cluster().announcer("hello-dual").await?;
            Ok((announcer.as_deref() == Some(lab.node(owner).name())).then_some(owner))
        })
        .await?;
        for _ in 0..20 {
            let answered = lab.owner(address, DEADLINE).await?;
            ensure!(answered == owner, "{address} is at {owner} and at {answered}");
        }
    }
    Ok(())
}

/// The interface that the advertisement names is first on no node, then on one, then on another one.
async fn selected_interface(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.apply("selected-interface.yaml", SELECTED_INTERFACE).await?;
    let addresses = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    wait_for("the event says what is missing", DEADLINE, async || {
        let events = lab.cluster().events("default").await?;
        let missing = |event: &&String| event.contains("announceFailed") && event.ends_with(" storage");
        Ok(events.iter().any(|event| missing(&event)).then_some(()))
    })
    .await?;
    for index in [2, 0, 1] {
        let host = lab.node(index).host();
        let netns = host.netns();
        let create = ["link", "add", "link", LINK, "name", "storage", "address"];
        let mac = format!("02:00:00:00:99:0{index}");
        let rest = [mac.as_str(), "up", "type", "macvlan", "mode", "bridge"];
        let created = netns.output("ip", &[&create[..], &rest[..]].concat()).await?;
        ensure!(created.status.success(), "ip: {created:?}");
        wait_for("the node with the interface answers", DEADLINE, async || {
            let answered = lab.resolve(addresses[0], DEADLINE).await?;
            Ok((answered.to_string() == mac).then_some(()))
        })
        .await?;
        wait_for("its status says so", DEADLINE, async || {
            let announcer = lab.cluster().announcer("hello").await?;
            Ok((announcer.as_deref() == Some(lab.node(index).name())).then_some(()))
        })
        .await?;
        let deleted = netns.output("ip", &["link", "del", "storage"]).await?;
        ensure!(deleted.status.success(), "ip: {deleted:?}");
    }
    Ok(())
}

async fn policy_local(lab: &mut Lab) -> anyhow::Result<()> {
    lab.run_app("local", 8080, &[1]).await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let service = "
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: local}
  ports: [{port: 80, targetPort: 8080}]
";
    lab.apply("local.yaml", service).await?;
    let address = lab.wait_for_addresses("local", 1, DEADLINE).await?[0];
    owned_by(lab, address, 1).await?;
    meet_pods(lab, address, &["local-node-2"]).await?;

    lab.run_app("local", 8080, &[2]).await?;
    lab.end_pod("local", 1).await?;
    owned_by(lab, address, 2).await?;
    meet_pods(lab, address, &["local-node-3"]).await
}

async fn datagrams(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let service = "
apiVersion: v1
kind: Service
metadata: {name: datagrams}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  selector: {app: hello}
  ports: [{port: 5353, targetPort: 8080, protocol: UDP}]
";
    lab.apply("datagrams.yaml", service).await?;
    for address in lab.wait_for_addresses("datagrams", 2, DEADLINE).await? {
        let answer = wait_for(
            &format!("a pod answers a datagram to {address}"),
            DEADLINE,
            async || {
                let answer = lab
                    .client()
                    .exchange_datagram(SocketAddr::new(address, 5353), b"hello")
                    .await?;
                Ok(Some(serde_json::from_slice::<Greeting>(&answer)?))
            },
        )
        .await?;
        ensure!(answer.pod.starts_with("hello-node-"), "{answer:?}");
    }
    Ok(())
}

async fn owned_by(lab: &Lab, address: IpAddr, node: usize) -> anyhow::Result<()> {
    wait_for(
        &format!("node {node} answers for {address}"),
        DEADLINE,
        async || Ok((lab.owner(address, DEADLINE).await? == node).then_some(())),
    )
    .await
}

async fn controller_restart(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let hello = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let dual = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    lab.kill_controller().await?;
    // Sorts before the others, so that it would be served first if nothing were adopted.
    let newcomer = QUICKSTART
        .rsplit("---")
        .nth(1)
        .context("the quickstart's first Service")?;
    lab.apply(
        "newcomer.yaml",
        &newcomer.replace("name: hello\n", "name: a-newcomer\n"),
    )
    .await?;
    lab.start_controller().await?;
    let new = lab.wait_for_addresses("a-newcomer", 1, DEADLINE).await?;
    ensure!(
        in_pool(new[0]) && new != hello && !dual.contains(&new[0]),
        "{new:?} was given twice"
    );
    ensure!(
        lab.cluster().addresses("hello").await? == hello,
        "hello lost {hello:?}"
    );
    ensure!(
        lab.cluster().addresses("hello-dual").await? == dual,
        "hello-dual lost {dual:?}"
    );
    Ok(())
}

/// Both programs are asked while a Service is announced, so that no series is missing.
async fn metrics(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let owner = lab.owner(address, DEADLINE).await?;
    let programs = [plan::switch()[0], lab.node(owner).host().addresses()[0]];
    for program in programs {
        let metrics = get(lab, program, "/metrics").await?;
        let named = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = named.filter_map(|line| line.split(' ').next()).collect();
        let ours = names.iter().filter(|name| !name.starts_with("process_"));
        let is_documented = |name: &&&str| METRICS.contains(&format!("| `{name}` |"));
        let missing: Vec<_> = ours.filter(|name| !is_documented(name)).collect();
        ensure!(
            missing.is_empty(),
            "docs/reference/metrics.md does not have {missing:?}"
        );
        ensure!(names.iter().any(|name| name.starts_with("metallb_")), "{metrics}");
    }
    Ok(())
}

/// The address moves from no node to its owner, then to none, and is in quarantine.
async fn state(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let owner = lab.owner(address, DEADLINE).await?;
    let node = lab.node(owner).name().to_owned();
    let (speaker, controller) = (lab.node(owner).host().addresses()[0], plan::switch()[0]);
    let text = address.to_string();
    let entries = |state: &Value, list: &str| -> Vec<Value> {
        let entries = state[list].as_array().into_iter().flatten();
        entries
            .filter(|entry| entry["address"] == *text)
            .cloned()
            .collect()
    };
    let shown = wait_for("the speaker shows what it announces", DEADLINE, async || {
        let state = get_json(lab, speaker).await?;
        let members = state["members"].as_array().context("no members")?;
        let alive = members.iter().filter(|member| member["liveness"] == "alive");
        let is_shown = alive.count() == lab.nodes().len() && !entries(&state, "moves").is_empty();
        Ok(is_shown.then_some(state))
    });
    let state = shown.await?;
    ensure!(
        state["version"] == 1 && state["node"] == *node && state["truncated"] == false,
        "{state}"
    );
    let addresses = entries(&state, "addresses");
    let role = &addresses.first().context("not its address")?["services"][0];
    ensure!(
        addresses[0]["stage"] == "Active" && addresses[0]["answers"] == true,
        "{state}"
    );
    ensure!(
        role["service"] == "default/hello" && role["role"] == "Owner",
        "{state}"
    );
    let moves = entries(&state, "moves");
    ensure!(
        moves[0]["answers"] == true && moves[0]["reason"] == "Owner" && moves[0]["seconds"].is_f64(),
        "{state}"
    );
    // The endpoints of a deleted Service may go before it, and then they are the reason.
    lab.apply("inside.yaml", INSIDE).await?;
    let gone = wait_for("the speaker shows that it ceased", DEADLINE, async || {
        let state = get_json(lab, speaker).await?;
        let last = entries(&state, "moves")
            .pop()
            .filter(|last| last["answers"] == false);
        Ok(last.filter(|_| entries(&state, "addresses").is_empty()))
    });
    let last = gone.await?;
    ensure!(last["reason"] == "ServiceGone", "{last}");
    let quarantined = wait_for("the controller shows the quarantine", DEADLINE, async || {
        Ok(entries(&get_json(lab, controller).await?, "quarantine").pop())
    });
    let quarantined = quarantined.await?;
    ensure!(quarantined["lastService"] == "default/hello", "{quarantined}");
    Ok(())
}

async fn get_json(lab: &Lab, program: IpAddr) -> anyhow::Result<Value> {
    let answer = get(lab, program, "/state").await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    serde_json::from_str(body).with_context(|| answer.clone())
}

async fn get(lab: &Lab, program: IpAddr, path: &str) -> anyhow::Result<String> {
    let target = SocketAddr::new(program, 9120);
    let mut connection = lab.client().connect(target).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
