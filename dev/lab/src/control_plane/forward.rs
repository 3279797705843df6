//! A way from outside the lab to its API server.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use herald_netns::Netns;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Brings connections into a namespace, until it is dropped.
pub(super) struct Forwarder(JoinHandle<()>);

impl Forwarder {
    /// Takes connections at `door` and makes one to `target` in `namespace` for each.
    pub(super) fn start(
        door: TcpListener,
        namespace: Arc<Netns>,
        target: SocketAddr,
    ) -> anyhow::Result<Self> {
        door.set_nonblocking(true)?;
        let door = tokio::net::TcpListener::from_std(door)?;
        Ok(Self(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = door.accept().await {
                // Without a server behind it the visitor sees its connection closed.
                connections.spawn(carry(stream, namespace.clone(), target));
                while connections.try_join_next().is_some() {}
            }
        })))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn carry(mut outside: TcpStream, namespace: Arc<Netns>, target: SocketAddr) -> std::io::Result<()> {
    let socket = namespace.run(TcpSocket::new_v4).await?;
    drop(namespace);
    let mut inside = socket.connect(target).await?;
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}
