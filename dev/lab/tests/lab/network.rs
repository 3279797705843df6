//! The lab's own network: namespaces, links, pods and the client, before any Kubernetes.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::Context;
use herald_lab::clock::Monotonic;
use herald_lab::plan;
use herald_lab::prober::{Pace, Prober};
use herald_lab::process::{self, Process};
use herald_lab::switch::{Host, LINK, Switch};
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::trial;

const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than the kernel takes to give up ARP or NDP: three requests, one a second.
const SILENCE: Duration = Duration::from_secs(6);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_kernel_accepts_an_address_without_answering_for_it",
            accepts_silently,
        ),
        trial("the_switch_has_an_ethernet_address_of_its_own", switch_address),
        trial("a_probe_measures_how_long_a_cable_was_out", measures_an_outage),
        trial("a_process_ends_with_its_namespace", ends_with_its_namespace),
    ]
}

fn vips() -> [IpAddr; 2] {
    ["192.168.67.120", "fd00:67::120"].map(|text| text.parse().expect("a literal address"))
}

async fn switch_with_two_hosts() -> anyhow::Result<(Switch, Host, Host)> {
    let switch = Switch::new().await?;
    let node = switch.attach("node-1", plan::node(0)).await?;
    let client = switch.attach("client", plan::client()).await?;
    Ok((switch, node, client))
}

/// What a connection attempt from `host` ends in, at most after [`SILENCE`].
async fn connect(host: &Host, target: SocketAddr) -> Result<(), ErrorKind> {
    connect_within(SILENCE, host, target).await
}

async fn connect_within(limit: Duration, host: &Host, target: SocketAddr) -> Result<(), ErrorKind> {
    let connected = tokio::time::timeout(limit, host.connect(target)).await;
    connected
        .unwrap_or(Err(ErrorKind::TimedOut.into()))
        .map(drop)
        .map_err(|error| error.kind())
}

async fn accepts_silently() -> anyhow::Result<()> {
    let (_switch, node, client) = switch_with_two_hosts().await?;
    node.netns()
        .set_sysctl("net/ipv4/conf/all/arp_ignore", "1")
        .await?;
    for vip in vips() {
        let target = SocketAddr::new(vip, 80);
        node.links().accept_locally(vip).await?;
        assert_eq!(
            connect(&client, target).await,
            Err(ErrorKind::HostUnreachable),
            "nobody answers for {vip}"
        );
        let entry = client.links().neighbour(vip).await?;
        assert_eq!(
            entry.and_then(|entry| entry.mac),
            None,
            "nothing was learnt about {vip}"
        );

        client.links().pin_neighbour(LINK, vip, node.mac()).await?;
        let outcome = connect(&client, target).await;
        assert_eq!(
            outcome,
            Err(ErrorKind::ConnectionRefused),
            "the kernel takes packets for {vip}"
        );

        node.links().stop_accepting(vip).await?;
        assert_ne!(
            connect(&client, target).await,
            Err(ErrorKind::ConnectionRefused),
            "and no more for {vip}"
        );
    }
    node.netns()
        .set_sysctl("net/ipv4/conf/all/arp_ignore", "0")
        .await?;
    let other = "192.168.67.121".parse()?;
    node.links().accept_locally(other).await?;
    let outcome = connect(&client, SocketAddr::new(other, 80)).await;
    assert_eq!(
        outcome,
        Err(ErrorKind::ConnectionRefused),
        "without arp_ignore the kernel does answer"
    );
    Ok(())
}

/// Not that of whichever port has the lowest: neighbours would go on sending to a port that was plugged in before.
async fn switch_address() -> anyhow::Result<()> {
    let (_switch, node, _client) = switch_with_two_hosts().await?;
    for address in plan::switch() {
        let refused = connect(&node, SocketAddr::new(address, 80)).await;
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        let entry = node.links().neighbour(address).await?;
        assert_eq!(entry.and_then(|entry| entry.mac), Some(plan::mac(plan::switch())));
    }
    Ok(())
}

async fn measures_an_outage() -> anyhow::Result<()> {
    let (_switch, node, client) = switch_with_two_hosts().await?;
    let logs = tempfile::tempdir()?;
    let target = SocketAddr::new(node.addresses()[1], 8080);
    let pod = process::role(&[
        "pod".to_owned(),
        "--name=app-1".to_owned(),
        "--node=node-1".to_owned(),
        format!("--listen={target}"),
    ]);
    let _pod = Process::start(node.netns(), "app-1", pod, logs.path()).await?;
    let mut prober = Prober::start(client.netns(), target, Pace::default()).await?;
    let history = prober
        .wait_until_served(Monotonic::from_nanos(0), 5, DEADLINE)
        .await?;
    let mut answers = history
        .outcomes()
        .iter()
        .filter_map(|outcome| outcome.answer.as_ref().ok());
    let answer = answers.next_back().context("no answer")?;
    assert_eq!((answer.node.as_str(), answer.pod.as_str()), ("node-1", "app-1"));

    let unplugged = Monotonic::now();
    node.set_plugged(false).await?;
    let lost = |history: &herald_lab::prober::History| {
        history
            .outcomes()
            .iter()
            .any(|outcome| outcome.started > unplugged && outcome.answer.is_err())
    };
    prober.wait_for(DEADLINE, lost).await?;
    let plugged = Monotonic::now();
    node.set_plugged(true).await?;
    let history = prober.wait_until_served(plugged, 5, DEADLINE).await?;
    let outage = history.outage(unplugged).context("no outage")?;
    // To pull the cable takes a moment in which requests are still answered; and what was lost before is not its doing.
    let since = history.outcomes().iter().filter(|o| o.started > unplugged);
    let first_lost = since
        .filter(|outcome| outcome.answer.is_err())
        .map(|o| o.started)
        .min();
    let out = plugged.since(first_lost.context("nothing was lost")?);
    assert!(
        outage.gap + Pace::default().interval >= out,
        "{outage:?} is shorter than the cable was out, {out:?}"
    );
    assert!(!outage.losses.is_empty() && outage.answered >= 5, "{outage:?}");
    Ok(())
}

async fn ends_with_its_namespace() -> anyhow::Result<()> {
    let switch = Switch::new().await?;
    let host = switch.attach("node-1", plan::node(0)).await?;
    let logs = tempfile::tempdir()?;
    let sleeper = process::role(&["exec", "sleep", "3600"].map(str::to_owned));
    let mut sleeper = Process::start(host.netns(), "sleeper", sleeper, logs.path()).await?;
    let comm = format!("/proc/{}/comm", sleeper.id().context("the sleeper has ended")?);
    wait_for("the sleeper sleeps", DEADLINE, async || {
        Ok((std::fs::read_to_string(&comm)? == "sleep\n").then_some(()))
    })
    .await?;
    assert_eq!(sleeper.exit_status()?, None);
    drop(host);
    let status = wait_for("the sleeper ends", DEADLINE, async || Ok(sleeper.exit_status()?)).await?;
    assert_eq!(status.signal(), Some(9), "{status}");
    Ok(())
}
