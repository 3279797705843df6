//! Gives addresses to Services of type `LoadBalancer`.
//!
//! Watches become inputs of the driver. The reconciler decides on Services and compares the desired status of each
//! with the observed one; a queue sends one PATCH of `services/status` for each difference.

mod admission;
mod announced;
mod announcements;
mod configuration;
mod conversion;
mod driver;
mod effects;
mod gossip_key;
mod input;
mod metrics;
mod observed;
mod published;
mod reconciler;
mod release_check;
mod resources;
mod unread;
mod webhook;
mod write;

use std::time::Duration;

use anyhow::Context;
use herald_api::ConfigurationState;
use herald_core::Allocator;
use herald_runtime::admin::MetricsArgs;
use herald_runtime::lease::Lease;
use herald_runtime::log::LogLevel;
use herald_runtime::memory::{self, Heaps};
use herald_runtime::reconcile::object;
use herald_runtime::{Health, Readiness, Shutdown, admin, client, event::Events, task};
use kube::Api;
use tokio::sync::mpsc;
use tracing::info;

use crate::admission::AdmissionScope;
use crate::driver::{Controller, Listing, Outputs, Standing};
use crate::input::ListedKind;
use crate::metrics::{ControllerMetrics, LEASE};
use crate::release_check::ReleaseParts;
pub use crate::webhook::{WebhookArgs, WebhookMode};

/// Inputs that wait for the driver; watches slow down when it is full.
const INPUTS: usize = 1024;

/// The Lease of the controllers that only serve the webhook: one of them makes the certificate.
const WEBHOOK_LEASE: &str = "herald-webhook";

/// The controller's flags.
#[derive(Debug, Clone, clap::Args)]
pub struct ControllerArgs {
    /// Namespace of the IPAddressPools; if not given, the namespace of this Pod.
    #[arg(long, env = "METALLB_NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of this Pod: the source of events, and the identity in the Lease of the active controller.
    #[arg(long, env = "METALLB_POD_NAME")]
    pub pod_name: String,
    /// Handle only Services with this spec.loadBalancerClass; if empty, only Services without one.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// Seconds for which a released address is kept from other Services while other addresses are free; 0 disables the
    /// quarantine.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub quarantine: u64,
    /// Name of the Secret with the gossip key of the speakers; created when there is none. If empty, none is created.
    #[arg(
        long,
        env = "METALLB_ML_SECRET_NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_secret_name: String,
    /// Whether the speakers announce by BGP. With =false the resources of BGP have no effect, and events, conditions and warnings say so.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub bgp: bool,
    /// Run beside MetalLB: decide nothing, and write nothing about Services and pools, while the namespace has a Pod of MetalLB's controller.
    #[arg(long)]
    pub beside_metallb: bool,
    /// Run no controller, but check whether the release works, for a minute at most: the definitions, the active controller, and
    /// the speakers of --ml-labels. The exit status is 0 if it works.
    #[arg(long)]
    pub check_release: bool,
    /// With --check-release: label selector of the speaker Pods; if empty, the release has no speakers.
    #[arg(
        long,
        env = "METALLB_ML_LABELS",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_labels: String,
    /// How /metrics and /state are served.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// How resources and Services are checked before they are written.
    #[command(flatten)]
    pub webhook: WebhookArgs,
    /// Port of /healthz and /readyz, on all addresses; 0 disables it.
    #[arg(long, default_value_t = 17472)]
    pub health_probe_port: u16,
    /// Seconds between two questions of a watch whether the API server was restored from a backup; for tests.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..), hide = true)]
    pub version_check_interval: u64,
    /// Minimum level of log messages.
    #[arg(long, value_enum, default_value_t)]
    pub log_level: LogLevel,
}

/// Runs the controller until shutdown is requested, or checks the release.
///
/// # Errors
/// When it cannot start: no kubeconfig, no namespace, a port in use. When the release does not work.
pub fn run(args: ControllerArgs) -> anyhow::Result<()> {
    memory::init(Heaps::Shared).context("starting the thread that returns free memory")?;
    herald_runtime::log::init(args.log_level);
    task::abort_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("starting the runtime")?.block_on(serve(args))
}

async fn serve(args: ControllerArgs) -> anyhow::Result<()> {
    let namespace = client::namespace(args.namespace.as_deref())?;
    let client = client::connect(concat!("herald-controller/", env!("CARGO_PKG_VERSION"))).await?;
    let only_reviews = args.webhook.webhook_mode == WebhookMode::OnlyWebhook;
    let lease = if only_reviews { WEBHOOK_LEASE } else { LEASE };
    if args.check_release {
        let parts = ReleaseParts {
            lease,
            speaker_labels: args.ml_labels,
            is_beside_metallb: args.beside_metallb,
        };
        return release_check::run(&client, &namespace, &parts).await;
    }
    let shutdown = Shutdown::on_signals()?;
    let registry = admin::registry()?;
    let readiness = Readiness::default();
    let health = Health::start().context("starting the watch of the threads")?;
    let awaited = readiness.require(ListedKind::ALL);
    let (state_requests, states) = mpsc::channel(1);
    admin::serve_metrics(
        &args.metrics,
        registry.clone(),
        client.clone(),
        state_requests,
        None,
    )
    .await?;
    if args.health_probe_port != 0 {
        let address = admin::everywhere(args.health_probe_port);
        admin::serve_health(address, readiness, health.clone()).await?;
    }
    let events = Events::start(client.clone(), "metallb-controller", &args.pod_name, &registry)?;
    let state = object::reconcile::<ConfigurationState>(
        client.clone(),
        &namespace,
        "controller".to_owned(),
        &args.pod_name,
    );
    let (sender, inputs) = mpsc::channel(INPUTS);
    let version_check = Duration::from_secs(args.version_check_interval);
    input::watch_all(&client, &namespace, &args.lb_class, version_check, &sender);
    let (lease, leadership) = Lease::new(client.clone(), &namespace, lease, &args.pod_name);
    if !args.ml_secret_name.is_empty() && !only_reviews {
        let secrets = Api::namespaced(client.clone(), &namespace);
        task::spawn(gossip_key::keep(secrets, args.ml_secret_name, leadership.clone()));
    }
    if !only_reviews {
        let maps = Api::namespaced(client.clone(), &namespace);
        task::spawn(unread::report(
            maps,
            args.beside_metallb,
            events.clone(),
            leadership.clone(),
        ));
    }
    let scope = AdmissionScope {
        namespace: namespace.clone(),
        class: Some(args.lb_class).filter(|class| !class.is_empty()),
    };
    let (review_requests, reviews) = mpsc::channel(1);
    let (webhook, tls) = (&args.webhook, &args.metrics);
    webhook::start(
        webhook,
        tls,
        &client,
        scope,
        leadership.clone(),
        review_requests,
        &registry,
    )
    .await?;
    let listing = Listing { awaited, lease };
    let outputs = Outputs {
        writes: write::queue(client, leadership.clone(), namespace.clone()),
        events,
        state,
        metrics: ControllerMetrics::register(&registry)?,
    };
    let allocator = Allocator::with_quarantine(Duration::from_secs(args.quarantine));
    let mut driver = Controller::new(
        namespace.clone(),
        allocator,
        listing,
        leadership,
        match only_reviews {
            true => Standing::only_reviews(),
            false => Standing::new(args.beside_metallb),
        },
        outputs,
    );
    driver.set_bgp_enabled(args.bgp);
    info!(namespace, "controller started");
    driver
        .run(inputs, states, reviews, shutdown, health.beat_of("driver"))
        .await;
    info!("controller stopped");
    Ok(())
}
