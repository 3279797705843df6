//! Three machines with a daemon each that gives one of them an address: keepalived, or any other.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use herald_netns::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::Command;

use super::fault::Fault;
use super::observer::{Clients, Measured};
use super::{DEADLINE, STREAK};
use herald_lab::clock::Monotonic;
use herald_lab::keepalived;
use herald_lab::plan;
use herald_lab::process::{self, Process};
use herald_lab::report::ends_of_logs;
use herald_lab::switch::{Host, LINK, Switch};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 67, 120);
const MACHINES: usize = 3;
/// How long a daemon may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// The program that runs on each machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Daemon {
    Keepalived {
        advert_int: &'static str,
    },
    /// Anything that does the same, see docs/testing.md.
    Other {
        program: PathBuf,
    },
}

impl Daemon {
    fn command(&self, index: usize, fault: Fault, directory: &Path) -> anyhow::Result<Command> {
        let name = machine(index);
        match self {
            Self::Keepalived { advert_int } => {
                let member = keepalived::Member {
                    name: &name,
                    priority: [200, 150, 100][index],
                    advert_int,
                    address: ADDRESS,
                };
                member.command(directory)
            }
            Self::Other { program } => {
                let program = program.display().to_string();
                let mut command = process::role(&["exec".to_owned(), program, "run".to_owned()]);
                let machines: Vec<String> = (0..MACHINES)
                    .map(|index| plan::node(index)[0].to_string())
                    .collect();
                command
                    .env("HERALD_LAB_ADDRESS", ADDRESS.to_string())
                    .env("HERALD_LAB_INTERFACE", LINK)
                    .env("HERALD_LAB_NODE", name)
                    .env("HERALD_LAB_INDEX", index.to_string())
                    .env("HERALD_LAB_NODES", machines.join(","))
                    .env("HERALD_LAB_FAULT", fault.name())
                    .env("HERALD_LAB_DIRECTORY", directory);
                Ok(command)
            }
        }
    }
}

fn machine(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// One machine of the group.
struct Machine {
    daemon: Process,
    pod: Process,
    host: Host,
}

/// Injects `fault` into the owner in a fresh group, and returns what clients measured.
pub(super) async fn inject(daemon: &Daemon, fault: Fault) -> anyhow::Result<Measured> {
    let directory = tempfile::Builder::new().prefix("herald-lab-").tempdir()?;
    match inject_in(&directory, daemon, fault).await {
        Ok(measured) => Ok(measured),
        Err(error) => Err(error.context(ends_of_logs(directory.path()))),
    }
}

async fn inject_in(directory: &TempDir, daemon: &Daemon, fault: Fault) -> anyhow::Result<Measured> {
    let switch = Switch::new().await?;
    let [one, two] = plan::observers();
    let hosts = [
        switch.attach("client-1", one).await?,
        switch.attach("client-2", two).await?,
    ];
    let mut machines = Vec::new();
    for index in 0..MACHINES {
        let host = switch.attach(&machine(index), plan::node(index)).await?;
        machines.push(start(host, daemon.command(index, fault, directory.path())?, directory).await?);
    }
    let owner = settled_owner(&hosts[0], &machines).await?;
    let address = IpAddr::from(ADDRESS);
    let mac = machines[owner].host.mac();
    let clients = Clients::start(&hosts, address, mac, None, fault).await?;
    let begin = Monotonic::now();
    machines[owner].inject(fault).await?;
    clients.meet().await?;
    clients.measure(begin).await
}

async fn start(host: Host, daemon: Command, directory: &TempDir) -> anyhow::Result<Machine> {
    let name = host.name().to_owned();
    let pod = process::role(&[
        "pod".to_owned(),
        format!("--name=pod-{name}"),
        format!("--node={name}"),
        "--listen=0.0.0.0:80".to_owned(),
    ]);
    Ok(Machine {
        pod: Process::start(host.netns(), &format!("pod-{name}"), pod, directory.path()).await?,
        daemon: Process::start(host.netns(), &format!("daemon-{name}"), daemon, directory.path()).await?,
        host,
    })
}

/// The machine that has answered for the address many times in a row.
async fn settled_owner(client: &Host, machines: &[Machine]) -> anyhow::Result<usize> {
    let address = IpAddr::from(ADDRESS);
    let (mut last, mut times) = (None, 0);
    let owner = wait_for("one machine has the address", DEADLINE, async || {
        client.links().forget_neighbour(LINK, address).await?;
        // A kernel answers at once, a daemon that answers itself does not.
        let mac = wait_for("the address is answered for", DEADLINE, async || {
            client.poke(address).await?;
            let entry = client.links().neighbour(address).await?;
            Ok(entry.and_then(|entry| entry.mac))
        })
        .await?;
        times = if Some(mac) == last { times + 1 } else { 0 };
        last = Some(mac);
        Ok(last.filter(|_| times == STREAK))
    })
    .await?;
    let position = machines.iter().position(|machine| machine.host.mac() == owner);
    position.with_context(|| {
        format!("the address is at {owner}, which is no machine's; answer from the interface's own Ethernet address")
    })
}

impl Machine {
    async fn inject(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::LinkLoss | Fault::ApiDown => self.host.set_plugged(false).await,
            Fault::Sigkill => self.signal(Signal::SIGKILL),
            Fault::Sigstop => self.signal(Signal::SIGSTOP),
            Fault::NodeGone => {
                self.host.set_plugged(false).await?;
                self.signal(Signal::SIGKILL)?;
                Ok(self.pod.kill().await?)
            }
            Fault::Sigterm => self.daemon.stop(GRACE).await.map(drop),
        }
    }

    /// To the daemon and all that it has started, these first: keepalived's parent does nothing but watch, and left alone
    /// its child would stop in good order.
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let daemon = self.daemon.id().context("the daemon has ended")?;
        for descendant in descendants(i32::try_from(daemon)?)? {
            kill(Pid::from_raw(descendant), signal)?;
        }
        self.daemon.signal(signal)
    }
}

fn descendants(parent: i32) -> anyhow::Result<Vec<i32>> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let mut all = Vec::new();
    for child in text.split_whitespace().filter_map(|id| id.parse().ok()) {
        all.extend(descendants(child)?);
        all.push(child);
    }
    Ok(all)
}
