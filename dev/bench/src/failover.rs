//! How long a client is not served, for Herald and for others, on the same network and by the same client.

mod fault;
mod group;
mod herald;
mod observer;

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use herald_netns::tool;

use self::fault::Fault;
use self::group::Daemon;
use self::observer::Measured;
use super::Figure;
use herald_lab::keepalived;

/// Longer than any subject takes, keepalived at one advertisement a second included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Requests answered in a row before the fault, and again after it: a second of them.
const STREAK: usize = 100;

/// What to measure; by default everything.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// Measures only this program: herald, keepalived-1s, keepalived-0.1s, or any other as NAME=PROGRAM, which runs on each of
    /// three machines (see docs/testing.md). May be repeated.
    #[arg(long = "subject", value_name = "NAME[=PROGRAM]", value_parser = Subject::parse)]
    subjects: Vec<Subject>,
    /// Injects only this fault. May be repeated.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
}

/// A program that moves an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    name: Cow<'static, str>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Herald,
    Group(Daemon),
}

impl Subject {
    /// The subjects that have a name.
    fn known() -> [Self; 3] {
        let keepalived = |name, advert_int| Self {
            name: Cow::Borrowed(name),
            kind: Kind::Group(Daemon::Keepalived { advert_int }),
        };
        [
            Self {
                name: Cow::Borrowed("herald"),
                kind: Kind::Herald,
            },
            keepalived("keepalived-1s", "1"),
            keepalived("keepalived-0.1s", "0.1"),
        ]
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some((name, program)) = text.split_once('=') {
            return Ok(Self {
                name: Cow::Owned(name.to_owned()),
                kind: Kind::Group(Daemon::Other {
                    program: program.into(),
                }),
            });
        }
        let known = Self::known();
        let names = known.each_ref().map(|subject| subject.name.clone()).join(", ");
        let found = known.into_iter().find(|subject| subject.name == text);
        found.ok_or_else(|| format!("it is none of {names}; any other is given as NAME=PROGRAM"))
    }

    /// Whether the fault means anything to it: only Herald asks an API server.
    fn applies(&self, fault: Fault) -> bool {
        fault != Fault::ApiDown || self.kind == Kind::Herald
    }

    /// One fault in a network of its own, so that no run inherits anything from another one.
    async fn inject(&self, fault: Fault) -> anyhow::Result<Measured> {
        match &self.kind {
            Kind::Herald => herald::inject(fault).await,
            Kind::Group(daemon) => group::inject(daemon, fault).await,
        }
    }
}

/// Measures all subjects and faults in turn, `runs` times, and then emits the figures.
///
/// # Errors
/// When a subject does not do its job. What was measured before is emitted.
pub async fn run(args: FailoverArgs, runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let mut cases = Vec::new();
    for subject in subjects(args.subjects) {
        let faults = if args.faults.is_empty() {
            Fault::value_variants()
        } else {
            &args.faults
        };
        let faults = faults.iter().filter(|fault| subject.applies(**fault));
        cases.extend(faults.map(|fault| (subject.clone(), *fault, Vec::new())));
    }
    let outcome = measure(&mut cases, runs).await;
    for (subject, fault, samples) in &cases {
        figures(subject, *fault, samples).for_each(&mut *emit);
    }
    outcome
}

/// The subjects that were asked for, or all that are installed.
fn subjects(wanted: Vec<Subject>) -> Vec<Subject> {
    if !wanted.is_empty() {
        return wanted;
    }
    let mut subjects = Subject::known().to_vec();
    if tool::find(keepalived::PROGRAM).is_none() {
        anstream::eprintln!("keepalived is not installed: herald is measured without it");
        subjects.retain(|subject| subject.kind == Kind::Herald);
    }
    subjects
}

async fn measure(cases: &mut [(Subject, Fault, Vec<Measured>)], runs: usize) -> anyhow::Result<()> {
    for run in 1..=runs {
        for (subject, fault, samples) in &mut *cases {
            let measured = subject.inject(*fault).await;
            let measured =
                measured.with_context(|| format!("{}, {}, run {run}", subject.name, fault.name()))?;
            samples.push(measured);
        }
    }
    Ok(())
}

fn figures(subject: &Subject, fault: Fault, samples: &[Measured]) -> impl Iterator<Item = Figure> {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let metrics: [(&'static str, Vec<Duration>); 3] = [
        ("outage", samples.iter().map(|m| m.outage).collect()),
        (
            "outage_new_client",
            samples.iter().filter_map(|m| m.new_client).collect(),
        ),
        (
            "dead_endpoints",
            samples.iter().filter_map(|m| m.dead_endpoints).collect(),
        ),
    ];
    let figures = metrics.map(|(metric, samples)| {
        let samples: Vec<f64> = samples.into_iter().map(milliseconds).collect();
        let figure = Figure::of("failover", subject.name.clone(), metric, "ms", &samples);
        figure.map(|figure| figure.after(fault.name()))
    });
    figures.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_known_by_its_name_or_comes_with_its_program() {
        for subject in Subject::known() {
            assert_eq!(Subject::parse(&subject.name), Ok(subject));
        }
        let other = Subject::parse("ucarp=/opt/run-ucarp").unwrap();
        assert_eq!(other.name, "ucarp");
        let program = "/opt/run-ucarp".into();
        assert_eq!(other.kind, Kind::Group(Daemon::Other { program }));
        let error = Subject::parse("ucarp").unwrap_err();
        assert_eq!(
            error,
            "it is none of herald, keepalived-1s, keepalived-0.1s; any other is given as NAME=PROGRAM"
        );
    }
}
