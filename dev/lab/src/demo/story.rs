//! The report of the demo: sentences for a person, or JSON for a machine, one object a line.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::prober::Outage;
use crate::switch::Host;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NAME: Style = AnsiColor::Cyan.on_default();
const QUIET: Style = Style::new().dimmed();

/// Something that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(super) enum Chapter {
    Starting {
        nodes: u8,
    },
    Started {
        nodes: Vec<Machine>,
        client: Machine,
        api: String,
    },
    Applied {
        kind: String,
        name: String,
    },
    Addressed {
        service: &'static str,
        addresses: Vec<IpAddr>,
    },
    Owned {
        service: &'static str,
        address: IpAddr,
        node: String,
        mac: String,
    },
    Answered {
        address: IpAddr,
        node: String,
        pod: String,
    },
    Failing {
        node: String,
        address: IpAddr,
    },
    TakenOver {
        address: IpAddr,
        node: String,
        outage: Seen,
    },
    Returned {
        address: IpAddr,
        node: String,
    },
    Stopping {
        node: String,
        address: IpAddr,
    },
    HandedOver {
        address: IpAddr,
        node: String,
        outage: Seen,
    },
    /// A router waits for the nodes.
    Router {
        router: Machine,
        program: String,
    },
    /// The router has routes to an address by these nodes.
    Routed {
        address: IpAddr,
        nodes: Vec<String>,
    },
    /// The power of a node fails that the router has routes by.
    FailingPath {
        address: IpAddr,
        node: String,
    },
    /// The speaker of such a node is stopped as planned.
    StoppingPath {
        address: IpAddr,
        node: String,
    },
    /// The router has no route by the node any more.
    Withdrawn {
        address: IpAddr,
        node: String,
        after_ms: f64,
        outage: Seen,
    },
    Kept {
        kubeconfig: PathBuf,
        logs: PathBuf,
    },
    End {
        ok: bool,
        reasons: Vec<String>,
    },
}

/// A machine of the lab.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    name: String,
    addresses: [IpAddr; 2],
    mac: String,
}

impl From<&Host> for Machine {
    fn from(host: &Host) -> Self {
        Self {
            name: host.name().to_owned(),
            addresses: host.addresses(),
            mac: host.mac().to_string(),
        }
    }
}

/// What the client saw of a fault.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    outage_ms: f64,
    lost_requests: usize,
    answered_requests: usize,
}

impl From<Outage> for Seen {
    fn from(outage: Outage) -> Self {
        Self {
            outage_ms: milliseconds(outage.gap),
            lost_requests: outage.losses.len(),
            answered_requests: outage.answered,
        }
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

/// The output of the chapters.
pub(super) struct Story {
    json: bool,
}

impl Story {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Writes one chapter at once. A reader that has closed the pipe does not stop the demo.
    pub(super) fn write(&self, chapter: &Chapter) {
        let mut out = anstream::stdout().lock();
        let line = if self.json {
            serde_json::to_string(chapter).unwrap_or_else(|error| error.to_string())
        } else {
            chapter.to_string()
        };
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl fmt::Display for Chapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting { nodes } => {
                write!(
                    f,
                    "{TITLE}Starting a cluster of {nodes} nodes in network namespaces ...{TITLE:#}"
                )
            }
            Self::Started { nodes, client, api } => {
                for machine in nodes.iter().chain([client]) {
                    writeln!(f, "  {machine}")?;
                }
                write!(f, "  Kubernetes API at {NAME}{api}{NAME:#}")
            }
            Self::Applied { kind, name } => write!(f, "  applied {kind} {NAME}{name}{NAME:#}"),
            Self::Addressed { service, addresses } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let addresses = addresses.join(" and ");
                write!(f, "{TITLE}Service {service} got {GOOD}{addresses}{GOOD:#}")
            }
            Self::Owned {
                address, node, mac, ..
            } => {
                let table = if address.is_ipv4() { "ARP" } else { "NDP" };
                write!(
                    f,
                    "  {NAME}{node}{NAME:#} answers for {address}; the client's {table} entry: {address} lladdr {mac}"
                )
            }
            Self::Answered { address, node, pod } => {
                write!(
                    f,
                    "  {QUIET}GET http://{}/{QUIET:#} -> pod {pod} on {node}",
                    in_url(*address)
                )
            }
            Self::Failing { node, address } => write!(
                f,
                "{TITLE}Power failure of {node}, the owner of {address}{TITLE:#} (link down, all processes killed)"
            ),
            Self::Stopping { node, address } => write!(
                f,
                "{TITLE}Planned stop of the speaker on {node}, the owner of {address}{TITLE:#} (SIGTERM)"
            ),
            Self::TakenOver {
                address,
                node,
                outage,
            }
            | Self::HandedOver {
                address,
                node,
                outage,
            } => {
                writeln!(
                    f,
                    "  {NAME}{node}{NAME:#} took {address} over; the client's entry was moved, not flushed"
                )?;
                write!(f, "  {outage}")
            }
            Self::Returned { address, node } => {
                write!(f, "  {NAME}{node}{NAME:#} is back and has {address} again")
            }
            Self::Router { router, program } => write!(f, "  {router} runs {program}"),
            Self::Routed { address, nodes } => {
                write!(
                    f,
                    "  the router has {address} by {NAME}{}{NAME:#}",
                    nodes.join(", ")
                )
            }
            Self::FailingPath { node, address } => write!(
                f,
                "{TITLE}Power failure of {node}, by which the router has {address}{TITLE:#} (link down, all processes killed)"
            ),
            Self::StoppingPath { node, address } => write!(
                f,
                "{TITLE}Planned stop of the speaker on {node}, by which the router has {address}{TITLE:#} (SIGTERM)"
            ),
            Self::Withdrawn {
                node,
                after_ms,
                outage,
                ..
            } => {
                writeln!(
                    f,
                    "  the router has no route by {NAME}{node}{NAME:#} after {after_ms} ms"
                )?;
                write!(f, "  {outage}")
            }
            Self::Kept { kubeconfig, logs } => {
                writeln!(
                    f,
                    "{TITLE}The cluster keeps running until Ctrl-C.{TITLE:#} In another terminal:"
                )?;
                writeln!(f, "  export KUBECONFIG={}", kubeconfig.display())?;
                writeln!(f, "  kubectl get services")?;
                write!(f, "  {QUIET}logs: {}{QUIET:#}", logs.display())
            }
            Self::End { ok: true, .. } => write!(f, "{GOOD}Done; everything is cleaned up.{GOOD:#}"),
            // Why stands on standard error, as for every command.
            Self::End { ok: false, .. } => write!(f, "{BAD}Failed; everything is cleaned up.{BAD:#}"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            addresses: [v4, v6],
            mac,
        } = self;
        write!(
            f,
            "{NAME}{name:<8}{NAME:#} {v4:<14} {v6:<12} {QUIET}{mac}{QUIET:#}"
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a client requesting every 10 ms was without an answer for {GOOD}{} ms{GOOD:#} ({} lost, {} answered)",
            self.outage_ms, self.lost_requests, self.answered_requests
        )
    }
}

fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_for_machines_says_ok_or_why_not() {
        let failed = Chapter::End {
            ok: false,
            reasons: vec!["no address".into()],
        };
        let line = serde_json::to_string(&failed).unwrap();
        assert_eq!(line, r#"{"step":"end","ok":false,"reasons":["no address"]}"#);
    }

    #[test]
    fn an_outage_is_told_in_tenths_of_milliseconds() {
        let outage = Outage {
            gap: Duration::from_micros(123_456),
            losses: vec!["no answer".into(); 3],
            answered: 50,
        };
        let value = serde_json::to_value(Seen::from(outage)).unwrap();
        assert_eq!(value["outage_ms"], 123.5);
        assert_eq!(value["lost_requests"], 3);
    }
}
