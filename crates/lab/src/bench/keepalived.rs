//! keepalived as people run it for one address on three machines, as the reference of the failover benchmark.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::failover::{Fault, Observer};
use crate::clock::Monotonic;
use crate::fabric::{Fabric, Host, LINK};
use crate::plan;
use crate::prober::Outage;
use crate::process::{self, Process};
use crate::wait::eventually;

const PROGRAM: &str = "keepalived";
const PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS: [u8; 4] = [192, 168, 67, 120];

/// Whether keepalived can be run here. It is often in a directory that only root's PATH names.
pub(super) fn is_installed() -> bool {
    find().is_some()
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories
        .map(|directory| directory.join(PROGRAM))
        .find(|file| file.is_file())
}

/// One machine of the group.
struct Member {
    daemon: Process,
    _pod: Process,
    host: Host,
}

/// Lets the master of a fresh group suffer `fault`, and tells what a client saw.
pub(super) async fn suffer(fault: Fault, advert_int: &str) -> anyhow::Result<Outage> {
    let directory = tempfile::Builder::new().prefix("herald-lab-").tempdir()?;
    let fabric = Fabric::new().await?;
    let client = fabric.attach("client", plan::client()).await?;
    let mut members = Vec::new();
    for index in 0..3 {
        members.push(start(&fabric, index, advert_int, &directory).await?);
    }
    let address = IpAddr::from(ADDRESS);
    let master = &members[0].host;
    eventually(
        "the machine of the highest priority is master",
        PATIENCE,
        async || {
            client.links().forget_neighbour(LINK, address).await?;
            client.poke(address).await?;
            let entry = client.links().neighbour(address).await?;
            Ok((entry.and_then(|entry| entry.mac) == Some(master.mac())).then_some(()))
        },
    )
    .await?;
    let observer = Observer::start(&client, address, master.mac()).await?;
    let begin = Monotonic::now();
    inflict(fault, &mut members[0]).await?;
    observer.outage(&client, begin).await
}

async fn start(
    fabric: &Fabric,
    index: usize,
    advert_int: &str,
    directory: &TempDir,
) -> anyhow::Result<Member> {
    let host = fabric
        .attach(&format!("node-{}", index + 1), plan::node(index))
        .await?;
    let name = host.name().to_owned();
    let pod = process::role(&[
        "pod".to_owned(),
        format!("--name=pod-{name}"),
        format!("--node={name}"),
        "--listen=0.0.0.0:80".to_owned(),
    ]);
    let pod = Process::start(host.netns(), &format!("pod-{name}"), pod, directory.path()).await?;
    let file = |suffix: &str| directory.path().join(format!("{name}.{suffix}"));
    fs::write(file("conf"), configuration(&name, 200 - 50 * index, advert_int))?;
    let program = find().context("keepalived is not installed")?;
    let arguments = [
        "exec".to_owned(),
        program.display().to_string(),
        "--dont-fork".to_owned(),
        "--log-console".to_owned(),
        "--vrrp".to_owned(),
        format!("--use-file={}", file("conf").display()),
        format!("--pid={}", file("pid").display()),
        format!("--vrrp_pid={}", file("vrrp.pid").display()),
    ];
    let daemon_name = format!("keepalived-{name}");
    let daemon = process::role(&arguments);
    let daemon = Process::start(host.netns(), &daemon_name, daemon, directory.path()).await?;
    Ok(Member {
        daemon,
        _pod: pod,
        host,
    })
}

/// VRRP version 3, because version 2 has no intervals below a second.
fn configuration(name: &str, priority: usize, advert_int: &str) -> String {
    format!(
        "global_defs {{\n  router_id {name}\n  vrrp_version 3\n}}\n\
         vrrp_instance lab {{\n  state BACKUP\n  interface {LINK}\n  virtual_router_id 67\n  \
         priority {priority}\n  advert_int {advert_int}\n  virtual_ipaddress {{\n    {}/32\n  }}\n}}\n",
        IpAddr::from(ADDRESS)
    )
}

async fn inflict(fault: Fault, member: &mut Member) -> anyhow::Result<()> {
    match fault {
        Fault::Link => member.host.set_plugged(false).await,
        Fault::Kill => {
            // keepalived's parent does nothing but watch; left alone, its child would stop in good order.
            let parent = member.daemon.id().context("keepalived has ended")?;
            for child in children(parent)? {
                kill(Pid::from_raw(child), Signal::SIGKILL)?;
            }
            Ok(member.daemon.kill().await?)
        }
        Fault::Stop => member.daemon.stop(PATIENCE).await.map(drop),
    }
}

fn children(parent: u32) -> anyhow::Result<Vec<i32>> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(Path::new(&file)).with_context(|| format!("cannot read {file}"))?;
    Ok(text.split_whitespace().filter_map(|id| id.parse().ok()).collect())
}
