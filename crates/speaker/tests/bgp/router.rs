//! A router in a host of its own, whatever program it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use herald_netns::blocking::Host;
use herald_netns::tool;
use tempfile::TempDir;

use crate::{bird, frr, gobgp, wait_for};

/// The programs that routers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frr,
    Bird,
    GoBgp,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Frr, Self::Bird, Self::GoBgp];

    pub(crate) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Frr => &["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd", "vtysh"],
            Self::Bird => &["bird", "birdc"],
            Self::GoBgp => &["gobgpd", "gobgp"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frr => "frr",
            Self::Bird => "bird",
            Self::GoBgp => "gobgp",
        })
    }
}

/// The configuration of a router with one neighbour, which it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbour {
    pub(crate) router_asn: u32,
    pub(crate) router: IpAddr,
    pub(crate) asn: u32,
    pub(crate) address: IpAddr,
    pub(crate) password: Option<&'static str>,
}

/// A route as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) next_hop: String,
    pub(crate) as_path: String,
    pub(crate) med: Option<u64>,
    pub(crate) local_pref: Option<u64>,
    pub(crate) communities: String,
}

pub(crate) type Routes = BTreeMap<String, Seen>;

/// A running router.
pub(crate) struct Router {
    kind: Kind,
    host: Host,
    directory: TempDir,
    processes: Vec<Child>,
}

impl Router {
    pub(crate) fn start(kind: Kind, host: Host, neighbour: &Neighbour) -> Self {
        let directory = TempDir::new().expect("a directory can be made");
        let mut router = Self {
            kind,
            host,
            directory,
            processes: Vec::new(),
        };
        let configuration = match kind {
            Kind::Frr => frr::configuration(neighbour),
            Kind::Bird => bird::configuration(neighbour),
            Kind::GoBgp => gobgp::configuration(neighbour),
        };
        std::fs::write(router.path().join("configuration"), configuration).expect("it can be written");
        router.run();
        router
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the programs, one after the other, and waits until they answer.
    pub(crate) fn run(&mut self) {
        match self.kind {
            Kind::Frr => {
                self.spawn(frr::zebra(self.path()));
                let zebra = self.path().join(frr::ZEBRA);
                wait_for("zebra listens", || {
                    zebra.exists().then_some(()).ok_or_else(|| self.log())
                });
                self.spawn(frr::bgpd(self.path()));
                let ask = |program: &str, arguments: &[&str]| self.ask(program, arguments);
                wait_for("bgpd knows the interfaces", || {
                    frr::has_interfaces(self.path(), ask)
                });
            }
            Kind::Bird => self.spawn(bird::command(self.path())),
            Kind::GoBgp => self.spawn(gobgp::command(self.path())),
        }
        wait_for("the router answers", || self.try_routes());
    }

    fn spawn(&mut self, (program, arguments): (&str, Vec<String>)) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("log"));
        let log = log.expect("it can be written");
        let mut command = command(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it can be shared"))
            .stderr(log);
        let child = self.host.run(move || command.spawn());
        self.processes.push(child.expect("the router starts"));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Kills the programs: their connections end with a reset.
    pub(crate) fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            let _gone = process.kill();
            let _status = process.wait();
        }
    }

    /// Returns the output of a program that asks the router.
    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = command(program);
        command.args(arguments).stdin(Stdio::null());
        let output = self.host.run(move || command.output());
        let output = output.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    pub(crate) fn try_routes(&self) -> Result<Routes, String> {
        let ask = |program: &str, arguments: &[&str]| self.ask(program, arguments);
        match self.kind {
            Kind::Frr => frr::routes(self.path(), ask),
            Kind::Bird => bird::routes(self.path(), ask),
            Kind::GoBgp => gobgp::routes(ask),
        }
    }

    /// Returns the prefixes that the router has routes to.
    pub(crate) fn try_prefixes(&self) -> Result<BTreeSet<String>, String> {
        match self.kind {
            Kind::Frr => frr::prefixes(self.path(), |program, arguments| self.ask(program, arguments)),
            Kind::Bird | Kind::GoBgp => Ok(self.try_routes()?.into_keys().collect()),
        }
    }

    /// Waits until the router has these routes and no others.
    pub(crate) fn wait_for_routes(&self, expected: &Routes) {
        wait_for("the router has the routes", || {
            let routes = self.try_routes()?;
            if routes == *expected {
                return Ok(());
            }
            Err(format!(
                "{routes:#?}, where {expected:#?} was expected; log:\n{}",
                self.log()
            ))
        });
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(program: &str) -> Command {
    Command::new(tool::find(program).unwrap_or_else(|| panic!("{program} is not installed")))
}
