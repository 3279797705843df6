//! What a client saw: the lab's side of the probe role.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use herald_netns::Netns;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Monotonic;
use crate::process;
use crate::role::probe::Outcome;

/// Pace and limit of a probe.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between the starts of two requests.
    pub interval: Duration,
    /// Until a request counts as lost.
    pub timeout: Duration,
    /// Requests under way at a time, if not as many as there may be within the timeout.
    pub most_open: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(10),
            timeout: Duration::from_millis(500),
            most_open: 1000,
        }
    }
}

/// A client that requests at a steady pace, each time over a new connection. Dropping it stops it.
pub struct Prober {
    history: watch::Receiver<History>,
    _child: Child,
}

/// The outcomes so far, in the order in which the requests ended.
#[derive(Debug, Clone, Default)]
pub struct History(Vec<Outcome>);

/// How long no request was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// From the last answer before to the first answer after the longest silence. Without any trouble it is
    /// the interval between two requests.
    pub gap: Duration,
    /// Why requests begun since the fault were not answered, one reason for each.
    pub losses: Vec<String>,
    /// Requests begun since the fault that were answered.
    pub answered: usize,
}

impl Prober {
    /// Starts to request `target` from inside `namespace`.
    pub async fn start(namespace: &Netns, target: SocketAddr, pace: Pace) -> anyhow::Result<Self> {
        let arguments = [
            "probe".to_owned(),
            format!("--target={target}"),
            format!("--interval-ms={}", pace.interval.as_millis()),
            format!("--timeout-ms={}", pace.timeout.as_millis()),
            format!("--most-open={}", pace.most_open),
        ];
        let mut command = process::role(&arguments);
        command.stdout(Stdio::piped());
        let mut child = process::spawn(namespace, command)
            .await
            .context("cannot start the probe")?;
        let stdout = child.stdout.take().context("the probe has no output")?;
        let (writer, history) = watch::channel(History::default());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(outcome) => writer.send_modify(|history| history.0.push(outcome)),
                    Err(error) => tracing::error!("the probe wrote {line:?}: {error}"),
                }
            }
        });
        Ok(Self {
            history,
            _child: child,
        })
    }

    /// The outcomes so far.
    pub fn history(&self) -> History {
        self.history.borrow().clone()
    }

    /// Waits until the outcomes fulfil `condition`, at most `limit`; an error has the last outcome.
    pub async fn wait_for(
        &mut self,
        limit: Duration,
        mut condition: impl FnMut(&History) -> bool,
    ) -> anyhow::Result<History> {
        let waited = timeout(limit, self.history.wait_for(|history| condition(history))).await;
        let found = waited.map(|outcome| outcome.map(|history| history.clone()));
        match found {
            Ok(outcome) => outcome.context("the probe ended"),
            Err(_) => {
                let last = self.history.borrow().0.last().cloned();
                anyhow::bail!("not within {limit:?}; the last outcome is {last:?}")
            }
        }
    }

    /// Waits until `count` requests begun after `since` were answered in a row.
    pub async fn wait_until_served(
        &mut self,
        since: Monotonic,
        count: usize,
        limit: Duration,
    ) -> anyhow::Result<History> {
        let served = |history: &History| history.streak_since(since) >= count;
        let history = self.wait_for(limit, served).await;
        history.context("the client is not served")
    }
}

impl Outage {
    /// The losses that no machine caused. A connection that is open while the address moves meets a machine that does
    /// not know it, and is reset; whatever begins before or after that moment can be served, by whichever of the two.
    pub fn unserved(&self) -> impl Iterator<Item = &String> {
        self.losses.iter().filter(|loss| !loss.contains("reset by peer"))
    }
}

impl History {
    /// All outcomes.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.0
    }

    /// How many requests begun after `since` were answered in a row, up to now.
    pub fn streak_since(&self, since: Monotonic) -> usize {
        let recent = self.0.iter().rev().filter(|outcome| outcome.started > since);
        recent.take_while(|outcome| outcome.answer.is_ok()).count()
    }

    /// How many requests were under way at a time, at most.
    pub fn most_open(&self) -> usize {
        let ends = |outcome: &Outcome| [(outcome.started, true), (outcome.finished, false)];
        let mut ends: Vec<_> = self.0.iter().flat_map(ends).collect();
        ends.sort_unstable();
        let mut open = 0_usize;
        let open = ends.into_iter().map(|(_, begins)| {
            open = if begins { open + 1 } else { open.saturating_sub(1) };
            open
        });
        open.max().unwrap_or_default()
    }

    /// The longest silence that reaches beyond `fault`; `None` if nothing was answered before or after it.
    pub fn outage(&self, fault: Monotonic) -> Option<Outage> {
        let mut answers: Vec<Monotonic> = self
            .0
            .iter()
            .filter(|outcome| outcome.answer.is_ok())
            .map(|outcome| outcome.finished)
            .collect();
        answers.sort_unstable();
        let gaps = answers.windows(2).filter(|pair| pair[1] > fault);
        let gap = gaps.map(|pair| pair[1].since(pair[0])).max()?;
        let since = || self.0.iter().filter(|outcome| outcome.started > fault);
        Some(Outage {
            gap,
            losses: since()
                .filter_map(|outcome| outcome.answer.clone().err())
                .collect(),
            answered: since().filter(|outcome| outcome.answer.is_ok()).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::pod::Greeting;

    fn at(milliseconds: u64) -> Monotonic {
        Monotonic::from_nanos(milliseconds * 1_000_000)
    }

    fn answered(started: u64, finished: u64) -> Outcome {
        Outcome {
            started: at(started),
            finished: at(finished),
            answer: Ok(Greeting {
                node: "node-1".into(),
                pod: "app-1".into(),
            }),
        }
    }

    fn lost(started: u64) -> Outcome {
        Outcome {
            started: at(started),
            finished: at(started + 500),
            answer: Err("no answer".into()),
        }
    }

    #[test]
    fn an_outage_is_the_longest_gap_between_answers_around_the_fault() {
        let history = History(vec![
            answered(0, 1),
            // A pause before the fault is not its doing.
            answered(90, 91),
            answered(100, 101),
            answered(290, 292),
            answered(300, 301),
            lost(110),
        ]);
        let outage = history.outage(at(105)).unwrap();
        assert_eq!(outage.gap, Duration::from_millis(191));
        assert_eq!((outage.losses.len(), outage.answered), (1, 2));
    }

    #[test]
    fn a_connection_reset_shows_that_a_server_was_reached() {
        let losses = [
            "no answer within 500ms",
            "cannot receive: Connection reset by peer (os error 104)",
        ];
        let outage = Outage {
            gap: Duration::ZERO,
            losses: losses.map(str::to_owned).to_vec(),
            answered: 0,
        };
        assert!(outage.unserved().eq(&losses[..1]));
    }

    #[test]
    fn without_trouble_the_gap_is_the_rhythm() {
        let history = History((0..10).map(|tick| answered(tick * 10, tick * 10 + 1)).collect());
        assert_eq!(history.outage(at(35)).unwrap().gap, Duration::from_millis(10));
    }

    #[test]
    fn requests_are_under_way_from_their_start_to_their_end() {
        assert_eq!(History::default().most_open(), 0);
        assert_eq!(History(vec![answered(0, 10), answered(10, 20)]).most_open(), 1);
        let history = History(vec![
            answered(10, 12),
            answered(11, 13),
            lost(12),
            answered(30, 31),
        ]);
        assert_eq!(history.most_open(), 2);
        let history = History(vec![answered(10, 13), answered(11, 14), lost(12)]);
        assert_eq!(history.most_open(), 3);
    }

    #[test]
    fn an_outage_that_has_not_ended_is_none() {
        let history = History(vec![answered(0, 1), answered(10, 11), lost(20)]);
        assert_eq!(history.outage(at(15)), None);
    }

    #[test]
    fn a_streak_ends_at_a_loss_and_counts_later_requests_only() {
        let history = History(vec![
            answered(0, 1),
            lost(10),
            answered(600, 601),
            answered(610, 611),
        ]);
        assert_eq!(history.streak_since(at(0)), 2);
        assert_eq!(history.streak_since(at(605)), 1);
        assert_eq!(history.streak_since(at(700)), 0);
    }
}
