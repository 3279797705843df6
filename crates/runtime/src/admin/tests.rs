//! Clients that misbehave, and what others notice of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::page::PAGES;
use super::*;
use crate::readiness::Precondition;

/// The longest wait for an answer; it is reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(40);

/// Limits that a test can reach, and a time for headers that it cannot.
const FEW: Limits = Limits {
    connections: 4,
    header_time: DEADLINE,
    header_size: 16 * 1024,
    lifetime: DEADLINE,
    response_time: DEADLINE,
};

async fn start(router: Router, limits: Limits) -> SocketAddr {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    serve("test", any, router, "--port", limits, None)
        .await
        .expect("a free port")
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Returns all that the server sends until it closes the connection.
async fn read(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut text)).await;
    // A connection that is reset is closed, too.
    let _reset = read.expect("the server closes the connection");
    String::from_utf8(text).expect("text")
}

async fn get_once(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    read(stream).await
}

fn health_router(health: Health) -> Router {
    Router::new().route("/healthz", get(alive).with_state(health))
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let soon = Duration::from_millis(50);
    let header = Limits {
        header_time: soon,
        ..FEW
    };
    let address = start(health_router(Health::default()), header).await;
    assert_eq!(read(connect(address).await).await, "");
    let mut unfinished = connect(address).await;
    unfinished
        .write_all(b"GET /healthz HTTP/1.1\r\n")
        .await
        .expect("sent");
    assert!(!read(unfinished).await.contains("200 OK"));
    // Nor is one that asks and then says nothing.
    let lifetime = Limits {
        lifetime: soon,
        ..FEW
    };
    let address = start(health_router(Health::default()), lifetime).await;
    let mut idle = connect(address).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    assert!(read(idle).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_that_begins_no_handshake_is_dropped() {
    let limits = Limits {
        header_time: Duration::from_millis(50),
        ..FEW
    };
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let tls = start_tls(&MetricsArgs::default(), &Registry::new()).expect("the defaults");
    let router = metrics_router(Registry::new(), None, Pages::default());
    let address = serve("test", any, router, "--port", limits, Some(tls)).await;
    let address = address.expect("a free port");
    assert_eq!(read(connect(address).await).await, "");
    assert!(
        !get_once(address, "/metrics").await.contains("200 OK"),
        "HTTP without TLS"
    );
}

#[tokio::test]
async fn beyond_the_limit_of_connections_health_still_answers() {
    let health = start(health_router(Health::default()), FEW).await;
    let metrics = start(metrics_router(Registry::new(), None, Pages::default()), FEW).await;
    for address in [health, metrics] {
        let mut silent = Vec::new();
        for _ in 0..2 * FEW.connections {
            let mut stream = connect(address).await;
            stream.write_all(b"GET /").await.expect("sent");
            silent.push(stream);
        }
        assert!(get_once(health, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
        assert!(get_once(metrics, "/metrics").await.starts_with("HTTP/1.1 200 OK"));
        // The oldest connections had to go.
        assert_eq!(read(silent.remove(0)).await, "");
    }
}

#[tokio::test]
async fn an_endless_header_is_refused() {
    let address = start(health_router(Health::default()), FEW).await;
    let stream = connect(address).await;
    let (mut answer, mut request) = stream.into_split();
    let endless = tokio::spawn(async move {
        let mut sent = request.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        while sent.is_ok() {
            sent = request
                .write_all(b"X-Endless: 0123456789012345678901234567890123456789\r\n")
                .await;
        }
    });
    let mut text = Vec::new();
    let read = timeout(DEADLINE, answer.read_to_end(&mut text)).await;
    let _reset = read.expect("the server closes the connection");
    assert!(!String::from_utf8_lossy(&text).contains("200 OK"));
    timeout(DEADLINE, endless)
        .await
        .expect("in time")
        .expect("no panic");
}

#[tokio::test]
async fn readers_that_are_slow_hold_few_pages_and_keep_nobody_out() {
    let registry = Registry::new();
    let length = 16 << 20;
    let help = "x".repeat(length);
    let gauge = prometheus::IntGauge::new("large", help).expect("a gauge");
    registry.register(Box::new(gauge)).expect("a new metric");
    let limits = Limits {
        connections: 2 * PAGES,
        ..FEW
    };
    let address = start(metrics_router(registry, None, Pages::default()), limits).await;
    let mut slow = Vec::new();
    for _ in 0..PAGES {
        let mut stream = connect(address).await;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        slow.push(stream);
    }
    let page = get_once(address, "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.len() > length);
    // The oldest page had to go, and no other.
    let mut lengths = Vec::new();
    for stream in slow {
        lengths.push(read(stream).await.len());
    }
    let are_whole: Vec<bool> = lengths.iter().map(|read| *read > length).collect();
    assert_eq!(are_whole, [false, true, true, true]);
}

#[tokio::test]
async fn health_and_readiness_say_what_is_missing() {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Services;
    impl Precondition for Services {
        fn as_str(self) -> &'static str {
            "Services"
        }
    }
    let (health, readiness) = (Health::default(), Readiness::default());
    let mut awaited = readiness.require([Services]);
    let router = health_router(health).route("/readyz", get(ready).with_state(readiness));
    let address = start(router, FEW).await;
    assert!(get_once(address, "/healthz").await.ends_with("\r\n\r\nok"));
    let answer = get_once(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("awaiting: Services"));
    awaited.meet(Services);
    assert!(get_once(address, "/readyz").await.ends_with("\r\n\r\nok"));
    let address = start(health_router(Health::of_test("wire")), FEW).await;
    let answer = get_once(address, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("no sign of life from: wire"));
}
