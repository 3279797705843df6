//! A router in a host of its own, whatever program it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use herald_netns::{Netns, tool};
use nix::sys::signal::{Signal, kill as kill_by};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{Kind, bird, frr, gobgp, wait_for};

/// The configuration of a router for one of its neighbours, which it waits for.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour {
    /// The AS number of the router: the same for all its neighbours.
    pub router_asn: u32,
    /// The address of the router in the session.
    pub router: IpAddr,
    /// The AS number of the neighbour.
    pub asn: u32,
    /// The address of the neighbour.
    pub address: IpAddr,
    /// The interface that the router finds the neighbour on, instead of by the address (FRR only).
    pub interface: Option<&'static str>,
    /// The password of the session (RFC 2385).
    pub password: Option<&'static str>,
}

/// What a router is to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup<'a> {
    /// Its neighbours.
    pub neighbours: &'a [Neighbour],
    /// The prefixes that it sends to all neighbours.
    pub networks: &'a [&'a str],
    /// Whether its kernel gets the routes of neighbours, and spreads packets over all paths to a prefix. GoBGP cannot do that: version
    /// 3.10 panics when it reads what zebra of FRR 8.4 sends.
    pub forwards: bool,
    /// Whether it connects to its neighbours, instead of waiting for them.
    pub dials: bool,
    /// Whether it removes the routes of a neighbour as soon as the session ends, also those that it would keep for a graceful restart
    /// (BIRD only).
    pub keeps_nothing: bool,
}

/// An established session with a neighbour as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The BGP identifier of the neighbour.
    pub identifier: String,
    /// Which one it is, such as when it was established: another session with the same neighbour has another text.
    pub instance: String,
    /// The hold time that both agreed on, in seconds.
    pub hold_time: Option<u64>,
}

/// The established sessions by the address of the neighbour.
pub type Sessions = BTreeMap<IpAddr, Session>;

/// A path to a prefix as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seen {
    /// The next hop; the global address if there is a link-local one too.
    pub next_hop: String,
    /// The AS numbers, with spaces between them.
    pub as_path: String,
    /// MULTI_EXIT_DISC.
    pub med: Option<u64>,
    /// LOCAL_PREF, of internal neighbours only.
    pub local_pref: Option<u64>,
    /// The communities, with spaces between them: large ones behind the others, as `large:1:2:3`.
    pub communities: String,
}

impl Seen {
    /// Adds large communities, each as three numbers with colons between them.
    pub(crate) fn add_large_communities<'a>(&mut self, communities: impl IntoIterator<Item = &'a str>) {
        for community in communities {
            if !self.communities.is_empty() {
                self.communities.push(' ');
            }
            self.communities.push_str("large:");
            self.communities.push_str(community);
        }
    }
}

/// The paths to each prefix, in ascending order.
pub type Routes = BTreeMap<String, Vec<Seen>>;

/// A running router. `H` keeps its network namespace.
pub struct Router<H> {
    kind: Kind,
    host: H,
    directory: TempDir,
    processes: Vec<Child>,
    networks: Vec<String>,
    forwards: bool,
}

impl<H: AsRef<Netns>> Router<H> {
    /// Starts a router, and waits until it answers. All its neighbours may send it routes of both families.
    ///
    /// # Panics
    /// When it cannot run here ([`Kind::obstacle`]), or does not answer.
    pub fn start(kind: Kind, host: H, neighbours: &[Neighbour]) -> Self {
        let setup = Setup {
            neighbours,
            ..Setup::default()
        };
        Self::start_with(kind, host, &setup)
    }

    /// The same for a router that does more than to take routes.
    ///
    /// # Panics
    /// As [`Router::start`].
    pub fn start_with(kind: Kind, host: H, setup: &Setup<'_>) -> Self {
        let directory = TempDir::new().expect("a directory can be made");
        let mut router = Self {
            kind,
            host,
            directory,
            processes: Vec::new(),
            networks: setup.networks.iter().map(ToString::to_string).collect(),
            forwards: setup.forwards,
        };
        let configuration = match kind {
            Kind::Frr => frr::configuration(setup),
            Kind::Bird => bird::configuration(setup),
            Kind::GoBgp => gobgp::configuration(setup),
        };
        std::fs::write(router.path().join("configuration"), configuration).expect("it can be written");
        router.run();
        router
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns what keeps the network namespace.
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// Returns the process that speaks BGP.
    ///
    /// # Panics
    /// When it was killed.
    pub fn process(&self) -> u32 {
        self.processes.last().expect("the router runs").id()
    }

    /// Starts the programs after [`Router::kill`], one after the other, and waits until they answer.
    ///
    /// # Panics
    /// When they do not start or answer.
    pub fn run(&mut self) {
        match self.kind {
            Kind::Frr => {
                self.spawn(frr::zebra(self.path()));
                let zebra = self.path().join(frr::ZEBRA);
                wait_for("zebra listens", || {
                    zebra.exists().then_some(()).ok_or_else(|| self.log())
                });
                self.spawn(frr::bgpd(self.path(), self.forwards));
                let ask = |program: &str, arguments: &[&str]| self.ask(program, arguments);
                wait_for("bgpd knows the interfaces", || {
                    frr::has_interfaces(self.path(), ask)
                });
            }
            Kind::Bird => self.spawn(bird::command(self.path())),
            Kind::GoBgp => self.spawn(gobgp::command(self.path())),
        }
        wait_for("the router answers", || self.try_routes());
        if self.kind == Kind::GoBgp {
            let ask = |program: &str, arguments: &[&str]| self.ask(program, arguments);
            let added = gobgp::add_networks(&self.networks, ask);
            added.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn spawn(&mut self, (program, arguments): (&str, Vec<String>)) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("log"));
        let log = log.expect("it can be written");
        let mut command = tied_command(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it can be shared"))
            .stderr(log);
        let child = self.host.as_ref().run_blocking(move || command.spawn());
        self.processes.push(child.expect("the router starts"));
    }

    /// Returns what the programs have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Ends the programs as an administrator does (SIGTERM): they end their sessions first.
    ///
    /// # Panics
    /// When they cannot be ended.
    pub fn stop(mut self) {
        for mut process in self.processes.drain(..).rev() {
            let id = i32::try_from(process.id()).expect("ids are small");
            kill_by(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
            process.wait().expect("it is a child");
        }
    }

    /// Kills the programs: their connections end with a reset.
    pub fn kill(&mut self) {
        kill(&mut self.processes);
    }

    /// Returns the output of a program that asks the router.
    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = command(program);
        command.args(arguments).stdin(Stdio::null());
        let output = self.host.as_ref().run_blocking(move || command.output());
        let output = output.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Returns the routes that the router has from its neighbours.
    ///
    /// # Errors
    /// What the router answers instead.
    pub fn try_routes(&self) -> Result<Routes, String> {
        let ask = |program: &str, arguments: &[&str]| self.ask(program, arguments);
        let mut routes = match self.kind {
            Kind::Frr => frr::routes(self.path(), ask),
            Kind::Bird => bird::routes(self.path(), ask),
            Kind::GoBgp => gobgp::routes(ask),
        }?;
        routes.retain(|prefix, _| !self.networks.contains(prefix));
        Ok(routes)
    }

    /// Returns the sessions that are established.
    ///
    /// # Errors
    /// What the router answers instead.
    pub fn try_sessions(&self) -> Result<Sessions, String> {
        let ask = |program: &str, arguments: &[&str]| self.ask(program, arguments);
        match self.kind {
            Kind::Frr => frr::sessions(self.path(), ask),
            Kind::Bird => bird::sessions(self.path(), ask),
            Kind::GoBgp => gobgp::sessions(ask),
        }
    }

    /// Returns the prefixes that the router has routes to.
    ///
    /// # Errors
    /// What the router answers instead.
    pub fn try_prefixes(&self) -> Result<BTreeSet<String>, String> {
        match self.kind {
            Kind::Frr => frr::prefixes(self.path(), |program, arguments| self.ask(program, arguments)),
            Kind::Bird | Kind::GoBgp => Ok(self.try_routes()?.into_keys().collect()),
        }
    }

    /// Returns how many prefixes the router has routes to.
    ///
    /// # Errors
    /// What the router answers instead.
    pub fn try_count(&self) -> Result<usize, String> {
        match self.kind {
            Kind::Bird => bird::count(self.path(), |program, arguments| self.ask(program, arguments)),
            Kind::Frr | Kind::GoBgp => Ok(self.try_prefixes()?.len()),
        }
    }

    /// Waits until the router has these routes and no others.
    ///
    /// # Panics
    /// When it has not, with the routes that it has and the log.
    pub fn wait_for_routes(&self, expected: &Routes) {
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

impl<H> Drop for Router<H> {
    fn drop(&mut self) {
        kill(&mut self.processes);
    }
}

fn kill(processes: &mut Vec<Child>) {
    for mut process in processes.drain(..) {
        let _gone = process.kill();
        let _status = process.wait();
    }
}

/// Returns the AS number of the router.
pub(crate) fn asn(neighbours: &[Neighbour]) -> u32 {
    neighbours.first().map_or(0, |neighbour| neighbour.router_asn)
}

fn command(program: &str) -> Command {
    Command::new(tool::find(program).unwrap_or_else(|| panic!("{program} is not installed")))
}

/// Returns a command whose process ends with the thread that starts it, however that ends.
fn tied_command(program: &str) -> Command {
    let mut tied = command("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"])
        .arg(command(program).get_program());
    tied
}
