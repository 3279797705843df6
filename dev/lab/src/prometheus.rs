//! A real Prometheus on a machine of the lab.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::process::{self, Process};
use crate::switch::Host;

/// Where it serves its API, on its machine.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Prometheus; it ends when it is dropped.
pub struct Prometheus<'a> {
    host: &'a Host,
    _process: Process,
    _directory: TempDir,
}

/// What it found out about one of its targets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The name of its job.
    #[serde(rename = "scrapePool")]
    pub job: String,
    /// Where it scrapes.
    pub scrape_url: String,
    /// `up`, `down`, or `unknown` before the first scrape.
    pub health: String,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
}

impl<'a> Prometheus<'a> {
    /// Starts the `prometheus` of the system on a machine, with this configuration.
    pub async fn start(host: &'a Host, configuration: &Value, logs: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("prometheus.json");
        // JSON is YAML.
        fs::write(&file, configuration.to_string())?;
        let command = process::role(&[
            "exec".to_owned(),
            "prometheus".to_owned(),
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.path().join("data").display()),
            format!("--web.listen-address={API}"),
        ]);
        let process = Process::start(host.netns(), "prometheus", command, logs).await?;
        Ok(Self {
            host,
            _process: process,
            _directory: directory,
        })
    }

    /// Its targets.
    ///
    /// # Errors
    /// While it does not serve its API.
    pub async fn targets(&self) -> anyhow::Result<Vec<Target>> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            active_targets: Vec<Target>,
        }
        let answer: Answer = serde_json::from_str(&self.get("/api/v1/targets?state=active").await?)?;
        Ok(answer.data.active_targets)
    }

    /// The values of an instant query, one for each series that it returns.
    ///
    /// # Errors
    /// When the query is wrong.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<f64>> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            result: Vec<Series>,
        }
        #[derive(Deserialize)]
        struct Series {
            /// The time, and the value as text.
            value: (f64, String),
        }
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}")).await?;
        let answer: Answer = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        let values = answer.data.result.into_iter();
        values.map(|series| Ok(series.value.1.parse()?)).collect()
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = self.host.connect(API).await?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer of Prometheus")?;
        Ok(body.to_owned())
    }
}
