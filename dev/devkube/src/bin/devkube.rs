//! Serves the embedded Kubernetes API for a person with kubectl.
#![expect(clippy::print_stdout, reason = "the kubeconfig is this program's output")]

use clap::Parser;
use herald_devkube::{Options, Server};

/// Serves a Kubernetes API in memory, without any security, and prints a kubeconfig: a development tool.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on; use a loopback address only.
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind(Arguments::parse().listen)?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut options = Options::default();
    options.listeners.push(listener);
    let _server = Server::start(options).await?;
    println!("# devkube is a development tool: no TLS, no users, nothing survives its end.");
    print!("{}", Server::kubeconfig(&url));
    Ok(tokio::signal::ctrl_c().await?)
}
