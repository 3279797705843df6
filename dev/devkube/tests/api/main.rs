//! The embedded API as Rust programs see it, through kube.

mod custom;
mod endpoints;
mod faults;
mod patches;
mod services;
mod watches;
mod writes;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use herald_devkube::{Options, Server};
use hyper::Request;
use kube::{Client, Config};
use serde_json::Value;

/// A wait that only ends this way when something is broken.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server of a test's own, and a client of it.
struct Cluster {
    server: Server,
    client: Client,
    address: SocketAddr,
}

impl Cluster {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = format!("http://{address}");
        let options = Options {
            listeners: vec![listener],
            ..options
        };
        let server = Server::start(options).await.expect("the server starts");
        let mut config = Config::new(url.parse().expect("a URL"));
        config
            .headers
            .push((hyper::header::USER_AGENT, "tester/1".parse().expect("a header")));
        Self {
            server,
            client: Client::try_from(config).expect("a client"),
            address,
        }
    }

    /// A request beside what kube's typed API offers; the body's media type is `media_type`.
    async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: Value,
    ) -> Result<Value, kube::Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(if body.is_null() {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            })
            .expect("a request");
        self.client.request::<Value>(request).await
    }

    async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        self.send("GET", path, "application/json", Value::Null).await
    }

    async fn create(&self, path: &str, body: Value) -> Result<Value, kube::Error> {
        self.send("POST", path, "application/json", body).await
    }

    async fn put(&self, path: &str, body: Value) -> Result<Value, kube::Error> {
        self.send("PUT", path, "application/json", body).await
    }

    async fn merge(&self, path: &str, body: Value) -> Result<Value, kube::Error> {
        self.send("PATCH", path, "application/merge-patch+json", body)
            .await
    }

    async fn delete(&self, path: &str) -> Result<Value, kube::Error> {
        self.send("DELETE", path, "application/json", Value::Null).await
    }

    /// Serves the CRD in `tests/data/pool-crd.yaml`.
    async fn with_pools(self) -> Self {
        let crd: Value = serde_saphyr::from_str(include_str!("../data/pool-crd.yaml")).expect("YAML");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.create(path, crd).await.expect("the CRD is accepted");
        self
    }
}

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Path of a Service in the default namespace.
fn service_path(name: &str) -> String {
    format!("{SERVICES}/{name}")
}

/// The code and message with which a request was refused.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
