//! What the programs say of themselves at `/state`: facts that are on no object.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use herald_api::state::{ControllerState, SpeakerState, VERSION};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod as CorePod, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::installation::{Installation, Pod, Program};
use super::listing::plain;
use crate::tls;

/// The bytes of a state, at most; the programs cut it at 8 MB.
const MOST_BYTES: usize = 16 << 20;
/// The audience of the tokens that the programs are sent: the API server accepts none of them.
const AUDIENCE: &str = "herald-speaker";
/// Seconds for which such a token can be used: the shortest time that Kubernetes allows.
const LIFETIME: i64 = 600;
/// The label of the ServiceAccount that may read the states.
const READER: &str = "app.kubernetes.io/component=doctor";
/// The programs that are asked at a time.
const AT_ONCE: usize = 16;
/// The time that one program has to answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

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

/// The flag for how the programs are reached.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct StateArgs {
    /// How the state of controllers and speakers is read, which is on no object.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Cluster")]
    state: Reach,
}

/// What the programs said.
#[derive(Debug, Clone, Default)]
pub(crate) struct States {
    /// By node.
    pub(crate) speakers: Vec<SpeakerState>,
    /// The state of the active controller, or of a standby if there is no other.
    pub(crate) controller: Option<ControllerState>,
    /// By how many seconds the clock of each program is ahead of this machine's.
    pub(crate) clock_differences: Vec<(String, i64)>,
    /// The Pods whose state is unknown, each with the reason.
    unknown: Vec<(String, String)>,
}

enum ProgramState {
    Speaker(SpeakerState),
    Controller(ControllerState),
}

impl States {
    /// Returns what these speakers said, and no controller.
    #[cfg(test)]
    pub(crate) fn of(speakers: Vec<SpeakerState>) -> Self {
        let clocks = speakers.iter().map(|state| (state.node.clone(), 0));
        Self {
            clock_differences: clocks.collect(),
            speakers,
            ..Self::default()
        }
    }

    /// Reads the state of all programs that are ready and answer within `limit`.
    pub(crate) async fn read(
        client: &Client,
        installation: &Installation,
        args: StateArgs,
        limit: Duration,
    ) -> Self {
        let mut states = Self::default();
        let pods = installation.pods.iter();
        if args.state == Reach::None {
            let unknown = pods.map(|pod| (pod.name.clone(), "--state=none".to_owned()));
            states.unknown = unknown.collect();
            return states;
        }
        let namespace = installation.namespace.as_deref().unwrap_or_default();
        let needs_token = installation
            .pods
            .iter()
            .any(|pod| pod.state_port().is_some_and(|(_, plain)| !plain));
        let token = if needs_token {
            request_token(client, namespace)
                .await
                .map_err(|error| format!("{error:#}"))
        } else {
            Ok(String::new())
        };
        let reading = pods.map(|pod| {
            let read = read(client, namespace, pod, &token, args.state);
            async move {
                let answer = tokio::time::timeout(limit, read).await;
                let answer = answer.unwrap_or_else(|_| bail!("no answer within {} s", limit.as_secs()));
                (pod, answer)
            }
        });
        // As a list, because the compiler cannot see that a stream with the closure may be sent to another thread.
        let reading: Vec<_> = reading.collect();
        let mut reading = futures::stream::iter(reading).buffer_unordered(AT_ONCE);
        while let Some((pod, answer)) = reading.next().await {
            let time = match &answer {
                Ok(ProgramState::Speaker(state)) => state.time.parse::<Timestamp>().ok(),
                Ok(ProgramState::Controller(state)) => state.time.parse().ok(),
                Err(_) => None,
            };
            let difference = time.map(|time| time.duration_since(Timestamp::now()).as_secs());
            states
                .clock_differences
                .extend(difference.map(|seconds| (pod.name.clone(), seconds)));
            match answer {
                Ok(ProgramState::Speaker(state)) => states.speakers.push(state),
                Ok(ProgramState::Controller(state)) if state.active || states.controller.is_none() => {
                    states.controller = Some(state);
                }
                Ok(ProgramState::Controller(_)) => {}
                Err(error) => states.unknown.push((pod.name.clone(), format!("{error:#}"))),
            }
        }
        drop(reading);
        states.speakers.sort_by(|a, b| a.node.cmp(&b.node));
        states.unknown.sort();
        states
    }
}

impl States {
    /// Returns which states are unknown, and why. What is the same for all Pods is said once.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (pod, reason) in &self.unknown {
            by_reason.entry(reason).or_default().push(pod);
        }
        let text = |(reason, pods): (&str, Vec<&str>)| match pods.as_slice() {
            [first, second, third, more @ ..] if !more.is_empty() => {
                format!(
                    "the states of {first}, {second}, {third} and {} more: {reason}",
                    more.len()
                )
            }
            pods => format!("the state of {}: {reason}", pods.join(", ")),
        };
        by_reason.into_iter().map(text).collect()
    }
}

async fn read(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    token: &Result<String, String>,
    reach: Reach,
) -> anyhow::Result<ProgramState> {
    ensure!(pod.is_ready, "the Pod is not ready");
    let (port, is_plain) = pod.state_port().context("the Pod serves no state (--port=0)")?;
    let token = match token {
        Ok(token) => token,
        Err(_) if is_plain => "",
        Err(error) => bail!("{error}"),
    };
    let bytes = if reach == Reach::Direct {
        let address = pod.address.context("the Pod has no address")?;
        let to = SocketAddr::new(address, port);
        let stream = TcpStream::connect(to)
            .await
            .with_context(|| format!("connecting to {to}"))?;
        get(stream, is_plain, token).await?
    } else {
        let pods = Api::<CorePod>::namespaced(client.clone(), namespace);
        let forwarder = pods.portforward(&pod.name, &[port]).await;
        let mut forwarder = forwarder.map_err(|error| {
            anyhow!(
                "the port cannot be forwarded: {}; your user needs the verb create on pods/portforward, or reaches the Pod by \
                 --state=direct",
                plain(&error)
            )
        })?;
        let stream = forwarder.take_stream(port).context("no stream of the port")?;
        get(stream, is_plain, token).await?
    };
    Ok(match pod.program {
        Program::Controller => ProgramState::Controller(parse(&bytes)?),
        Program::Speaker => ProgramState::Speaker(parse(&bytes)?),
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } =
        serde_json::from_slice(bytes).context("the state is no JSON with a version")?;
    ensure!(
        version == VERSION,
        "the state has version {version}, and this heraldctl reads version {VERSION}"
    );
    serde_json::from_slice(bytes).context("the state is not as this heraldctl knows it")
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

/// Gets the state through a connection.
async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_plain: bool,
    token: &str,
) -> anyhow::Result<Bytes> {
    if is_plain {
        return request(stream, token).await;
    }
    let stream = tls::connect(stream).await.context("no TLS")?;
    request(stream, token).await
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    token: &str,
) -> anyhow::Result<Bytes> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get("/state").header(header::HOST, "herald");
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
    connection.abort();
    ensure!(
        status == StatusCode::OK,
        "status {status}: {}",
        String::from_utf8_lossy(&body[..body.len().min(200)])
    );
    Ok(body)
}
