//! What the speakers see of the network when heraldctl asks them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, ensure};
use herald_lab::switch::LINK;
use herald_lab::{DEADLINE, Lab, QUICKSTART, plan};
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::heraldctl::doctor;
use crate::in_lab;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "the_doctor_finds_what_answers_on_the_segment_and_should_not",
            answering,
        ),
        in_lab(
            "the_doctor_finds_a_gossip_port_that_is_filtered_and_another_gossip_key",
            silent_peers,
        ),
        in_lab("a_speaker_checks_the_network_for_one_client_at_a_time", one_run),
    ]
}

/// A free address of the quickstart's pool, among the lowest.
const FREE: Ipv4Addr = Ipv4Addr::new(192, 168, 67, 150);
/// The claims of other machines to addresses that a node announces.
const CLAIMS: &str = "herald_layer2_claims_total";

async fn answering(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    for check in [
        "FreeAddresses",
        "AnnouncedAddresses",
        "NodeAddresses",
        "GossipPort",
    ] {
        await_finding(lab, check, "Pass", "").await?;
    }

    let [addresses, others] = plan::observers();
    let host = lab.switch().attach("foreign", addresses).await?;
    host.links().add_address(LINK, FREE.into(), 24).await?;
    let found = await_finding(lab, "FreeAddresses", "Warn", &host.mac().to_string()).await?;
    ensure!(found.contains(&FREE.to_string()), "{found}");
    host.set_plugged(false).await?;
    await_finding(lab, "FreeAddresses", "Pass", "").await?;

    // As kube-proxy in IPVS mode without strictARP: the kernel of another node answers, too.
    let owner = lab.owner(address, DEADLINE).await?;
    let other = (owner + 1) % lab.nodes().len();
    let name = lab.node(other).name().to_owned();
    let claims = lab.node(owner).metric(CLAIMS).await?;
    let set_arp_ignore = async |lab: &Lab, value| {
        let netns = lab.node(other).host().netns();
        netns.set_sysctl("net/ipv4/conf/all/arp_ignore", value).await
    };
    set_arp_ignore(lab, "0").await?;
    let found = await_finding(lab, "AnnouncedAddresses", "Fail", &address.to_string()).await?;
    ensure!(found.contains(&name), "{found}");
    let claimed = lab.node(owner).metric(CLAIMS).await? - claims;
    ensure!(claimed == 0.0, "the answers to the check were {claimed} claims");
    set_arp_ignore(lab, "1").await?;
    await_finding(lab, "AnnouncedAddresses", "Pass", "").await?;

    // A machine that answers for all addresses of its own segment.
    let proxy = lab.switch().attach("proxy", others).await?;
    for parameter in ["net/ipv4/conf/eth0/proxy_arp_pvlan", "net/ipv4/ip_forward"] {
        proxy.netns().set_sysctl(parameter, "1").await?;
    }
    let found = await_finding(lab, "FreeAddresses", "Fail", &proxy.mac().to_string()).await?;
    ensure!(found.contains("most free addresses of first-pool"), "{found}");
    Ok(())
}

async fn silent_peers(lab: &mut Lab) -> anyhow::Result<()> {
    await_finding(lab, "GossipPort", "Pass", "").await?;
    // The third node passes on what the other two say of each other, so gossip itself does not notice.
    let netns = lab.node(0).host().netns();
    let from = plan::node(1)[0];
    netns
        .nft(&format!(
            "table inet checks {{ chain input {{ type filter hook input priority 0; udp dport 7946 ip saddr {from} drop; }}; }}"
        ))
        .await?;
    let found = await_finding(lab, "GossipPort", "Fail", "node-1 gets no answer from node-2").await?;
    ensure!(found.contains("node-2 gets no answer from node-1"), "{found}");
    ensure!(!found.contains("node-3"), "{found}");
    netns.nft("delete table inet checks").await?;
    await_finding(lab, "GossipPort", "Pass", "").await?;

    let wrong = BTreeMap::from([("secretkey".to_owned(), vec![b'x'; 16])]);
    lab.set_keys(2, &wrong)?;
    let found = await_finding(lab, "GossipPort", "Fail", "node-1 gets no answer from node-3").await?;
    ensure!(!found.contains("node-1 gets no answer from node-2"), "{found}");
    Ok(())
}

async fn one_run(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let log = lab.logs().join("speaker-node-1.log");
    let first = post(lab, r#"{"checks":["PoolAddresses"]}"#);
    let second = async {
        wait_for("the first run is in the log", DEADLINE, async || {
            let log = std::fs::read_to_string(&log)?;
            let line = log.lines().find(|line| line.contains("checking the network"));
            Ok(line.filter(|line| line.contains("PoolAddresses")).map(drop))
        })
        .await?;
        post(lab, r#"{"checks":["GossipPort"]}"#).await
    };
    let (first, second) = tokio::try_join!(first, second)?;
    ensure!(second.0 == "409" && second.1.contains("under way"), "{second:?}");
    ensure!(first.0 == "200", "{first:?}");
    let report: Value = serde_json::from_str(&first.1)?;
    ensure!(report["node"] == "node-1", "{report:#}");
    ensure!(report["results"][0]["asked"].as_u64() > Some(50), "{report:#}");
    let (status, text) = post(lab, r#"{"checks":["PortScan"]}"#).await?;
    ensure!(status == "400" && text.contains("PortScan"), "{status} {text}");
    let (status, report) = post(lab, r#"{"checks":["GossipPort"]}"#).await?;
    ensure!(
        status == "200" && report.contains(r#""asked":2"#),
        "{status} {report}"
    );
    Ok(())
}

/// Waits until the doctor has a finding of this check and outcome with a word in its text, and returns the text.
async fn await_finding(lab: &Lab, check: &str, outcome: &str, word: &str) -> anyhow::Result<String> {
    let mut last = Vec::new();
    let found = wait_for(check, 2 * DEADLINE, async || {
        last = doctor(lab).await?;
        let mut findings = last.iter().filter(|finding| finding["check"] == check);
        let found = findings.find_map(|finding| {
            let found = finding["found"].as_str().filter(|found| found.contains(word))?;
            (finding["outcome"] == outcome).then(|| found.to_owned())
        });
        Ok(found)
    });
    let found = found.await;
    found.with_context(|| format!("{check} is {outcome} with {word:?}: {last:#?}"))
}

/// Posts to `/checks` of the first node, and returns the status and the body of the answer.
async fn post(lab: &Lab, json: &str) -> anyhow::Result<(String, String)> {
    let node: IpAddr = plan::node(0)[0];
    let mut stream = lab.client().connect(SocketAddr::new(node, 9120)).await?;
    let length = json.len();
    let request = format!("POST /checks HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{json}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer ends early")?;
    let status = head.split(' ').nth(1).context("a status")?;
    Ok((status.to_owned(), body.to_owned()))
}
