use std::net::Ipv4Addr;

use clap::Parser;
use kube::Client;
use kube::config::Config;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::cluster::{ApiConnection, CommonArgs};

#[derive(Parser)]
struct CommonOnly {
    #[command(flatten)]
    common: CommonArgs,
}

/// A server of a cluster whose API server is away.
struct Served {
    address: std::net::SocketAddr,
    token: String,
}

impl Served {
    async fn start() -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        // Nothing listens on the port for TCP multiplexing.
        let api = "http://127.0.0.1:1".parse().expect("a URL");
        let client = Client::try_from(Config::new(api)).expect("a client");
        let connection = ApiConnection {
            client,
            namespace: "default".to_owned(),
        };
        let common = CommonOnly::parse_from(["heraldctl"]).common;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let guard = Guard::new(address).expect("random numbers");
        let link = guard.link();
        let (_, token) = link.split_once('#').expect("a token");
        let reader = ClusterReader::new(connection, common);
        tokio::spawn(serve(listener, UiServer { guard, reader }));
        Self {
            address,
            token: token.to_owned(),
        }
    }

    /// Sends a request on a connection of its own; returns the head and the body of the response.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = request.replace("HOST", &self.address.to_string());
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("a response");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str, headers: &str) -> (String, String) {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{headers}\r\n"
        ))
        .await
    }
}

#[tokio::test]
async fn every_response_has_the_headers_that_confine_the_page() {
    let served = Served::start().await;
    let get = |path| served.get(path, "");
    for (path, status) in [
        ("/", "200"),
        ("/page.js", "200"),
        ("/page.css", "200"),
        ("/icon.svg", "200"),
        ("/none", "404"),
        ("/../etc/passwd", "401"),
        ("/session", "401"),
        ("/00000000000000000000000000000000/overview", "401"),
    ] {
        let (head, body) = get(path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        for line in [
            "content-security-policy: default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(
                head.lines().any(|other| other == line),
                "{path}: {line} is not in {head}"
            );
        }
        assert!(!head.to_ascii_lowercase().contains("access-control"), "{head}");
        assert!(
            !body.contains("passwd"),
            "a response repeats nothing of a request"
        );
    }
}

#[tokio::test]
async fn what_is_no_get_for_this_host_is_refused() {
    let served = Served::start().await;
    for (request, status) in [
        (
            "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            "405",
        ),
        (
            "OPTIONS / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
            "405",
        ),
        (
            "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "421",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "421"),
    ] {
        let (head, _) = served.ask(request).await;
        assert!(head.split(' ').nth(1) == Some(status), "{request}: {head}");
        if status == "405" {
            assert!(head.lines().any(|line| line == "allow: GET"), "{head}");
        }
    }
}

#[tokio::test]
async fn the_token_is_exchanged_for_a_cookie_that_opens_the_data() {
    let served = Served::start().await;
    let (head, body) = served
        .get("/session", &format!("Authorization: Bearer {}\r\n", served.token))
        .await;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.expect("a cookie");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
    let session: Value = serde_json::from_str(&body).expect("JSON");
    let directory = session["directory"].as_str().expect("a directory");
    assert!(cookie.contains(&format!("; Path={directory};")), "{cookie}");
    let (value, _) = cookie.split_once(';').expect("attributes");
    assert!(!value.contains(&served.token) && !value.contains(directory.trim_matches('/')));

    // The API server is away: the page says what is unknown, and why.
    let headers = format!("Cookie: {value}\r\n");
    let (head, body) = served.get(&format!("{directory}overview"), &headers).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let overview: Value = serde_json::from_str(&body).expect("JSON");
    let unknown = overview["status"]["unknown"].as_array().expect("a list");
    assert!(
        unknown.iter().any(|line| line
            .as_str()
            .is_some_and(|line| line.contains("pods cannot be listed"))),
        "{body}"
    );
    assert_eq!(
        (&overview["pools"], &overview["status"]["services"]),
        (&Value::Array(Vec::new()), &Value::Null)
    );

    let (head, body) = served
        .get(&format!("{directory}explain?pool=first"), &headers)
        .await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && body.contains("there is no IPAddressPool"),
        "{head} {body}"
    );
    let (head, _) = served
        .get(&format!("{directory}explain?address=x"), &headers)
        .await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let (head, _) = served.get(&format!("{directory}overview"), "").await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.expect("a connection");
    stream.write_all(b"GET / HTT").await.expect("it is sent");
    let mut response = Vec::new();
    let read = timeout(2 * HEADER_TIME, stream.read_to_end(&mut response)).await;
    assert!(read.is_ok(), "it is still open");
}

#[tokio::test]
async fn more_connections_than_the_limit_wait() {
    let served = Served::start().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(served.address).await.expect("a connection");
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", served.address).as_bytes())
            .await
            .expect("it is sent");
        let mut first = [0];
        stream.read_exact(&mut first).await.expect("an answer");
        open.push(stream);
    }
    let mut one_more = Box::pin(served.get("/", ""));
    let waiting = timeout(Duration::from_millis(200), one_more.as_mut()).await;
    assert!(waiting.is_err(), "it was answered");
    open.pop();
    let (head, _) = one_more.await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}
