//! What a kubelet does about the liveness of a speaker.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::interval;

use crate::install::CHART;
use crate::node::Node;

/// The liveness probe of a container.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LivenessProbe {
    period_seconds: u64,
    timeout_seconds: u64,
    failure_threshold: u32,
}

impl LivenessProbe {
    /// Reads the probe of the speakers from the values of the chart.
    ///
    /// # Errors
    /// When the chart has none.
    pub fn of_speaker() -> anyhow::Result<Self> {
        let path = format!("{CHART}/values.yaml");
        let values = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let values: Value = serde_saphyr::from_str(&values)?;
        let probe = values["speaker"]["livenessProbe"].clone();
        serde_json::from_value(probe).context("the chart has no liveness probe")
    }

    /// Probes the speaker of `node` for `length`. Returns after what time a kubelet restarts it; `None` if it does not.
    pub async fn restart(self, node: &Node, length: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let mut ticks = interval(Duration::from_secs(self.period_seconds));
        let mut failures = 0;
        while begin.elapsed() < length {
            ticks.tick().await;
            let answer = node
                .ensure_healthy(Duration::from_secs(self.timeout_seconds))
                .await;
            failures = answer.map_or(failures + 1, |()| 0);
            if failures == self.failure_threshold {
                return Some(begin.elapsed());
            }
        }
        None
    }
}
