//! The first process of a node with a real kubelet.
//!
//! The lab starts one process, which enters the control groups and makes the namespaces; the process that this one starts is
//! the first one in them. The kernel kills all others of the node when it ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::wait;
use nix::unistd::Pid;

use crate::machine::{self, Plan};

/// Kernel parameters of the whole machine that a kubelet sets unless they are so already. It finds them as it wants them.
const PARAMETERS: [(&str, &str); 4] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
];
/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";
/// Before a program that ended is started again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often containerd is asked whether it is ready, 100 ms apart.
const ATTEMPTS: u32 = 1200;

/// Arguments of the machine role.
#[derive(Debug, Args)]
pub(super) struct MachineArgs {
    /// What runs on the node.
    #[arg(long)]
    plan: PathBuf,
    /// The namespaces are made.
    #[arg(long)]
    inside: bool,
}

/// Runs a node until its containerd ends.
pub(super) fn run(args: &MachineArgs) -> anyhow::Result<()> {
    let plan = fs::read(&args.plan).with_context(|| format!("cannot read {}", args.plan.display()))?;
    let plan: Plan = serde_json::from_slice(&plan)?;
    if args.inside {
        boot(&plan)
    } else {
        enter(&args.plan, &plan)
    }
}

fn enter(file: &Path, plan: &Plan) -> anyhow::Result<()> {
    for hierarchy in &plan.groups {
        // 0 stands for the writer.
        fs::write(hierarchy.group.join("cgroup.procs"), "0")
            .with_context(|| format!("cannot enter {}", hierarchy.group.display()))?;
    }
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).context("cannot make namespaces")?;
    set_propagation(MsFlags::MS_PRIVATE)?;
    let status = machine::inside(file).as_std_mut().status()?;
    bail!("the first process of {} ended with {status}", plan.name)
}

fn boot(plan: &Plan) -> anyhow::Result<()> {
    mount_files(plan)?;
    let directory = &plan.directory;
    let configuration = directory.join("containerd.toml");
    let mut containerd = start(
        plan,
        &["containerd".into(), "--config".into(), configuration.into()],
    )?;
    wait_for_containerd(&mut containerd)?;
    for image in &plan.images {
        let import = ["-n", "k8s.io", "images", "import"];
        let imported = Command::new("ctr").args(import).arg(image).status()?;
        ensure!(imported.success(), "cannot import {}", image.display());
    }
    let containerd = Pid::from_raw(containerd.id().try_into()?);
    let mut programs = BTreeMap::new();
    for program in &plan.programs {
        programs.insert(start_program(plan, program)?, program);
    }
    // The first process is the parent of all that lose theirs.
    loop {
        let ended = match wait() {
            Err(Errno::EINTR) => continue,
            ended => ended.context("cannot wait for programs")?.pid(),
        };
        ensure!(ended != Some(containerd), "containerd ended");
        // As an init system does. kube-proxy ends when it learns the node's addresses only after its start.
        if let Some(program) = ended.and_then(|id| programs.remove(&id)) {
            std::thread::sleep(PAUSE);
            programs.insert(start_program(plan, program)?, program);
        }
    }
}

fn start_program(plan: &Plan, program: &[String]) -> anyhow::Result<Pid> {
    let command: Vec<OsString> = program.iter().map(OsString::from).collect();
    Ok(Pid::from_raw(start(plan, &command)?.id().try_into()?))
}

fn mount_files(plan: &Plan) -> anyhow::Result<()> {
    mount_new("proc", "/proc", "")?;
    fs::write("/proc/sys/kernel/hostname", &plan.name).context("cannot set the host name")?;
    mount_new("sysfs", "/sys", "")?;
    mount_new("tmpfs", GROUPS, "mode=755")?;
    for hierarchy in &plan.groups {
        let target = Path::new(GROUPS).join(machine::mount_point(&hierarchy.controllers));
        fs::create_dir(&target)?;
        let options = match hierarchy.controllers.strip_prefix("name=") {
            Some(_) => format!("none,{}", hierarchy.controllers),
            None => hierarchy.controllers.clone(),
        };
        mount_new("cgroup", &target, &options)?;
    }
    for (name, value) in PARAMETERS {
        let file = plan.directory.join("sysctl").join(name.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        bind(&file, &Path::new("/proc/sys").join(name))?;
    }
    for directory in ["/run", "/var"] {
        mount_new("tmpfs", directory, "mode=755")?;
    }
    for directory in [
        "/run/lock",
        "/run/containerd",
        "/var/log",
        "/var/tmp",
        "/var/lib/cni",
    ] {
        fs::create_dir_all(directory)?;
    }
    for (name, target) in [
        ("kubelet", "/var/lib/kubelet"),
        // overlayfs needs a disk.
        ("containerd", "/var/lib/containerd"),
        ("log", "/var/log"),
    ] {
        fs::create_dir_all(target)?;
        bind(&plan.directory.join(name), Path::new(target))?;
    }
    // Mounts of a kubelet are to be seen in containers.
    set_propagation(MsFlags::MS_SHARED)
}

fn mount_new(kind: &str, target: impl AsRef<Path>, options: &str) -> anyhow::Result<()> {
    let target = target.as_ref();
    mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {kind} at {}", target.display()))
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot mount {} at {}", source.display(), target.display()))
}

fn set_propagation(flag: MsFlags) -> anyhow::Result<()> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | flag,
        None::<&str>,
    )
    .context("cannot set the propagation of mounts")
}

/// Starts a program, whose output goes to a file of its own.
fn start(plan: &Plan, command: &[OsString]) -> anyhow::Result<Child> {
    let (program, arguments) = command.split_first().context("no program given")?;
    let name = Path::new(program).file_name().unwrap_or_default().display();
    let log = plan.logs.join(format!("{}-{name}.log", plan.name));
    let log = File::options().create(true).append(true).open(log)?;
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(log.try_clone()?)
        .stdout(log)
        .spawn();
    started.with_context(|| format!("cannot run {name}"))
}

fn wait_for_containerd(containerd: &mut Child) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        let asked = Command::new("ctr")
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot run ctr")?;
        if asked.success() {
            return Ok(());
        }
        if let Some(status) = containerd.try_wait()? {
            bail!("containerd ended with {status}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("containerd does not get ready")
}
