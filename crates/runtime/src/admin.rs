//! Health, metrics and admission reviews over HTTP.

mod access;
mod checks;
mod expiry;
mod issue;
mod page;
mod review;
mod server;
mod state;
mod tls;
mod webhook;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kube::Client;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::health::Health;
use crate::{Readiness, task};
pub use checks::{BeginChecks, ChecksRun};
pub use issue::IssuedCertificate;
use page::Pages;
use review::Reviewer;
use server::Limits;
pub use state::{RenderState, StateRequest};
pub use tls::{Certificate, TlsVersion};
pub use webhook::{Review, ReviewError, serve_webhook};

/// How often the files of a mounted certificate are compared with those in use. The kubelet takes a minute or so to bring a
/// changed Secret.
const RELOAD: Duration = Duration::from_secs(10);

/// The path of the metrics, and the non-resource URL that a ClusterRole names.
const METRICS: &str = "/metrics";

/// The flags of the metrics, named as MetalLB's where it has them. Its default value disables the metrics.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct MetricsArgs {
    /// Port of /metrics and /state; 0 disables both.
    #[arg(long, default_value_t = 9120)]
    pub port: u16,
    /// Address that /metrics and /state are served on; if not given, all addresses.
    #[arg(long, env = "HERALD_METRICS_BIND_ADDRESS")]
    pub metrics_bind_address: Option<IpAddr>,
    /// Serve /metrics and /state over HTTP, to every client, instead of over HTTPS to those whose token may get the
    /// nonResourceURL.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub metrics_plain_http: bool,
    /// Directory with the certificate in tls.crt and tls.key, which are read again when they change; without it the
    /// program makes a certificate that no authority has signed.
    #[arg(long, value_name = "DIRECTORY")]
    pub metrics_cert_dir: Option<PathBuf>,
    /// Lowest version of TLS.
    #[arg(long, value_enum, default_value_t)]
    pub tls_min_version: TlsVersion,
    /// Cipher suites of TLS 1.2 by their IANA names, separated by commas; if not given, all that are supported.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub tls_cipher_suites: Vec<String>,
    /// Curves by their IANA numbers, separated by commas, in the order of preference; if not given, 29, 23, 24.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    pub tls_curve_preferences: Vec<u16>,
}

/// Returns a registry with the metrics of this process (memory, CPU, file descriptors).
///
/// # Errors
/// When the process collector cannot be registered.
pub fn registry() -> anyhow::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    Ok(registry)
}

/// Returns the wildcard address, of both families where the host has IPv6: probes use the family of the Pod.
pub fn everywhere(port: u16) -> SocketAddr {
    let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let any: IpAddr = if has_ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    (any, port).into()
}

/// Serves `/healthz` and `/readyz` at `address`. It has a thread and connections of its own: what happens to the metrics takes
/// nothing from it.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_health(address: SocketAddr, readiness: Readiness, health: Health) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/healthz", get(alive).with_state(health))
        .route("/readyz", get(ready).with_state(readiness));
    serve(
        "health-http",
        address,
        router,
        "--health-probe-port",
        Limits::default(),
        None,
    )
    .await?;
    Ok(())
}

/// Serves `/metrics` and `/state`, on a thread of its own, unless the port is 0. The API server of `client` decides who may read
/// them. The owner of the state answers `state`, the requests for it. With `checks`, clients may ask for checks at `/checks`.
///
/// # Errors
/// When the address cannot be bound, or the certificate or an option of TLS cannot be used.
pub async fn serve_metrics(
    args: &MetricsArgs,
    registry: Registry,
    client: Client,
    state: mpsc::Sender<StateRequest>,
    checks: Option<BeginChecks>,
) -> anyhow::Result<()> {
    if args.port == 0 {
        return Ok(());
    }
    let address = match args.metrics_bind_address {
        Some(address) => (address, args.port).into(),
        None => everywhere(args.port),
    };
    let (reviewer, tls) = if args.metrics_plain_http {
        (None, None)
    } else {
        (Some(Reviewer::new(client)), Some(start_tls(args, &registry)?))
    };
    let router = metrics_router(registry, reviewer.clone(), Pages::default());
    let mut router = router.merge(state::router(state, reviewer.clone(), Pages::default()));
    if let Some(begin) = checks {
        router = router.merge(checks::router(begin, reviewer));
    }
    serve("metrics-http", address, router, "--port", Limits::default(), tls).await?;
    Ok(())
}

fn start_tls(args: &MetricsArgs, registry: &Registry) -> anyhow::Result<TlsAcceptor> {
    let certificate = Arc::new(match &args.metrics_cert_dir {
        Some(directory) => Certificate::read(directory).context("--metrics-cert-dir")?,
        None => Certificate::self_made()?,
    });
    expiry::register(registry, "metrics", &certificate)?;
    let (suites, curves) = (&args.tls_cipher_suites, &args.tls_curve_preferences);
    let config = tls::server_config(args.tls_min_version, suites, curves, Arc::clone(&certificate))?;
    if args.metrics_cert_dir.is_some() {
        task::spawn(reload(certificate));
    }
    Ok(Arc::new(config).into())
}

async fn reload(certificate: Arc<Certificate>) -> Infallible {
    loop {
        tokio::time::sleep(RELOAD).await;
        match certificate.reload() {
            Ok(true) => info!("the certificate of the metrics was replaced"),
            Ok(false) => {}
            Err(error) => warn!("the certificate of the metrics stays as it was: {error:#}"),
        }
    }
}

fn metrics_router(registry: Registry, reviewer: Option<Reviewer>, pages: Pages) -> Router {
    Router::new()
        .route(METRICS, get(metrics))
        .with_state((registry, pages, reviewer))
}

/// Returns the address, with the port that the system chose if `address` has none.
async fn serve(
    thread: &'static str,
    address: SocketAddr,
    router: Router,
    flag: &str,
    limits: Limits,
    tls: Option<TlsAcceptor>,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another port with {flag}"))?;
    let address = listener
        .local_addr()
        .context("reading the address of a listener")?;
    let listener = listener.into_std().context("moving a listener to its thread")?;
    task::spawn_thread(thread, async move {
        let listener = TcpListener::from_std(listener)
            .expect("the thread has a runtime, and the listener does not block");
        server::serve(listener, router, limits, tls).await
    })
    .context("starting a thread for HTTP")?;
    Ok(address)
}

async fn alive(State(health): State<Health>) -> Response {
    let missed = health.missed();
    if missed.is_empty() {
        "ok".into_response()
    } else {
        let text = format!("no sign of life from: {}", missed.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    if readiness.is_ready() {
        "ok".into_response()
    } else {
        let text = format!("not ready, awaiting: {}", readiness.awaited());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics(
    State((registry, pages, reviewer)): State<(Registry, Pages, Option<Reviewer>)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = review::refusal_of(reviewer.as_ref(), &headers, METRICS).await {
        return refusal;
    }
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, prometheus::TEXT_FORMAT.to_owned()),
        (header::CONTENT_LENGTH, text.len().to_string()),
    ];
    (headers, Body::from_stream(pages.add(text))).into_response()
}

#[cfg(test)]
mod tests;
