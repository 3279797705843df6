//! A pod: a small server that says which pod it is and on which node it runs, over HTTP and over UDP.

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::State;
use axum::{Json, Router};
use clap::Args;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UdpSocket};

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

/// Answers every request and every datagram with a [`Greeting`], for ever.
pub async fn run(args: PodArgs) -> anyhow::Result<()> {
    let greeting = Greeting {
        node: args.node,
        pod: args.name,
    };
    try_join_all(
        args.listen
            .into_iter()
            .map(|address| serve(address, greeting.clone())),
    )
    .await?;
    Ok(())
}

async fn serve(address: SocketAddr, greeting: Greeting) -> anyhow::Result<()> {
    let udp = UdpSocket::bind(address).await;
    let udp = udp.with_context(|| format!("cannot receive on {address}"))?;
    let tcp = TcpListener::bind(address).await;
    let tcp = tcp.with_context(|| format!("cannot listen on {address}"))?;
    let datagram = serde_json::to_vec(&greeting)?;
    let router = Router::new().fallback(greet).with_state(greeting);
    tokio::try_join!(
        async { axum::serve(tcp, router).await.context("the server ended") },
        answer_datagrams(&udp, &datagram),
    )?;
    Ok(())
}

async fn answer_datagrams(socket: &UdpSocket, answer: &[u8]) -> anyhow::Result<()> {
    loop {
        let (_, client) = socket.recv_from(&mut []).await.context("cannot receive")?;
        // A client that cannot be reached is its own trouble.
        let _ = socket.send_to(answer, client).await;
    }
}

async fn greet(State(greeting): State<Greeting>) -> Json<Greeting> {
    Json(greeting)
}
