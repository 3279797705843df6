//! One measured figure.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What was measured, how often, and how the samples spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Which benchmark, e.g. `failover`.
    pub bench: &'static str,
    /// What was measured: `herald`, or a reference such as `kernel`, `bare` or `keepalived-1s`.
    pub subject: Cow<'static, str>,
    /// Under which circumstances, e.g. `64 outstanding, 10000 addresses`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// What happened to the owner, in failover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// Which quantity, e.g. `outage` or `decisions_per_second`.
    pub metric: Cow<'static, str>,
    /// Its unit, e.g. `ms` or `1/s`.
    pub unit: &'static str,
    /// Number of samples.
    pub runs: usize,
    /// Half of the samples are not above it.
    pub p50: f64,
    /// 90 % of the samples are not above it.
    pub p90: f64,
    /// 99 % of the samples are not above it; with fewer than 100 samples it is the largest one.
    pub p99: f64,
    /// The largest sample.
    pub max: f64,
}

impl Figure {
    /// The headings of the columns that a figure is displayed in.
    pub const HEADINGS: &'static str = "bench     subject          case or fault                     metric                         p50          p90          p99          max  runs";

    /// Sums up samples; `None` if there are none.
    pub fn of(
        bench: &'static str,
        subject: impl Into<Cow<'static, str>>,
        metric: impl Into<Cow<'static, str>>,
        unit: &'static str,
        samples: &[f64],
    ) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().map(|&sample| to_thousandths(sample)).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            bench,
            subject: subject.into(),
            case: None,
            fault: None,
            metric: metric.into(),
            unit,
            runs: sorted.len(),
            p50: percentile(&sorted, 50)?,
            p90: percentile(&sorted, 90)?,
            p99: percentile(&sorted, 99)?,
            max: *sorted.last()?,
        })
    }

    /// The same figure, with the circumstances named.
    pub fn in_case(self, case: impl Into<String>) -> Self {
        Self {
            case: Some(case.into()),
            ..self
        }
    }

    /// The same figure, with the fault named.
    pub fn after(self, fault: &'static str) -> Self {
        Self {
            fault: Some(fault),
            ..self
        }
    }
}

/// No figure here is known better; more digits would only look so.
fn to_thousandths(sample: f64) -> f64 {
    (sample * 1e3).round() / 1e3
}

/// Nearest rank: the smallest sample that is not below `percent` of all.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = self.case.as_deref().or(self.fault).unwrap_or_default();
        let metric = format!("{} [{}]", self.metric, self.unit);
        write!(
            f,
            "{:<9} {:<16} {about:<33} {metric:<25} {:>12.1} {:>12.1} {:>12.1} {:>12.1} {:>5}",
            self.bench, self.subject, self.p50, self.p90, self.p99, self.max, self.runs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let figure = Figure::of("b", "s", "m", "u", &samples).unwrap();
        assert_eq!(
            (figure.p50, figure.p90, figure.p99, figure.max, figure.runs),
            (100.0, 180.0, 198.0, 200.0, 200)
        );
        let single = Figure::of("b", "s", "m", "u", &[7.000_1]).unwrap();
        assert_eq!((single.p50, single.p99, single.max), (7.0, 7.0, 7.0));
        assert_eq!(Figure::of("b", "s", "m", "u", &[]), None);
    }

    #[test]
    fn a_line_for_machines_has_the_fault_only_where_there_is_one() {
        let figure = Figure::of("failover", "herald", "outage", "ms", &[1.0]).unwrap();
        assert!(!serde_json::to_string(&figure).unwrap().contains("fault"));
        let line = serde_json::to_string(&figure.after("link")).unwrap();
        assert!(
            line.starts_with(r#"{"bench":"failover","subject":"herald","fault":"link","metric":"outage""#),
            "{line}"
        );
    }
}
