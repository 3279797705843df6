//! Programs that people use to look at a network and at a cluster agree with the lab.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::Lab;
use herald_lab::switch::LINK;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use tokio::process::Command;

use crate::{in_lab, with};
use herald_lab::{DEADLINE, QUICKSTART};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        with(
            "arping",
            in_lab("arping_receives_answers_of_one_machine_only", arping),
        ),
        with(
            "ndisc6",
            in_lab("ndisc6_receives_answers_of_one_machine_only", ndisc6),
        ),
        with(
            "tcpdump",
            in_lab("tcpdump_sees_replies_of_the_owner_only", tcpdump),
        ),
        with(
            "kubectl",
            in_lab("kubectl_applies_the_quickstart_and_shows_its_addresses", kubectl),
        ),
    ]
}

/// The addresses of the dual-stack Service, and the MAC of the node that settled down to own them.
async fn owned(lab: &Lab) -> anyhow::Result<(Vec<IpAddr>, String)> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    let mac = wait_for("wire and status agree on the owner", DEADLINE, async || {
        let owner = lab.node(lab.owner(addresses[0], DEADLINE).await?);
        let announcer = lab.cluster().announcer("hello-dual").await?;
        Ok((announcer.as_deref() == Some(owner.name())).then(|| owner.host().mac().to_string()))
    })
    .await?;
    Ok((addresses, mac))
}

async fn arping(lab: &mut Lab) -> anyhow::Result<()> {
    let (addresses, mac) = owned(lab).await?;
    let vip = addresses
        .iter()
        .find(|address| address.is_ipv4())
        .context("no IPv4 address")?
        .to_string();
    let output = lab
        .client()
        .netns()
        .output("arping", &["-c", "3", "-I", LINK, &vip])
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let replies: Vec<&str> = text.lines().filter(|line| line.contains("reply from")).collect();
    ensure!(
        replies.len() == 3,
        "three questions, {} replies: {text}",
        replies.len()
    );
    ensure!(
        replies.iter().all(|reply| reply.contains(&mac)),
        "not all from {mac}: {text}"
    );
    Ok(())
}

async fn ndisc6(lab: &mut Lab) -> anyhow::Result<()> {
    let (addresses, mac) = owned(lab).await?;
    let vip = addresses
        .iter()
        .find(|address| address.is_ipv6())
        .context("no IPv6 address")?
        .to_string();
    let output = lab
        .client()
        .netns()
        .output("ndisc6", &["-m", "-r", "1", "-w", "1000", &vip, LINK])
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let answers: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("target link-layer address"))
        .collect();
    // Besides the answer it receives announcements, which come from the same machine.
    ensure!(!answers.is_empty(), "no answer: {text}");
    ensure!(
        answers.iter().all(|answer| answer.contains(&mac)),
        "not all from {mac}: {text}"
    );
    Ok(())
}

async fn tcpdump(lab: &mut Lab) -> anyhow::Result<()> {
    let (addresses, mac) = owned(lab).await?;
    let vip = *addresses
        .iter()
        .find(|address| address.is_ipv4())
        .context("no IPv4 address")?;
    let client = lab.client().mac().to_string();
    // Announcements are replies, too, but are broadcast.
    let filter = format!("arp[6:2] = 2 and arp src host {vip} and ether dst {client}");
    let arguments = ["-i", LINK, "-e", "-n", "-t", "-l", "-c", "3", &filter];
    let captured = tokio::time::timeout(
        Duration::from_secs(20),
        lab.client().netns().output("tcpdump", &arguments),
    );
    let asked = async {
        loop {
            let answer = lab.owner(vip, DEADLINE).await;
            if answer.is_err() {
                return answer.map(drop);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let output = tokio::select! {
        output = captured => output.context("tcpdump saw no three replies")??,
        failed = asked => return failed,
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Sender and receiver on the wire, then RFC 826's reply with the sender's hardware address.
    let expected =
        format!("{mac} > {client}, ethertype ARP (0x0806), length 42: Reply {vip} is-at {mac}, length 28");
    let padded = expected
        .replace("length 42", "length 60")
        .replace("length 28", "length 46");
    ensure!(
        text.lines().all(|line| line == expected || line == padded),
        "expected {expected}, captured {text}"
    );
    Ok(())
}

async fn kubectl(lab: &mut Lab) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("quickstart.yaml");
    std::fs::write(&file, QUICKSTART)?;
    let kubeconfig = lab.kubeconfig();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env("KUBECONFIG", &kubeconfig)
            .env("HOME", directory.path())
            .kill_on_drop(true);
        let output = command.output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        anyhow::Ok(text)
    };
    run(&["apply", "-f", &file.display().to_string()]).await?;
    let jsonpath = "--for=jsonpath={.status.loadBalancer.ingress[0].ip}";
    run(&["wait", "service/hello", jsonpath, "--timeout=30s"]).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0].to_string();
    let table = run(&["get", "service", "hello"]).await?;
    ensure!(
        table.contains(&address) && table.contains("EXTERNAL-IP"),
        "{table}"
    );
    let described = run(&["describe", "service", "hello"]).await?;
    ensure!(
        described.contains(&address) && described.contains("IPAllocated"),
        "no event about it: {described}"
    );
    Ok(())
}
