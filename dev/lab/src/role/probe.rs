//! A client that opens a new connection every few milliseconds and says how each one went.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::pod::Greeting;
use crate::clock::Monotonic;

/// Arguments of the probe role.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Address and port to ask.
    #[arg(long)]
    target: SocketAddr,
    /// Milliseconds between the starts of two requests.
    #[arg(long, default_value_t = 10)]
    interval_ms: u64,
    /// Milliseconds until a request counts as lost.
    #[arg(long, default_value_t = 500)]
    timeout_ms: u64,
    /// Requests under way at a time; where the machines are too slow for the pace, there are fewer requests.
    #[arg(long, default_value_t = 1000)]
    most_open: usize,
}

/// How one request went; the probe writes one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When it was started.
    pub started: Monotonic,
    /// When it succeeded or was given up.
    pub finished: Monotonic,
    /// The answer, or why there is none.
    pub answer: Result<Greeting, String>,
}

/// Sends requests until the outcomes are not read any more.
pub async fn run(args: ProbeArgs) -> anyhow::Result<()> {
    let limit = Duration::from_millis(args.timeout_ms);
    let mut ticks = interval(Duration::from_millis(args.interval_ms.max(1)));
    // After a stall a burst of requests would say nothing about the time that passed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (outcomes, mut finished) = tokio::sync::mpsc::channel(1024);
    let open = Arc::new(Semaphore::new(args.most_open));
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let Ok(permit) = Arc::clone(&open).try_acquire_owned() else {
                    continue;
                };
                let outcomes = outcomes.clone();
                tokio::spawn(async move {
                    // The receiver lives as long as this process.
                    let _ = outcomes.send(attempt(args.target, limit).await).await;
                    drop(permit);
                });
            }
            Some(outcome) = finished.recv() => report(&outcome)?,
        }
    }
}

fn report(outcome: &Outcome) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    std::io::stdout()
        .write_all(&line)
        .context("nobody listens to this probe")
}

async fn attempt(target: SocketAddr, limit: Duration) -> Outcome {
    let started = Monotonic::now();
    let answer = timeout(limit, async {
        let stream = TcpStream::connect(target).await.context("cannot connect")?;
        ask(stream, target).await
    })
    .await;
    Outcome {
        started,
        finished: Monotonic::now(),
        answer: answer
            .unwrap_or_else(|_| bail!("no answer within {limit:?}"))
            .map_err(|error| format!("{error:#}")),
    }
}

/// One request over a new connection to `target`; HTTP/1.0 so that the end of the stream ends the body.
pub async fn ask(mut stream: TcpStream, target: SocketAddr) -> anyhow::Result<Greeting> {
    stream
        .write_all(format!("GET / HTTP/1.0\r\nHost: {target}\r\n\r\n").as_bytes())
        .await
        .context("cannot send")?;
    let mut response = Vec::new();
    stream
        .read_to_end(&mut response)
        .await
        .context("cannot receive")?;
    greeting(&response)
}

fn greeting(response: &[u8]) -> anyhow::Result<Greeting> {
    let text = std::str::from_utf8(response).context("the answer is no text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer ends early")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("HTTP status {status:?}");
    }
    serde_json::from_str(body).context("the answer is not a pod's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_pods_or_says_what_it_is() {
        let good = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"node\":\"n\",\"pod\":\"p\"}";
        assert_eq!(greeting(good).unwrap().pod, "p");
        let cases: [(&[u8], &str); 4] = [
            (b"HTTP/1.0 503 No\r\n\r\n", "HTTP status \"503\""),
            (b"HTTP/1.0 200 OK\r\n\r\nhello", "the answer is not a pod's"),
            (b"", "the answer ends early"),
            (b"\xff", "the answer is no text"),
        ];
        for (response, expected) in cases {
            assert_eq!(greeting(response).unwrap_err().to_string(), expected);
        }
    }
}
