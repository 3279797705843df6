//! What is not Herald's: addresses of nodes, `spec.externalIPs` of other Services.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::ensure;
use herald_api::crd::{ALLOCATED, ANNOUNCED};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::sniffer::{Sightings, Sniffer};
use herald_lab::{DEADLINE, QUICKSTART};
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::in_lab;

/// For how long the sniffer, which asks ten times a second, must hear no answer.
const SILENCE: Duration = Duration::from_secs(3);
const NODE: &str = "without-speaker";

pub(crate) fn trials() -> Vec<Trial> {
    vec![in_lab(
        "no_node_answers_for_an_address_that_a_node_has",
        address_of_node,
    )]
}

async fn address_of_node(lab: &mut Lab) -> anyhow::Result<()> {
    let sniffer = lab.switch().sniff().await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    sniffer.watch(&addresses);
    wait_for_condition(lab, "hello-dual", ANNOUNCED, "Announced").await?;
    // A node that Herald does not run on joins the cluster, with addresses that a Service has.
    let both = [addresses[0], addresses[1]];
    lab.cluster().add_node(NODE, both).await?;
    wait_for_condition(lab, "hello-dual", ANNOUNCED, "AddressOfNode").await?;
    wait_for_condition(lab, "hello-dual", ALLOCATED, "AddressOfNode").await?;
    wait_for("all speakers are silent", DEADLINE, async || {
        let begin = Monotonic::now();
        tokio::time::sleep(SILENCE).await;
        Ok(heard(lab, &sniffer, begin, &addresses).is_none().then_some(()))
    })
    .await?;
    let begin = Monotonic::now();
    // Nor for another Service that asks for the address.
    lab.cluster().delete_service("hello-dual").await?;
    lab.apply("request.yaml", &request(addresses[0])).await?;
    wait_for_condition(lab, "wants", ALLOCATED, "AddressOfNode").await?;
    tokio::time::sleep(SILENCE).await;
    let heard = heard(lab, &sniffer, begin, &addresses);
    ensure!(heard.is_none(), "{heard:?}");
    // The node leaves.
    lab.cluster().remove_node(NODE).await?;
    wait_for_condition(lab, "wants", ANNOUNCED, "Announced").await?;
    lab.owner(addresses[0], DEADLINE).await?;
    Ok(())
}

/// What nodes of Herald said of one of `addresses` since `begin`.
fn heard(lab: &Lab, sniffer: &Sniffer, begin: Monotonic, addresses: &[IpAddr]) -> Option<Sightings> {
    let macs: Vec<_> = lab.nodes().iter().map(|node| node.host().mac()).collect();
    let of_nodes = sniffer.sightings().since(begin).of(&macs);
    let mut of_address = addresses.iter().map(|address| of_nodes.clone().at(*address));
    of_address.find(|sightings| !sightings.is_empty())
}

fn request(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: wants, annotations: {{metallb.io/loadBalancerIPs: \"{address}\"}}}}
spec: {{type: LoadBalancer, ipFamilies: [{family}], selector: {{app: hello}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
    )
}

async fn wait_for_condition(lab: &Lab, service: &str, type_: &str, reason: &str) -> anyhow::Result<()> {
    wait_for(&format!("{service}: {reason}"), DEADLINE, async || {
        let condition = lab.cluster().condition(service, type_).await?;
        Ok(condition.filter(|[_, has, _]| has == reason).map(drop))
    })
    .await
}
