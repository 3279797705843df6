//! Forwards one frontend to its endpoints, in turn.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::table::{Frontend, Transport};

/// How long a pod may take to accept a connection before the next one is tried. On a LAN it takes less
/// than a millisecond; the node of a pod that says nothing is most likely dead.
pub const DIAL: Duration = Duration::from_millis(150);

/// A UDP conversation ends after this long without an answer, as conntrack's `nf_conntrack_udp_timeout`.
const UDP_IDLE: Duration = Duration::from_secs(30);

/// Largest UDP payload.
const DATAGRAM: usize = 65_507;

/// A listener and what is behind it. Dropping it closes the listener; connections end by themselves.
pub(super) struct Forwarder {
    endpoints: watch::Sender<Vec<SocketAddr>>,
    listener: AbortHandle,
}

impl Forwarder {
    /// Starts to listen at `frontend`.
    pub(super) fn start(frontend: Frontend, endpoints: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let socket = bind(frontend).with_context(|| format!("cannot listen on {frontend}"))?;
        let (endpoints, current) = watch::channel(endpoints);
        let backends = Backends {
            current,
            next: Arc::default(),
        };
        let listener = match frontend.transport {
            Transport::Tcp => tokio::spawn(accept(TcpListener::from_std(socket.into())?, backends)),
            Transport::Udp => tokio::spawn(relay(UdpSocket::from_std(socket.into())?, backends)),
        };
        Ok(Self {
            endpoints,
            listener: listener.abort_handle(),
        })
    }

    /// Replaces the endpoints that new connections go to.
    pub(super) fn set_endpoints(&self, endpoints: &[SocketAddr]) {
        self.endpoints.send_if_modified(|current| {
            let changed = current != endpoints;
            if changed {
                *current = endpoints.to_vec();
            }
            changed
        });
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// A socket for an address that no link has: IPv6 refuses to bind to one without "freebind".
fn bind(frontend: Frontend) -> io::Result<Socket> {
    let kind = match frontend.transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(frontend.address), kind, None)?;
    socket.set_nonblocking(true)?;
    match frontend.address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    if frontend.transport == Transport::Tcp {
        // Connections of an earlier listener may linger in TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&frontend.address.into())?;
    if frontend.transport == Transport::Tcp {
        socket.listen(1024)?;
    }
    Ok(socket)
}

/// The endpoints of a frontend, taken in turn.
#[derive(Clone)]
struct Backends {
    current: watch::Receiver<Vec<SocketAddr>>,
    next: Arc<AtomicUsize>,
}

impl Backends {
    /// All endpoints, beginning with the one whose turn it is.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let mut endpoints = self.current.borrow().clone();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(first) = turn.checked_rem(endpoints.len()) {
            endpoints.rotate_left(first);
        }
        endpoints
    }

    /// Connects to the first endpoint that accepts.
    async fn dial(&self) -> Option<TcpStream> {
        for endpoint in self.in_turn() {
            match timeout(DIAL, TcpStream::connect(endpoint)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) => tracing::debug!("{endpoint}: {error}"),
                Err(_) => tracing::debug!("{endpoint}: nothing within {DIAL:?}"),
            }
        }
        None
    }
}

async fn accept(listener: TcpListener, backends: Backends) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(splice(client, backends.clone()));
            }
            // A client that is gone already, or no descriptor left: the latter passes as connections end.
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn splice(mut client: TcpStream, backends: Backends) {
    if let Some(mut server) = backends.dial().await {
        // Either side may break off at any time; the other one then learns it by the close.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Relays datagrams; every client has a socket of its own towards its endpoint, so that answers find back.
async fn relay(listener: UdpSocket, backends: Backends) {
    let listener = Arc::new(listener);
    let mut conversations: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let (length, client) = match listener.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!("cannot receive: {error}");
                continue;
            }
        };
        conversations.retain(|_, upstream| Arc::strong_count(upstream) > 1);
        let upstream = match conversations.get(&client) {
            Some(upstream) => Arc::clone(upstream),
            None => match converse(Arc::clone(&listener), client, &backends).await {
                Ok(upstream) => {
                    conversations.insert(client, Arc::clone(&upstream));
                    upstream
                }
                Err(error) => {
                    tracing::warn!("{client}: {error:#}");
                    continue;
                }
            },
        };
        if let Err(error) = upstream.send(&datagram[..length]).await {
            tracing::debug!("{client}: {error}");
        }
    }
}

/// Opens a socket to the endpoint whose turn it is, and brings its answers back to `client` until it falls silent.
async fn converse(
    listener: Arc<UdpSocket>,
    client: SocketAddr,
    backends: &Backends,
) -> anyhow::Result<Arc<UdpSocket>> {
    let endpoint = *backends.in_turn().first().context("no endpoint")?;
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let upstream = Arc::new(UdpSocket::bind(any).await?);
    upstream.connect(endpoint).await?;
    let answers = Arc::clone(&upstream);
    tokio::spawn(async move {
        let mut datagram = vec![0; DATAGRAM];
        while let Ok(Ok(length)) = timeout(UDP_IDLE, answers.recv(&mut datagram)).await {
            if listener.send_to(&datagram[..length], client).await.is_err() {
                break;
            }
        }
    });
    Ok(upstream)
}
