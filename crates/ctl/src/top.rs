//! `heraldctl top`: the addresses that other machines ask for most.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use herald_api::state::{AddressState, SpeakerState};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cluster::{CommonArgs, States};
use crate::output::{Printable, Table, clear, faint, is_interrupted_within, unknown_text};

/// The addresses that the text shows.
const SHOWN: usize = 20;

/// How requests are counted.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Count and show again and again, until it is interrupted.
    #[arg(long, short)]
    watch: bool,
    /// Time over which requests are counted, such as 5s or 1m; a number alone is in seconds.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    common: CommonArgs,
}

/// The longest interval.
const LONGEST: Duration = Duration::from_secs(3600);

/// Parses an interval.
///
/// # Errors
/// When it is no duration, or is not from a second to an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let parsed = seconds.or_else(|| text.parse::<SignedDuration>().ok()?.try_into().ok());
    let allowed = Duration::from_secs(1)..=LONGEST;
    parsed
        .filter(|interval| allowed.contains(interval))
        .ok_or_else(|| "write a duration from 1s to 1h, such as 5s or 1m".to_owned())
}

/// The requests of an interval, those of the busiest address first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Top {
    addresses: Vec<RequestLine>,
    unknown: Vec<String>,
}

/// The requests that a node received for an address.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestLine {
    address: String,
    services: Vec<String>,
    node: String,
    /// In the interval; `null` if the node did not announce the address, or was not asked, at its beginning.
    per_second: Option<f64>,
    /// Since the node began to announce the address.
    total: u64,
}

impl TopArgs {
    /// Counts, and prints the result.
    ///
    /// # Errors
    /// When the API server does not answer, or there is no Pod of Herald.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let connection = self.common.connect().await?;
        let client = &connection.client;
        let installation = self
            .common
            .find_installation(client)
            .await
            .map_err(|absence| anyhow!("{absence}"))?;
        if let Some(absence) = installation.absence() {
            bail!("{absence}");
        }
        let mut before = self.common.read_states(client, &installation).await;
        loop {
            if is_interrupted_within(self.interval).await? {
                return Ok(());
            }
            let after = self.common.read_states(client, &installation).await;
            let top = Top::between(&before, &after);
            if !self.watch {
                return self.common.output.print(&top);
            }
            clear()?;
            self.common.output.print(&top)?;
            before = after;
        }
    }
}

impl Top {
    fn between(before: &States, after: &States) -> Self {
        let mut addresses = Vec::new();
        let mut unknown = after.reasons();
        for state in &after.speakers {
            let earlier = before.speakers.iter().find(|earlier| earlier.node == state.node);
            let earlier = earlier.and_then(|earlier| Earlier::new(earlier, state));
            let answering: Vec<&AddressState> =
                state.addresses.iter().filter(|address| address.answers).collect();
            if answering.iter().any(|address| address.requests.is_none()) {
                unknown.push(format!(
                    "requests of {}: its speaker is of a version that does not say them in /state",
                    state.node
                ));
            }
            addresses.extend(answering.into_iter().filter_map(|address| {
                let total = address.requests?;
                Some(RequestLine {
                    address: address.address.clone(),
                    services: address.services.iter().map(|role| role.service.clone()).collect(),
                    node: state.node.clone(),
                    per_second: earlier.as_ref().and_then(|earlier| earlier.rate(address, total)),
                    total,
                })
            }));
        }
        let order = |line: &RequestLine| line.per_second.unwrap_or_default();
        addresses.sort_by(|one, other| {
            let by_rate = order(other)
                .total_cmp(&order(one))
                .then(other.total.cmp(&one.total));
            by_rate.then_with(|| (&one.address, &one.node).cmp(&(&other.address, &other.node)))
        });
        Self { addresses, unknown }
    }
}

/// What a speaker had counted at the beginning of an interval.
struct Earlier<'a> {
    addresses: BTreeMap<&'a str, &'a AddressState>,
    /// The length of the interval, by the clock of its node.
    seconds: f64,
}

impl<'a> Earlier<'a> {
    fn new(earlier: &'a SpeakerState, now: &SpeakerState) -> Option<Self> {
        let time = |state: &SpeakerState| state.time.parse::<Timestamp>().ok();
        let seconds = time(now)?.duration_since(time(earlier)?).as_secs_f64();
        let addresses = earlier
            .addresses
            .iter()
            .map(|address| (address.address.as_str(), address));
        (seconds > 0.0).then(|| Self {
            addresses: addresses.collect(),
            seconds,
        })
    }

    /// Returns the requests in a second. A counter that is lower than before began anew.
    fn rate(&self, now: &AddressState, total: u64) -> Option<f64> {
        let before = self.addresses.get(now.address.as_str())?.requests?;
        let count = total.checked_sub(before).unwrap_or(total);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate of more than 2^53 requests is none"
        )]
        let rate = count as f64 / self.seconds;
        Some(rate)
    }
}

impl Printable for Top {
    fn text(&self, is_wide: bool) -> String {
        let mut table = Table::new(&["ADDRESS", "REQUESTS/S", "TOTAL", "NODE", "SERVICES"]);
        let shown = if is_wide { usize::MAX } else { SHOWN };
        for line in self.addresses.iter().take(shown) {
            let rate = line
                .per_second
                .map_or_else(|| "unknown".to_owned(), |rate| format!("{rate:.1}"));
            table.row([
                line.address.as_str().into(),
                rate.into(),
                line.total.to_string().into(),
                line.node.as_str().into(),
                line.services.join(", ").into(),
            ]);
        }
        let mut text = if table.is_empty() {
            "no node answers for an address by ARP or NDP, as far as is known\n".to_owned()
        } else {
            table.text(0)
        };
        if let more @ 1.. = self.addresses.len().saturating_sub(shown) {
            text += &format!("{}\n", faint(&format!("and {more} more; -o wide shows all")));
        }
        text + &unknown_text(&self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn states(time: &str, addresses: &[(&str, &str, Value)]) -> States {
        let of = |node: &str| {
            let own = addresses.iter().filter(|(_, other, _)| *other == node);
            let addresses: Vec<Value> = own
                .map(|(address, _, requests)| {
                    json!({
                        "address": address, "stage": "Active", "answers": true, "since": "", "requests": requests,
                        "services": [{"service": "default/web", "role": "Owner"}],
                    })
                })
                .collect();
            let state = json!({
                "version": 1, "node": node, "time": time, "truncated": false, "gossipBlocked": false, "besideMetalLB": false,
                "electionDifferences": [], "members": [], "bgpPeers": [], "moves": [], "addresses": addresses,
            });
            serde_json::from_value(state).expect("a state")
        };
        States::of(vec![of("a"), of("b")])
    }

    #[test]
    fn an_interval_is_a_duration_or_a_number_of_seconds() {
        for (text, seconds) in [("5s", 5), ("1m", 60), ("1m30s", 90), ("1h", 3600), ("7", 7)] {
            assert_eq!(interval(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "0s", "-5s", "-5", "1h1s", "3601", "5x", "s"] {
            let error = interval(text).expect_err("no interval");
            assert_eq!(
                error, "write a duration from 1s to 1h, such as 5s or 1m",
                "{text}"
            );
        }
    }

    #[test]
    fn requests_are_counted_between_two_states_and_the_busiest_address_is_first() {
        let before = states(
            "2026-01-01T00:00:00Z",
            &[
                ("192.0.2.1", "a", 10.into()),
                ("192.0.2.2", "b", 5.into()),
                ("192.0.2.3", "b", 90.into()),
            ],
        );
        let after = states(
            "2026-01-01T00:00:10Z",
            &[
                ("192.0.2.1", "a", 20.into()),
                // The speaker was restarted.
                ("192.0.2.3", "b", 30.into()),
                ("192.0.2.2", "b", 105.into()),
                // It is new here.
                ("192.0.2.4", "b", 7.into()),
            ],
        );
        let top = Top::between(&before, &after);
        let lines = top.addresses.iter();
        let lines: Vec<_> = lines
            .map(|line| (line.address.as_str(), line.per_second, line.total))
            .collect();
        let expected = [
            ("192.0.2.2", Some(10.0), 105),
            ("192.0.2.3", Some(3.0), 30),
            ("192.0.2.1", Some(1.0), 20),
            ("192.0.2.4", None, 7),
        ];
        assert_eq!(lines, expected);
        assert!(top.unknown.is_empty());
        let text = anstream::adapter::strip_str(&top.text(false)).to_string();
        assert!(
            text.starts_with("ADDRESS     REQUESTS/S   TOTAL   NODE   SERVICES\n192.0.2.2   10.0"),
            "{text}"
        );
    }

    #[test]
    fn a_speaker_that_does_not_count_is_unknown_and_has_no_line() {
        let states = states("2026-01-01T00:00:00Z", &[("192.0.2.1", "a", Value::Null)]);
        let top = Top::between(&states, &states);
        assert!(top.addresses.is_empty());
        assert_eq!(
            top.unknown,
            ["requests of a: its speaker is of a version that does not say them in /state"]
        );
    }
}
