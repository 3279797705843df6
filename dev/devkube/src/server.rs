//! Listening sockets, and their end.

use std::io;
use std::net::{Shutdown, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::api;
use crate::counts::RequestCounts;
use crate::faults::Faults;
use crate::shared::Shared;

/// Pending connections per listener; a lab opens a few dozen at once.
const BACKLOG: i32 = 1024;

/// How to run a [`Server`].
#[derive(Debug)]
pub struct Options {
    /// Sockets to serve on; they may belong to different network namespaces.
    pub listeners: Vec<TcpListener>,
    /// How many changes are remembered for watches that resume.
    pub history: usize,
    /// Ports that are given to Services as node ports.
    pub node_ports: RangeInclusive<u16>,
}

impl Default for Options {
    fn default() -> Self {
        // Some minutes of a busy lab; a watch that was away for longer lists again.
        Self {
            listeners: Vec::new(),
            history: 50_000,
            // The range that kube-apiserver uses by default.
            node_ports: 30000..=32767,
        }
    }
}

/// A running server. Dropping it closes its connections and stops it; its state is gone then.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// One task per listener; they end with the set.
    _listening: JoinSet<()>,
}

impl Server {
    /// Starts serving on the current tokio runtime.
    ///
    /// # Errors
    /// When a listener cannot be made non-blocking or registered with the runtime.
    #[expect(
        clippy::unused_async,
        reason = "needs a runtime, which callers of an async function have"
    )]
    pub async fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(options.history, options.node_ports));
        let mut listening = JoinSet::new();
        for listener in options.listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listening.spawn(listen(listener, Arc::clone(&shared)));
        }
        Ok(Self {
            shared,
            _listening: listening,
        })
    }

    /// A handle that makes the server misbehave.
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.shared))
    }

    /// How often each resource was asked for so far.
    pub fn request_counts(&self) -> RequestCounts {
        self.shared.counts()
    }

    /// A kubeconfig (YAML) for a server at this URL (`http://127.0.0.1:8001`), without credentials.
    pub fn kubeconfig(server_url: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: devkube\n  cluster:\n    server: {server_url}\n\
             users:\n- name: devkube\n  user: {{}}\ncontexts:\n- name: devkube\n  context:\n    cluster: devkube\n    \
             user: devkube\n    namespace: default\ncurrent-context: devkube\n"
        )
    }
}

/// Serves one listener, through all its absences.
async fn listen(mut listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        accept(&listener, &shared).await;
        match stay_away(listener, &shared).await {
            Ok(back) => listener = back,
            // The socket cannot listen again: from here on this address refuses every connection.
            Err(_) => return,
        }
    }
}

/// Accepts and serves connections until the server is to be away; then they are closed.
async fn accept(listener: &tokio::net::TcpListener, shared: &Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    let mut connections = JoinSet::new();
    while !faults.borrow_and_update().away {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = connections.spawn(connection(stream, Arc::clone(shared))),
                // Out of descriptors, or the peer is gone already: let others run, then go on.
                Err(_) => tokio::task::yield_now().await,
            },
            _ = faults.changed() => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Makes the kernel refuse connections until the server is back. The socket stays bound, so coming
/// back needs no new bind (which might happen in another network namespace).
async fn stay_away(
    listener: tokio::net::TcpListener,
    shared: &Shared,
) -> io::Result<tokio::net::TcpListener> {
    // The runtime never forgets that a socket was shut down, so it must not know it meanwhile.
    let listener = listener.into_std()?;
    let address = listener.local_addr()?;
    SockRef::from(&listener).shutdown(Shutdown::Both)?;
    // A port that the kernel had chosen is given up with the shutdown, one that was asked for is kept:
    // then the socket is bound already, which is an invalid argument to bind(2).
    match SockRef::from(&listener).bind(&address.into()) {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut faults = shared.faults.subscribe();
    faults
        .wait_for(|state| !state.away)
        .await
        .map_err(io::Error::other)?;
    SockRef::from(&listener).listen(BACKLOG)?;
    tokio::net::TcpListener::from_std(listener)
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // A watch event is small and must not wait for the next one; failure only costs latency.
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| api::serve(Arc::clone(&shared), request));
    // An error means that the client left, or that a watch was cut off on purpose.
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}
