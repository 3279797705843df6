//! Health and metrics over HTTP.

mod page;
mod server;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::health::Health;
use crate::{Readiness, task};
use page::Pages;
use server::Limits;

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

/// Serves `/healthz` and `/readyz` at `address` in the background. Its connections are its own: those to the metrics, however
/// many, take nothing from it.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_health(address: SocketAddr, readiness: Readiness, health: Health) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/healthz", get(alive).with_state(health))
        .route("/readyz", get(ready).with_state(readiness));
    serve(address, router, "--health-probe-port", Limits::default()).await?;
    Ok(())
}

/// Serves `/metrics` at `address` in the background.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_metrics(address: SocketAddr, registry: Registry) -> anyhow::Result<()> {
    serve(address, metrics_router(registry), "--port", Limits::default()).await?;
    Ok(())
}

fn metrics_router(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state((registry, Pages::default()))
}

/// Returns the address, with the port that the system chose if `address` has none.
async fn serve(
    address: SocketAddr,
    router: Router,
    flag: &str,
    limits: Limits,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another port with {flag}"))?;
    let address = listener
        .local_addr()
        .context("reading the address of a listener")?;
    task::spawn(server::serve(listener, router, limits));
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

async fn metrics(State((registry, pages)): State<(Registry, Pages)>) -> Response {
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
