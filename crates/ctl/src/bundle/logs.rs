//! The logs of the programs, the newest lines of each.

use std::collections::VecDeque;

use futures::{AsyncRead, AsyncReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::api::LogParams;
use kube::{Api, Client};

use crate::cluster::{Installation, plain};

/// The lines of a log, at most, the newest ones.
const LINES: usize = 5_000;
/// The bytes of a log, at most, the newest ones.
const BYTES: usize = 1 << 20;
/// The bytes of all logs, at most: those of 64 nodes, or more, since few logs are that long.
const ALL_BYTES: usize = 64 << 20;
/// The logs that are read at a time.
const AT_ONCE: usize = 8;

/// The logs of all programs.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// The logs, each with the name of its Pod.
    pub(super) texts: Vec<(String, Vec<u8>)>,
    /// The names of those that have more lines than the archive.
    pub(super) cut: Vec<String>,
    /// What could not be read.
    pub(super) unknown: Vec<String>,
    bytes: usize,
}

/// The newest lines of a log.
#[derive(Debug, Default)]
struct NewestLines {
    bytes: VecDeque<u8>,
    /// How many lines the whole text has.
    lines: usize,
    is_cut: bool,
}

impl Logs {
    /// Reads the newest lines of each program, and of the container that it had before, if it was restarted.
    pub(super) async fn read(client: &Client, installation: &Installation, namespace: &str) -> Self {
        let api = &Api::<CorePod>::namespaced(client.clone(), namespace);
        let mut wanted = Vec::new();
        for pod in &installation.pods {
            wanted.push((pod, false));
            if pod.is_restarted {
                wanted.push((pod, true));
            }
        }
        let count = wanted.len();
        let read = wanted.into_iter().map(|(pod, previous)| async move {
            let name = if previous {
                format!("{}.previous", pod.name)
            } else {
                pod.name.clone()
            };
            let mut lines = NewestLines::default();
            let result = match api.log_stream(&pod.name, &params(&pod.container, previous)).await {
                Ok(stream) => lines.read(stream, BYTES).await.map_err(|error| error.to_string()),
                Err(error) => Err(plain(&error)),
            };
            (name, lines, result.err())
        });
        // In the order of the Pods, the controllers first: the same ones are left out each time.
        let mut read = futures::stream::iter(read).buffered(AT_ONCE).enumerate();
        let mut logs = Self::default();
        while let Some((place, (name, lines, error))) = read.next().await {
            if !logs.add(name, lines, error, ALL_BYTES) {
                logs.unknown.push(format!(
                    "{} of {count} logs: the archive has {} MB of logs, which is the most",
                    count - place,
                    ALL_BYTES >> 20
                ));
                break;
            }
        }
        logs
    }

    /// Adds a log, with the error that ended it; returns `false` if all logs were longer than `most` bytes with it.
    fn add(&mut self, name: String, lines: NewestLines, error: Option<String>, most: usize) -> bool {
        let (bytes, is_cut) = lines.finish();
        if self.bytes + bytes.len() > most {
            return false;
        }
        self.bytes += bytes.len();
        if is_cut {
            self.cut.push(name.clone());
        }
        if let Some(error) = &error {
            self.unknown.push(format!("the log of {name}: {error}"));
        }
        if error.is_none() || !bytes.is_empty() {
            self.texts.push((name, bytes));
        }
        true
    }
}

/// Returns what to ask of the kubelet. With `limitBytes` it would begin [`LINES`] before the end and leave the newest lines out.
fn params(container: &str, previous: bool) -> LogParams {
    LogParams {
        container: Some(container.to_owned()),
        tail_lines: i64::try_from(LINES).ok(),
        timestamps: true,
        previous,
        ..LogParams::default()
    }
}

impl NewestLines {
    /// Reads to the end, and keeps the last `most` bytes.
    async fn read(&mut self, stream: impl AsyncRead, most: usize) -> std::io::Result<()> {
        let mut stream = std::pin::pin!(stream);
        let mut chunk = vec![0; 16 << 10];
        loop {
            let length = stream.read(&mut chunk).await?;
            let Some(read) = chunk.get(..length).filter(|read| !read.is_empty()) else {
                return Ok(());
            };
            self.lines += read.iter().filter(|byte| **byte == b'\n').count();
            self.bytes.extend(read);
            let surplus = self.bytes.len().saturating_sub(most);
            self.is_cut |= surplus > 0;
            self.bytes.drain(..surplus);
        }
    }

    /// Returns whole lines, and whether the log has older ones.
    fn finish(mut self) -> (Vec<u8>, bool) {
        if self.is_cut {
            let end = self.bytes.iter().position(|byte| *byte == b'\n');
            self.bytes.drain(..end.map_or(0, |end| end + 1));
        }
        (self.bytes.into(), self.is_cut || self.lines >= LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn newest(text: &str, most: usize) -> NewestLines {
        let mut lines = NewestLines::default();
        lines.read(text.as_bytes(), most).await.expect("a text");
        lines
    }

    #[tokio::test]
    async fn the_newest_lines_of_a_long_log_are_kept_and_it_is_named() {
        let text: String = (0..4000).map(|line| format!("line {line}\n")).collect();
        let mut logs = Logs::default();
        assert!(logs.add("long".to_owned(), newest(&text, 25).await, None, 100));
        assert!(logs.add("short".to_owned(), newest("one\n", 25).await, None, 100));
        let kept: Vec<_> = logs
            .texts
            .iter()
            .map(|(_, text)| String::from_utf8_lossy(text))
            .collect();
        assert_eq!(kept, ["line 3998\nline 3999\n", "one\n"]);
        assert_eq!(logs.cut, ["long"]);
    }

    #[tokio::test]
    async fn a_log_of_as_many_lines_as_are_requested_may_have_more() {
        let text = "x\n".repeat(LINES);
        assert!(newest(&text, BYTES).await.finish().1);
        assert!(!newest(&text[2..], BYTES).await.finish().1);
    }

    #[tokio::test]
    async fn logs_are_left_out_when_there_are_too_many_bytes() {
        let mut logs = Logs::default();
        assert!(logs.add("one".to_owned(), newest("12345\n", 100).await, None, 10));
        assert!(!logs.add("two".to_owned(), newest("12345\n", 100).await, None, 10));
        assert_eq!(logs.texts.len(), 1);
    }

    #[tokio::test]
    async fn what_was_read_of_a_log_before_an_error_is_kept() {
        let mut logs = Logs::default();
        logs.add(
            "one".to_owned(),
            newest("a\n", 9).await,
            Some("reset".to_owned()),
            10,
        );
        logs.add(
            "two".to_owned(),
            newest("", 9).await,
            Some("refused".to_owned()),
            10,
        );
        assert_eq!(logs.texts, [("one".to_owned(), b"a\n".to_vec())]);
        assert_eq!(logs.unknown, ["the log of one: reset", "the log of two: refused"]);
    }

    #[test]
    fn a_kubelet_is_not_given_a_limit_of_bytes_which_would_cut_the_newest_lines() {
        let params = params("speaker", false);
        assert_eq!((params.limit_bytes, params.tail_lines), (None, Some(5_000)));
    }
}
