//! An HTTP server for clients that may be hostile: it serves few connections, for a short time, with short headers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Pause after a connection could not be accepted, for example because descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client, and all together, may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time. One more closes the oldest: a client that holds connections open keeps nobody out.
    pub(super) connections: usize,
    /// The time for the header of a request, and between two requests.
    pub(super) header_time: Duration,
    /// The size of a header, in bytes.
    pub(super) header_size: usize,
    /// After this time no further request is served on a connection.
    pub(super) lifetime: Duration,
    /// The time that the last response has after that.
    pub(super) response_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            header_time: Duration::from_secs(5),
            header_size: 16 * 1024,
            lifetime: Duration::from_secs(30),
            response_time: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on all connections of a listener.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits) -> Infallible {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.is_finished());
        match accepted {
            Ok((stream, _)) => {
                if oldest_first.len() >= limits.connections
                    && let Some(oldest) = oldest_first.pop_front()
                {
                    oldest.abort();
                }
                oldest_first.push_back(connections.spawn(answer(stream, router.clone(), limits)));
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection. What goes wrong on it concerns its client only.
async fn answer(stream: TcpStream, router: Router, limits: Limits) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_size);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    if timeout(limits.lifetime, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _closed = timeout(limits.response_time, connection).await;
    }
}
