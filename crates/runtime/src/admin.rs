//! Health and metrics over HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tracing::warn;

use crate::Readiness;

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

/// Serves `/healthz` and `/readyz` at `address` in the background.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_health(address: SocketAddr, readiness: Readiness) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(readiness);
    serve(address, router, "--health-probe-port").await
}

/// Serves `/metrics` at `address` in the background.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_metrics(address: SocketAddr, registry: Registry) -> anyhow::Result<()> {
    let router = Router::new().route("/metrics", get(metrics)).with_state(registry);
    serve(address, router, "--port").await
}

async fn serve(address: SocketAddr, router: Router, flag: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another port with {flag}"))?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            warn!(%error, %address, "stopped serving");
        }
    });
    Ok(())
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    if readiness.is_ready() {
        "ok".into_response()
    } else {
        let text = format!("not ready, awaiting: {}", readiness.awaited());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics(State(registry): State<Registry>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
