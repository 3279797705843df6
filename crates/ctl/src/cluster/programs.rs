//! Requests to the programs, by the port of their metrics.

use std::net::SocketAddr;

use anyhow::{Context, anyhow, bail, ensure};
use clap::ValueEnum;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod as CorePod, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::installation::{Installation, Pod};
use super::listing::plain;
use crate::tls;

/// The bytes of an answer, at most; the programs cut their state at 8 MB.
const MOST_BYTES: usize = 16 << 20;
/// The audience of the tokens that the programs are sent: the API server accepts none of them.
const AUDIENCE: &str = "herald-speaker";
/// Seconds for which such a token can be used: the shortest time that Kubernetes allows.
const LIFETIME: i64 = 600;
/// The label of the ServiceAccount that may read the states and ask for checks.
const READER: &str = "app.kubernetes.io/component=doctor";

/// How the programs are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Reach {
    /// Through the API server and the kubelet, as `kubectl port-forward` does.
    #[default]
    Forward,
    /// By the addresses of the Pods, from a machine that reaches the nodes.
    Direct,
    /// Not at all: what is on no object is unknown.
    None,
}

/// Reaches the programs.
pub(crate) struct ProgramClient {
    client: Client,
    namespace: String,
    /// The token for the programs, or why there is none.
    token: Result<String, String>,
    reach: Reach,
}

impl ProgramClient {
    /// Requests a token for the programs, unless all of them serve without.
    pub(crate) async fn new(client: &Client, installation: &Installation, reach: Reach) -> Self {
        let namespace = installation.namespace.as_deref().unwrap_or_default();
        let mut pods = installation.pods.iter();
        let needs_token = pods.any(|pod| pod.state_port().is_some_and(|(_, plain)| !plain));
        let token = if needs_token {
            request_token(client, namespace)
                .await
                .map_err(|error| format!("{error:#}"))
        } else {
            Ok(String::new())
        };
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            token,
            reach,
        }
    }

    /// Reads a page of a program.
    pub(crate) async fn get(&self, pod: &Pod, path: &str) -> anyhow::Result<Bytes> {
        let (status, body) = self.request(pod, Method::GET, path, Bytes::new()).await?;
        ensure!(status == StatusCode::OK, "{}", refusal(status, &body));
        Ok(body)
    }

    /// Sends JSON to a program, and returns the status and the body of its answer.
    pub(crate) async fn post(
        &self,
        pod: &Pod,
        path: &str,
        json: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.request(pod, Method::POST, path, json.into()).await
    }

    async fn request(
        &self,
        pod: &Pod,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        ensure!(pod.is_ready, "the Pod is not ready");
        let (port, is_plain) = pod.state_port().context("the Pod serves no state (--port=0)")?;
        let token = match &self.token {
            Ok(token) => token,
            Err(_) if is_plain => "",
            Err(error) => bail!("{error}"),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "herald");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body))?;
        if self.reach == Reach::Direct {
            let address = pod.address.context("the Pod has no address")?;
            let to = SocketAddr::new(address, port);
            let stream = TcpStream::connect(to)
                .await
                .with_context(|| format!("connecting to {to}"))?;
            return exchange(stream, is_plain, request).await;
        }
        let pods = Api::<CorePod>::namespaced(self.client.clone(), &self.namespace);
        let forwarder = pods.portforward(&pod.name, &[port]).await;
        let mut forwarder = forwarder.map_err(|error| {
            anyhow!(
                "the port cannot be forwarded: {}; your user needs the verb create on pods/portforward, or reaches the Pod by \
                 --state=direct",
                plain(&error)
            )
        })?;
        let stream = forwarder.take_stream(port).context("no stream of the port")?;
        exchange(stream, is_plain, request).await
    }
}

/// Says what a program answered instead of what was asked for.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    format!("status {status}: {}", text.trim_end())
}

/// Requests a token for the ServiceAccount that may read states. The credentials of the user are sent to the API server only.
async fn request_token(client: &Client, namespace: &str) -> anyhow::Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let found = accounts.list(&ListParams::default().labels(READER)).await;
    let found = found
        .context("ServiceAccounts cannot be listed: your user needs the verb list on serviceaccounts")?;
    let reader = found.items.into_iter().find_map(|account| account.metadata.name);
    let reader = reader.with_context(|| {
        format!(
            "the namespace {namespace} has no ServiceAccount with the label {READER}, which the chart makes"
        )
    })?;
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![AUDIENCE.to_owned()]),
            expiration_seconds: Some(LIFETIME),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(&reader, &PostParams::default(), &request)
        .await;
    let answer = answer.map_err(|error| {
        let error = plain(&error);
        anyhow!("no token for {reader}: {error}; your user needs the verb create on serviceaccounts/token in {namespace}")
    })?;
    answer
        .status
        .and_then(|status| status.token)
        .context("the API server returned no token")
}

/// Sends a request through a connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_plain: bool,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    if is_plain {
        return send(stream, request).await;
    }
    let stream = tls::connect(stream).await.context("no TLS")?;
    send(stream, request).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
    connection.abort();
    Ok((status, body))
}
