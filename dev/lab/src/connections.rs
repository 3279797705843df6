//! Connections that stay open for long, and which of them break.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Monotonic;
use crate::role::pod::Greeting;
use crate::switch::Host;

/// A request without an answer for so long counts as broken. TCP repeats lost packets much sooner.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection that broke.
#[derive(Debug, Clone)]
pub struct Break {
    /// When that was noticed.
    pub at: Monotonic,
    /// Where it led.
    pub target: SocketAddr,
    /// The reason.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Record {
    answers: AtomicU64,
    broken: Mutex<Vec<Break>>,
}

/// Connections of one machine, over which it asks again and again. Dropping them closes them.
pub struct Connections {
    record: Arc<Record>,
    _tasks: JoinSet<()>,
}

impl Connections {
    /// Opens `count` connections to each target. Over each, a request is sent each `interval`, and not at the same time as over
    /// the others.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub async fn open(
        host: &Host,
        targets: &[SocketAddr],
        count: usize,
        interval: Duration,
    ) -> anyhow::Result<Self> {
        let record = Arc::new(Record::default());
        let mut tasks = JoinSet::new();
        let total = u32::try_from(targets.len() * count)?;
        let begin = Instant::now();
        for number in 0..count {
            let open = targets.iter().map(|&target| host.connect(target));
            for (target, stream) in targets.iter().zip(try_join_all(open).await?) {
                let place =
                    u32::try_from(number * targets.len())? + u32::try_from(tasks.len() % targets.len())?;
                let first = begin + interval * place / total;
                let record = Arc::clone(&record);
                tasks.spawn(use_until_broken(stream, *target, first, interval, record));
            }
        }
        Ok(Self {
            record,
            _tasks: tasks,
        })
    }

    /// How many requests were answered.
    pub fn answers(&self) -> u64 {
        self.record.answers.load(Ordering::Relaxed)
    }

    /// The connections that have broken.
    pub fn broken(&self) -> Vec<Break> {
        let broken = &self.record.broken;
        broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn use_until_broken(
    mut stream: TcpStream,
    target: SocketAddr,
    first: Instant,
    interval: Duration,
    record: Arc<Record>,
) {
    let mut next = first;
    let reason = loop {
        sleep(next.saturating_duration_since(Instant::now())).await;
        next += interval;
        match timeout(LIMIT, ask(&mut stream, target)).await {
            Ok(Ok(())) => record.answers.fetch_add(1, Ordering::Relaxed),
            Ok(Err(error)) => break format!("{error:#}"),
            Err(_) => break format!("no answer within {LIMIT:?}"),
        };
    };
    let found = Break {
        at: Monotonic::now(),
        target,
        reason,
    };
    let mut broken = record.broken.lock().unwrap_or_else(PoisonError::into_inner);
    broken.push(found);
}

/// Sends a request, and reads the answer of a pod.
async fn ask(stream: &mut TcpStream, target: SocketAddr) -> anyhow::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .context("cannot send")?;
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).await.context("cannot receive")?;
        ensure!(length > 0, "the connection was closed");
        answer.extend_from_slice(&part[..length]);
        let text = std::str::from_utf8(&answer)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            bail!("HTTP status {status:?}");
        }
        if serde_json::from_str::<Greeting>(body).is_ok() {
            return Ok(());
        }
    }
}
