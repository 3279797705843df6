//! `heraldctl ui`: pools, Services, nodes and the last moves in a web page, for this machine only. Nothing is installed in the cluster, and
//! nothing is written.

mod address_map;
mod asset;
mod guard;
mod overview;
mod reader;
mod server;
mod styled;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use crate::cluster::CommonArgs;
use crate::output::{faint, heading, print};
use guard::Guard;
use reader::ClusterReader;
use server::{UiServer, serve};

/// Where the page is served.
#[derive(Debug, Args)]
pub(crate) struct UiArgs {
    /// Port on 127.0.0.1; if not given, one that is free.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..))]
    port: Option<u16>,
    #[command(flatten)]
    common: CommonArgs,
}

impl UiArgs {
    /// Serves the page until it is interrupted.
    ///
    /// # Errors
    /// When the API server does not answer, or the port is in use.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let connection = self.common.connect().await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.unwrap_or_default()));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
        let guard = Guard::new(listener.local_addr().context("reading the address")?)?;
        print(&format!(
            "{}\n{}\n",
            heading(&guard.link()),
            faint("Who has this link sees what you may see. It ends with this program: press Ctrl-C.")
        ))?;
        let reader = ClusterReader::new(connection, self.common);
        tokio::select! {
            never = serve(listener, UiServer { guard, reader }) => match never {},
            interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for an interrupt"),
        }
    }
}
