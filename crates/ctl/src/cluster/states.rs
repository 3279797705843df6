//! What the programs say of themselves at `/state`: facts that are on no object.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use futures::StreamExt;
use herald_api::state::{ControllerState, SpeakerState, VERSION};
use jiff::Timestamp;
use kube::Client;
use serde::de::DeserializeOwned;

use super::installation::{Installation, Pod, Program};
use super::programs::{ProgramClient, Reach};

/// The programs that are asked at a time.
const AT_ONCE: usize = 16;
/// The time that one program has to answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// The flag for how the programs are reached.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct StateArgs {
    /// How the state of controllers and speakers is read, which is on no object.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Cluster")]
    pub(crate) state: Reach,
}

/// What the programs said.
#[derive(Debug, Clone, Default)]
pub(crate) struct States {
    /// By node.
    pub(crate) speakers: Vec<SpeakerState>,
    /// The state of the active controller or of that which waits for MetalLB's, or of a standby if there is no other.
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
        let programs = ProgramClient::new(client, installation, args.state).await;
        let reading = pods.map(|pod| {
            let read = read(&programs, pod);
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
                Ok(ProgramState::Controller(state))
                    if state.active || state.waits_for_metallb || states.controller.is_none() =>
                {
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
        let by_reason = by_reason(&self.unknown);
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

/// Groups Pods by the reason why something is unknown of them.
pub(crate) fn by_reason(unknown: &[(String, String)]) -> BTreeMap<&str, Vec<&str>> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (pod, reason) in unknown {
        by_reason.entry(reason).or_default().push(pod);
    }
    by_reason
}

async fn read(programs: &ProgramClient, pod: &Pod) -> anyhow::Result<ProgramState> {
    let bytes = programs.get(pod, "/state").await?;
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
