//! A pod: a small HTTP server that says which pod it is and on which node it runs.

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::State;
use axum::{Json, Router};
use clap::Args;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Arguments of the pod role.
#[derive(Debug, Args)]
pub struct PodArgs {
    /// Name of the pod.
    #[arg(long)]
    name: String,
    /// Name of the node that it runs on.
    #[arg(long)]
    node: String,
    /// Where to listen; may be repeated.
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
}

/// What a pod answers to any request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Name of the node.
    pub node: String,
    /// Name of the pod.
    pub pod: String,
}

/// Answers every request with a [`Greeting`], for ever.
pub async fn run(args: PodArgs) -> anyhow::Result<()> {
    let greeting = Greeting {
        node: args.node,
        pod: args.name,
    };
    let router = Router::new().fallback(greet).with_state(greeting);
    try_join_all(
        args.listen
            .into_iter()
            .map(|address| serve(address, router.clone())),
    )
    .await?;
    Ok(())
}

async fn serve(address: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    axum::serve(listener, router).await.context("the server ended")
}

async fn greet(State(greeting): State<Greeting>) -> Json<Greeting> {
    Json(greeting)
}
