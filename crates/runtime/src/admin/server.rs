//! An HTTP server for clients that may be hostile: it serves few connections, for a short time, with short headers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

/// Pause after a connection could not be accepted, for example because descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client, and all together, may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time. One more closes the oldest idle one of the host that has the most, so a host that opens many loses
    /// its own. If requests are answered on all of them, the new one waits.
    pub(super) connections: usize,
    /// The time for the handshake of TLS, for the header of a request, and between two requests.
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

/// Serves `router` on all connections of a listener, over TLS if there is an acceptor.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
) -> Infallible {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<OpenConnection> = VecDeque::new();
    let answered = Arc::new(Notify::new());
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.task.is_finished());
        match accepted {
            Ok((stream, client)) => {
                let host = Host::of(client.ip());
                while oldest_first.len() >= limits.connections {
                    let idle = oldest_first
                        .iter()
                        .map(|connection| (connection.host, connection.is_idle()));
                    let idle: Vec<(Host, bool)> = idle.collect();
                    match surplus(&idle, host).and_then(|index| oldest_first.remove(index)) {
                        Some(surplus) => surplus.task.abort(),
                        None => answered.notified().await,
                    }
                    oldest_first.retain(|connection| !connection.task.is_finished());
                }
                let requests = Requests::new(Arc::clone(&answered));
                let router = router
                    .clone()
                    .layer(middleware::from_fn_with_state(requests.clone(), count))
                    .layer(Extension(host));
                let task = connections.spawn(accept(stream, router, limits, tls.clone()));
                oldest_first.push_back(OpenConnection { host, requests, task });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct OpenConnection {
    host: Host,
    requests: Requests,
    task: AbortHandle,
}

impl OpenConnection {
    fn is_idle(&self) -> bool {
        self.requests.open.load(Ordering::Relaxed) == 0
    }
}

/// The requests of a connection that are being answered.
#[derive(Clone)]
struct Requests {
    open: Arc<AtomicUsize>,
    /// Is notified when one has ended.
    answered: Arc<Notify>,
}

impl Requests {
    fn new(answered: Arc<Notify>) -> Self {
        let open = Arc::default();
        Self { open, answered }
    }

    fn begin(self) -> OpenRequest {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self)
    }
}

/// Counts a request until it is dropped, also when its client is gone.
struct OpenRequest(Requests);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.answered.notify_one();
    }
}

async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let _open = requests.begin();
    next.run(request).await
}

/// The host of a client: its IPv4 address, or the prefix of 64 bits from which a host may take any IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Host(IpAddr);

impl Host {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

/// Returns the index of the connection that makes room for one of `host`: of those that are idle, the oldest of the host that has
/// the most connections, the new one included; if none is idle, the oldest of a host that has more than half of all; `None` if there
/// is no such host.
fn surplus(oldest_first: &[(Host, bool)], host: Host) -> Option<usize> {
    let count = |of: Host| {
        let all = oldest_first.iter().map(|(host, _)| *host).chain([host]);
        all.filter(|other| *other == of).count()
    };
    let idle = || {
        oldest_first
            .iter()
            .enumerate()
            .filter(|(_, (_, is_idle))| *is_idle)
    };
    let most = idle().map(|(_, (of, _))| count(*of)).max();
    let mut surplus = idle().filter(|(_, (of, _))| Some(count(*of)) == most);
    let is_greedy = |(of, _): &(Host, bool)| 2 * count(*of) > oldest_first.len() + 1;
    let surplus = surplus.next().map(|(index, _)| index);
    surplus.or_else(|| oldest_first.iter().position(is_greedy))
}

/// Answers the requests of one connection. What goes wrong on it concerns its client only.
async fn accept(stream: TcpStream, router: Router, limits: Limits, tls: Option<TlsAcceptor>) {
    let Some(tls) = tls else {
        return answer(stream, router, limits).await;
    };
    if let Ok(Ok(stream)) = timeout(limits.header_time, tls.accept(stream)).await {
        answer(stream, router, limits).await;
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, limits: Limits) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_with_the_most_connections_loses_its_oldest() {
        // An upper-case letter is a connection on which a request is answered.
        let hosts = |names: &str| -> Vec<(Host, bool)> {
            let host = |name: char| {
                let number = u128::from(u32::from(name.to_ascii_lowercase()));
                (
                    Host(Ipv6Addr::from_bits(number).into()),
                    name.is_ascii_lowercase(),
                )
            };
            names.chars().map(host).collect()
        };
        let cases = [
            ("aaaa", "a", Some(0)),
            ("abaa", "a", Some(0)),
            ("baaa", "a", Some(1)),
            ("baaa", "b", Some(1)),
            ("bbaa", "a", Some(2)),
            ("bbaa", "c", Some(0)),
            ("abcd", "e", Some(0)),
            ("abcd", "d", Some(3)),
            ("AAab", "a", Some(2)),
            ("AAAb", "a", Some(3)),
            ("AAAB", "a", Some(0)),
            ("BAAA", "c", Some(1)),
            ("AABB", "c", None),
            ("AABB", "a", Some(0)),
            ("ABCD", "e", None),
        ];
        for (open, new, expected) in cases {
            assert_eq!(surplus(&hosts(open), hosts(new)[0].0), expected, "{open} {new}");
        }
    }

    #[test]
    fn an_ipv6_host_is_a_prefix_of_64_bits() {
        let host = |address: &str| Host::of(address.parse().expect("an address"));
        assert_eq!(host("fd00::1"), host("fd00::ffff:0:0:2"));
        assert_ne!(host("fd00::1"), host("fd00:0:0:1::1"));
        assert_eq!(host("::ffff:192.0.2.1"), host("192.0.2.1"));
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
    }
}
