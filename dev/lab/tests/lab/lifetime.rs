//! Labs run side by side and leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use herald_lab::Lab;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::trial;
use herald_lab::{DEADLINE, QUICKSTART};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("two_labs_side_by_side_do_not_meet", two_labs),
        trial("a_dropped_lab_leaves_nothing_behind", nothing_after_drop),
        trial("an_interrupted_demo_leaves_nothing_behind", async || {
            nothing_after(Signal::SIGINT).await
        }),
        trial("a_killed_demo_leaves_no_process_behind", async || {
            nothing_after(Signal::SIGKILL).await
        }),
        trial("a_kept_demo_runs_until_it_is_interrupted", kept_demo),
        trial("an_ordinary_user_can_run_the_demo", ordinary_user),
        trial("bad_arguments_are_refused_with_exit_status_2", bad_arguments),
    ]
}

async fn two_labs() -> anyhow::Result<()> {
    let (one, two) = tokio::try_join!(small_lab(), small_lab())?;
    let address = one.wait_for_addresses("hello", 1, DEADLINE).await?;
    ensure!(
        two.wait_for_addresses("hello", 1, DEADLINE).await? == address,
        "each has the whole pool"
    );
    one.owner(address[0], DEADLINE).await?;
    drop(one);
    two.owner(address[0], DEADLINE).await?;
    Ok(())
}

async fn small_lab() -> anyhow::Result<Lab> {
    let mut lab = Lab::builder().nodes(2).start().await?;
    lab.run_app("hello", 8080, &[0, 1]).await?;
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    Ok(lab)
}

async fn nothing_after_drop() -> anyhow::Result<()> {
    let lab = Lab::builder().nodes(2).start().await?;
    let speaker = lab
        .node(0)
        .speaker()
        .and_then(|speaker| speaker.id())
        .context("no speaker runs")?;
    let namespace = fs::read_link(format!("/proc/{speaker}/ns/net"))?;
    let directory = lab.kubeconfig();
    ensure!(
        directory.exists() && inhabitants(&namespace).len() > 1,
        "the lab is not as expected"
    );
    drop(lab);
    ensure!(!directory.exists(), "{} is left", directory.display());
    wait_for(
        "all processes in the node's namespace end",
        DEADLINE,
        async || Ok(inhabitants(&namespace).is_empty().then_some(())),
    )
    .await
}

/// The processes in a network namespace.
fn inhabitants(namespace: &Path) -> BTreeSet<u32> {
    processes()
        .filter(|id| fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|ns| ns == namespace))
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn demo(directory: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald-lab"));
    command
        .args(["demo", "--json", "--keep"])
        .env("TMPDIR", directory);
    Ok(command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?)
}

/// Runs the demo until its first Service has an address, and ends it by a signal.
async fn nothing_after(signal: Signal) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut demo = demo(directory.path())?;
    let output = BufReader::new(demo.stdout.take().context("no output")?);
    let (addressed, reader) = tokio::task::spawn_blocking(move || {
        let mut lines = output.lines();
        let found = lines
            .by_ref()
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("\"addressed\"")));
        (found.is_some(), lines)
    })
    .await?;
    ensure!(addressed, "the demo ended early");
    let parts = children(demo.id());
    ensure!(parts.len() >= 8, "the demo has few parts: {parts:?}");
    kill(Pid::from_raw(demo.id().try_into()?), signal)?;
    let status = tokio::task::spawn_blocking(move || {
        drop(reader);
        demo.wait()
    })
    .await??;
    ensure!(!status.success(), "an unfinished demo ended with {status}");
    wait_for("all parts end", DEADLINE, async || {
        Ok(parts
            .iter()
            .all(|id| !Path::new(&format!("/proc/{id}")).exists())
            .then_some(()))
    })
    .await?;
    if signal != Signal::SIGKILL {
        let left: Vec<PathBuf> = fs::read_dir(directory.path())?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        ensure!(left.is_empty(), "files are left: {left:?}");
    }
    Ok(())
}

async fn kept_demo() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut demo = demo(directory.path())?;
    let id = Pid::from_raw(demo.id().try_into()?);
    let output = BufReader::new(demo.stdout.take().context("no output")?);
    let told = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        for line in output.lines().map_while(Result::ok) {
            if line.contains(r#""step":"kept""#) {
                kill(id, Signal::SIGINT)?;
            }
            told.push(line);
        }
        anyhow::Ok((told, demo.wait()?))
    });
    let (told, status) = told.await??;
    let steps: Vec<Value> = told
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    let kept = steps
        .iter()
        .find(|step| step["step"] == "kept")
        .with_context(|| format!("the demo was not kept: {told:?}"))?;
    ensure!(
        kept["kubeconfig"]
            .as_str()
            .is_some_and(|path| path.ends_with("/kubeconfig")),
        "{kept}"
    );
    ensure!(steps.last().is_some_and(|last| last["ok"] == true), "{told:?}");
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The processes that process `parent` started, by the fourth field of `proc_pid_stat(5)`.
fn children(parent: u32) -> Vec<u32> {
    let started_by = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let after_name = stat.rsplit_once(')')?.1;
        after_name.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    processes().filter(|id| started_by(id) == Some(parent)).collect()
}

/// Root changes to the user "nobody"; any other user is an ordinary one already.
async fn ordinary_user() -> anyhow::Result<()> {
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    // Where cargo builds is often a place that only root can enter.
    let program = directory.path().join("herald-lab");
    fs::copy(env!("CARGO_BIN_EXE_herald-lab"), &program)?;
    let mut command = tokio::process::Command::new(&program);
    command
        .args(["demo", "--json", "--nodes=2"])
        .env("TMPDIR", directory.path())
        .current_dir(directory.path());
    if let Some(control_plane) = std::env::var_os("HERALD_CONTROL_PLANE") {
        let copy = directory.path().join("control-plane");
        let status = Command::new("cp")
            .arg("-a")
            .args([&control_plane, copy.as_os_str()])
            .status()?;
        ensure!(status.success(), "cannot copy {}", control_plane.display());
        command.env("HERALD_CONTROL_PLANE", copy);
    }
    if maps_user(&fs::read_to_string("/proc/self/uid_map")?, NOBODY) {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.kill_on_drop(true).output().await?;
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.lines().last().unwrap_or_default();
    ensure!(
        last == r#"{"step":"end","ok":true,"reasons":[]}"#,
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "{}", output.status);
    Ok(())
}

/// Whether a user exists in the user namespace with this `uid_map` (`user_namespaces(7)`).
fn maps_user(uid_map: &str, user: u32) -> bool {
    uid_map.lines().any(|line| {
        let fields: Vec<u32> = line
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        matches!(fields[..], [first, _, length] if user >= first && user - first < length)
    })
}

async fn bad_arguments() -> anyhow::Result<()> {
    for arguments in [["demo", "--no-such-flag"], ["demo", "--nodes=1"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herald-lab"));
        let output = command.args(arguments).output()?;
        ensure!(
            output.status.code() == Some(2),
            "{arguments:?}: {}",
            output.status
        );
        ensure!(
            output.stderr.starts_with(b"error: "),
            "{arguments:?}: no reason was given"
        );
    }
    Ok(())
}
