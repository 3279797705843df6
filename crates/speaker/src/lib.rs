//! Owns addresses on a node and answers ARP and NDP for them.
//!
//! Four shells: `gossip` runs the membership on a thread of its own, [`wire`] runs the station on another and [`bgp`] the sessions with
//! routers on a third, and the driver between them is the task that owns the agent and feeds it from watches.

mod args;
pub mod bgp;
mod checks;
mod driver;
mod exclude;
mod gossip;
mod input;
mod metrics;
mod moves;
mod priority;
mod status;
pub mod wire;

pub use args::{Args, UnusedArgs};

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_api::ConfigurationState;
use herald_core::NodeName;
use herald_runtime::event::Events;
use herald_runtime::memory::{self, Heaps};
use herald_runtime::reconcile::object;
use herald_runtime::{Health, Readiness, Shutdown, admin, client, task};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::bgp::Bgp;
use crate::driver::{BgpSessions, Driver};
use crate::gossip::Gossip;
use crate::input::Awaiting;
use crate::wire::Wire;

/// Inputs that wait for the driver; watches slow down when it is full.
const INPUTS: usize = 1024;

/// Time between two beats of the background: its only thread has to come round, or no watch does.
const BEAT: Duration = Duration::from_millis(500);

/// Runs the speaker until its shutdown is requested.
///
/// # Errors
/// When it cannot start: packet sockets not permitted, no kubeconfig, a bad key or exclusion file, a port in use.
pub fn run(args: Args) -> anyhow::Result<()> {
    memory::init(Heaps::PerThread).context("starting the thread that returns free memory")?;
    herald_runtime::log::init(args.log_level);
    task::abort_on_panic();
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(priority::lower)
        .enable_all()
        .build();
    let background = background.context("starting the runtime of the background")?;
    let driver = background.block_on(start(args))?;
    // The driver has a runtime of its own, so that its timers wake no other thread, and neither a list of the API server nor a
    // page of metrics delays it.
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    own.context("starting the runtime of the driver")?
        .block_on(driver)?;
    info!("speaker stopped");
    Ok(())
}

/// Starts all tasks and threads but the driver, and returns the driver.
async fn start(args: Args) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    args.check_beside_metallb()?;
    if let Some(warning) = args.unused.warning() {
        warn!("{warning}");
    }
    let shutdown = Shutdown::on_signals()?;
    let namespace = client::namespace(args.namespace.as_deref())?;
    let node = NodeName::new(args.node_name.clone());
    let exclude = exclude::read(&args.exclude_interfaces)?;
    let gossip_options = args.gossip(&node)?;
    let registry = admin::registry()?;
    let health = Health::start().context("starting the watch of the threads")?;
    let options = wire::WireOptions {
        exclude: exclude.clone(),
        beat: health.beat_of("wire"),
        refresh: (args.refresh_interval > 0).then(|| Duration::from_secs(args.refresh_interval)),
    };
    let wire = Wire::start(options, &registry)?;
    let client = client::connect(concat!("herald-speaker/", env!("CARGO_PKG_VERSION"))).await?;
    let gossip = gossip_options
        .map(|options| Gossip::start(options, &registry, health.beat_of("gossip")))
        .transpose()?;
    let beat = health.beat_of("background");
    task::spawn(async move {
        let mut pulse = tokio::time::interval(BEAT);
        loop {
            pulse.tick().await;
            beat.beat();
        }
    });
    // A thread has the priority of the one that starts it, so the threads of wire and gossip run before this one from now on.
    priority::lower();
    let bgp = args
        .bgp
        .then(|| Bgp::start(health.beat_of("bgp"), &registry))
        .transpose()?;
    let readiness = Readiness::default();
    let awaited = readiness.require(Awaiting::of_speaker(gossip.is_some(), args.beside_metallb));
    let (state_requests, states) = mpsc::channel(1);
    let (begin_checks, checks) = checks::channel();
    let begin_checks = args.network_checks.then_some(begin_checks);
    let metrics = &args.metrics;
    admin::serve_metrics(
        metrics,
        registry.clone(),
        client.clone(),
        state_requests,
        begin_checks,
    )
    .await?;
    if args.health_probe_port != 0 {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, args.health_probe_port));
        admin::serve_health(local, readiness.clone(), health.clone()).await?;
    }
    let events = Events::start(client.clone(), "metallb-speaker", &args.node_name, &registry)?;
    let (sender, inputs) = mpsc::channel(INPUTS);
    input::watch_all(&client, &namespace, &args, &sender);
    // Every report counts: one may show a lost carrier that the next one shows restored.
    #[expect(
        clippy::disallowed_methods,
        reason = "at most 20 reports come in a second, and the driver keeps up"
    )]
    let (reports, interfaces) = mpsc::unbounded_channel();
    task::spawn(wire::watch_interfaces(move |interfaces| {
        // Fails only while the program ends.
        let _ended = reports.send(interfaces);
    }));
    let name = format!("speaker-{node}");
    let state = object::reconcile::<ConfigurationState>(client.clone(), &namespace, name, &args.pod_name);
    let statuses = status::start(client.clone(), &namespace, &args.node_name, &args.pod_name);
    let bgp = bgp.map(|thread| {
        let services = status::start(client.clone(), &namespace, &args.node_name, &args.pod_name);
        let states = status::start(client, &namespace, &args.node_name, &args.pod_name);
        BgpSessions::new(thread, services, states)
    });
    let handles = driver::Handles {
        wire,
        gossip,
        events,
        statuses,
        bgp: bgp.transpose()?,
        state,
        exclude,
    };
    info!(%node, namespace, "speaker started");
    let driver = Driver::new(node, &args, handles, awaited, &registry)?;
    let requests = driver::ClientRequests { states, checks };
    Ok(driver.run(inputs, interfaces, requests, shutdown, health.beat_of("driver")))
}

/// Waits for an instant; without one, for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
