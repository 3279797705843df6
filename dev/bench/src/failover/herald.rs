//! Herald in a lab of three nodes, with an endpoint on each.

use std::net::IpAddr;

use super::DEADLINE;
use super::fault::Fault;
use super::observer::{Clients, Measured};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::plan;
use herald_netns::wait_for;

const QUICKSTART: &str = include_str!("../../../../examples/quickstart.yaml");

/// Injects `fault` into the owner of an address in a fresh lab, and returns what clients measured.
pub(super) async fn inject(fault: Fault) -> anyhow::Result<Measured> {
    let mut lab = Lab::builder().start().await?;
    lab.run_app("hello", 8080, &[0, 1, 2]).await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let address = lab.wait_for_addresses("hello", 1, DEADLINE).await?[0];
    let outcome = inject_into(&mut lab, address, fault).await;
    match outcome {
        Ok(measured) => Ok(measured),
        Err(error) => Err(error.context(lab.report().await)),
    }
}

async fn inject_into(lab: &mut Lab, address: IpAddr, fault: Fault) -> anyhow::Result<Measured> {
    let owner = wait_for("wire and status agree on the owner", DEADLINE, async || {
        let owner = lab.owner(address, DEADLINE).await?;
        let announcer = lab.cluster().announcer("hello").await?;
        Ok((announcer.as_deref() == Some(lab.node(owner).name())).then_some(owner))
    })
    .await?;
    let living = lab.node((owner + 1) % lab.nodes().len()).host().mac();
    let mac = lab.node(owner).host().mac();
    let [one, two] = plan::observers();
    let hosts = [
        lab.switch().attach("client-1", one).await?,
        lab.switch().attach("client-2", two).await?,
    ];
    let mut clients = Clients::start(&hosts, address, mac, Some(living), fault).await?;
    if fault == Fault::ApiDown {
        lab.set_api_away(true).await?;
        clients.wait_until_served(Monotonic::now()).await?;
    }
    let begin = Monotonic::now();
    inflict(lab, owner, fault).await?;
    clients.meet().await?;
    clients.measure(begin).await
}

async fn inflict(lab: &mut Lab, owner: usize, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::LinkLoss => {
            lab.node(owner).unplug().await?;
            lab.lose_pods(owner).await
        }
        Fault::ApiDown => lab.node(owner).unplug().await,
        Fault::NodeGone => lab.power_off(owner).await,
        Fault::Sigkill => lab.node_mut(owner).kill_speaker().await,
        Fault::Sigstop => lab.node(owner).pause_speaker(true),
        Fault::Sigterm => lab.node_mut(owner).stop_speaker().await.map(drop),
    }
}
