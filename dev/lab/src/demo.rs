//! `herald-lab demo`: the main job from end to end, with a report of each step.

mod router;
mod story;

use std::net::{IpAddr, SocketAddr};

use crate::interrupt::Interrupt;
use anyhow::{Context, bail, ensure};
use clap::Args;
use herald_netns::wait_for;

use self::story::{Chapter, Story};
use crate::clock::Monotonic;
use crate::prober::{Outage, Pace, Prober};
use crate::scene::settled_owner;
use crate::{DEADLINE, Lab, QUICKSTART, gateway};

/// Its name in messages.
const QUICKSTART_PATH: &str = "examples/quickstart.yaml";
/// The Services in it, and how many addresses each gets.
const SERVICES: [(&str, usize); 2] = [("hello", 1), ("hello-dual", 2)];
/// Label and port of the pods that it selects.
const APP: (&str, u16) = ("hello", 8080);
/// Requests answered in a row that count as "served again": half a second of them.
const STREAK: usize = 50;

/// Arguments of the demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    nodes: u8,
    /// Prints one JSON object per line instead of text; the last has "ok".
    #[arg(long)]
    pub(crate) json: bool,
    /// Announces the addresses by BGP to a router, instead of on the local network. It needs FRR or BIRD.
    #[arg(long)]
    bgp: bool,
    /// Keeps the cluster running at the end, for kubectl, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo. When it returns everything is cleaned up, also after an interrupt.
pub async fn run(args: DemoArgs, mut interrupt: Interrupt) -> anyhow::Result<()> {
    play(&args, &Story::new(args.json), &mut interrupt).await
}

/// Reports how the demo ended, also when it could not begin.
pub fn conclude(json: bool, outcome: &anyhow::Result<()>) {
    let reasons = outcome.as_ref().err().map(|error| format!("{error:#}"));
    Story::new(json).write(&Chapter::End {
        ok: outcome.is_ok(),
        reasons: reasons.into_iter().collect(),
    });
}

async fn play(args: &DemoArgs, story: &Story, interrupt: &mut Interrupt) -> anyhow::Result<()> {
    let router = args.bgp.then(gateway::installed).transpose()?;
    story.write(&Chapter::Starting { nodes: args.nodes });
    let mut lab = tokio::select! {
        lab = Lab::builder().nodes(args.nodes.into()).start() => lab?,
        () = interrupt.requested() => bail!("interrupted"),
    };
    let acts = async {
        match router {
            None => acts(&mut lab, story).await,
            Some(kind) => router::acts(&mut lab, story, kind).await,
        }
    };
    let outcome = tokio::select! {
        outcome = acts => outcome,
        () = interrupt.requested() => bail!("interrupted"),
    };
    if outcome.is_err() {
        anstream::eprintln!("{}", lab.report().await);
    }
    outcome?;
    if args.keep {
        story.write(&Chapter::Kept {
            kubeconfig: lab.kubeconfig(),
            logs: lab.logs().to_owned(),
        });
        interrupt.requested().await;
    }
    Ok(())
}

/// Begins: the cluster runs, with a pod on each node, and a manifest is applied.
async fn begin(lab: &mut Lab, story: &Story, source: &str, yaml: &str) -> anyhow::Result<()> {
    // The speaker of a node that starts late would get addresses in the middle of the story.
    lab.wait_for_speakers(DEADLINE).await?;
    story.write(&Chapter::Started {
        nodes: lab.nodes().iter().map(|node| node.host().into()).collect(),
        client: lab.client().into(),
        api: lab.cluster().control_plane().outside(),
    });
    let all: Vec<usize> = (0..lab.nodes().len()).collect();
    lab.run_app(APP.0, APP.1, &all).await?;
    for applied in lab.apply(source, yaml).await? {
        story.write(&Chapter::Applied {
            kind: applied.kind,
            name: applied.name,
        });
    }
    Ok(())
}

async fn acts(lab: &mut Lab, story: &Story) -> anyhow::Result<()> {
    begin(lab, story, QUICKSTART_PATH, QUICKSTART).await?;
    for (service, count) in SERVICES {
        let addresses = lab.wait_for_addresses(service, count, DEADLINE).await?;
        story.write(&Chapter::Addressed {
            service,
            addresses: addresses.clone(),
        });
        for address in addresses {
            meet(lab, story, service, address).await?;
        }
    }
    let address = lab.wait_for_addresses(SERVICES[0].0, 1, DEADLINE).await?[0];
    power_failure(lab, story, address).await?;
    planned_stop(lab, story, address).await
}

/// The owner of the address, by its speaker's status and by the client's neighbour table, and the pod that answers.
async fn meet(lab: &Lab, story: &Story, service: &'static str, address: IpAddr) -> anyhow::Result<()> {
    let owner = lab.node(settled_owner(lab, service, address).await?);
    story.write(&Chapter::Owned {
        service,
        address,
        node: owner.name().to_owned(),
        mac: owner.host().mac().to_string(),
    });
    for _ in 0..lab.nodes().len() {
        let target = SocketAddr::new(address, 80);
        let answer = wait_for(&format!("{target} answers"), DEADLINE, async || {
            lab.client().ask(target).await.map(Some)
        })
        .await?;
        story.write(&Chapter::Answered {
            address,
            node: answer.node,
            pod: answer.pod,
        });
    }
    Ok(())
}

/// The owner loses its power: link down, everything on it killed.
async fn power_failure(lab: &mut Lab, story: &Story, address: IpAddr) -> anyhow::Result<()> {
    let mut prober = served(lab, address).await?;
    let owner = lab.owner(address, DEADLINE).await?;
    story.write(&Chapter::Failing {
        node: lab.node(owner).name().to_owned(),
        address,
    });
    let fault = Monotonic::now();
    lab.power_off(owner).await?;
    let outage = outage(&mut prober, fault).await?;
    let successor = successor(lab, address, owner).await?;
    story.write(&Chapter::TakenOver {
        address,
        node: lab.node(successor).name().to_owned(),
        outage: outage.into(),
    });
    lab.power_on(owner).await?;
    returned(lab, story, address, owner).await
}

/// The owner is back, and takes the address back.
async fn returned(lab: &Lab, story: &Story, address: IpAddr, owner: usize) -> anyhow::Result<()> {
    wait_for("the address is back at its first owner", DEADLINE, async || {
        Ok((lab.learnt_owner(address).await? == Some(owner)).then_some(()))
    })
    .await?;
    story.write(&Chapter::Returned {
        address,
        node: lab.node(owner).name().to_owned(),
    });
    Ok(())
}

/// The owner's speaker is stopped and started again as an upgrade would do it.
async fn planned_stop(lab: &mut Lab, story: &Story, address: IpAddr) -> anyhow::Result<()> {
    let mut prober = served(lab, address).await?;
    let owner = lab.owner(address, DEADLINE).await?;
    story.write(&Chapter::Stopping {
        node: lab.node(owner).name().to_owned(),
        address,
    });
    let fault = Monotonic::now();
    let status = lab.node_mut(owner).stop_speaker().await?;
    ensure!(status.success(), "the speaker ended with {status}");
    let successor = successor(lab, address, owner).await?;
    let outage = outage(&mut prober, fault).await?;
    story.write(&Chapter::HandedOver {
        address,
        node: lab.node(successor).name().to_owned(),
        outage: outage.into(),
    });
    lab.node_mut(owner).start_speaker().await?;
    returned(lab, story, address, owner).await
}

async fn served(lab: &Lab, address: IpAddr) -> anyhow::Result<Prober> {
    let mut prober = lab.probe(address, 80, Pace::default(), DEADLINE).await?;
    prober
        .wait_until_served(Monotonic::from_nanos(0), STREAK, DEADLINE)
        .await?;
    Ok(prober)
}

async fn outage(prober: &mut Prober, fault: Monotonic) -> anyhow::Result<Outage> {
    let history = prober.wait_until_served(fault, STREAK, DEADLINE).await?;
    history
        .outage(fault)
        .context("no answer before or after the fault")
}

/// The owner by the client's neighbour table, whose former entry was not removed.
async fn successor(lab: &Lab, address: IpAddr, former: usize) -> anyhow::Result<usize> {
    wait_for(
        &format!("the client learns a new owner of {address}"),
        DEADLINE,
        async || {
            let learnt = lab.learnt_owner(address).await?;
            Ok(learnt.filter(|&node| node != former))
        },
    )
    .await
}
