//! The control groups of a machine: one in each hierarchy of version 1, below the group of the lab itself, so that whatever
//! limits the lab limits its nodes, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_netns::wait_for;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::cpu_limit::{self, PREFIX, ROOT};

/// How long processes that were killed may take to leave their groups.
const DEADLINE: Duration = Duration::from_secs(30);

/// A control group in one hierarchy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hierarchy {
    /// The controllers as `/proc/self/cgroup` names them, e.g. `cpu,cpuacct` or `name=systemd`.
    pub controllers: String,
    /// The group's directory.
    pub group: PathBuf,
}

/// A control group in each hierarchy. When they are dropped, they are removed; no process may live in them then.
pub(super) struct Groups(Vec<Hierarchy>);

/// Says why no machine can be had here, if so.
///
/// # Errors
/// With a sentence for users.
pub fn ensure_usable() -> anyhow::Result<()> {
    ensure!(Uid::effective().is_root(), "nodes with kubelets need root");
    parents().map(drop)
}

/// The groups that this process is in.
fn parents() -> anyhow::Result<Vec<Hierarchy>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("the kernel has no control groups")?;
    let hierarchies: Vec<Hierarchy> = own.lines().filter_map(parse).collect();
    let usable = hierarchies.iter().any(|found| found.controllers.contains("cpu"))
        && hierarchies.iter().all(|found| found.group.is_dir());
    ensure!(
        usable,
        "nodes with kubelets need control groups of version 1, in {ROOT}"
    );
    Ok(hierarchies)
}

/// A line of `/proc/self/cgroup`: `4:memory:/path`. Version 2 is the one without controllers.
fn parse(line: &str) -> Option<Hierarchy> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    if controllers.is_empty() {
        return None;
    }
    Some(Hierarchy {
        group: Path::new(ROOT)
            .join(mount_point(controllers))
            .join(path.trim_start_matches('/')),
        controllers: controllers.to_owned(),
    })
}

/// Where a hierarchy is mounted, below the common directory.
pub(crate) fn mount_point(controllers: &str) -> &str {
    controllers.strip_prefix("name=").unwrap_or(controllers)
}

impl Groups {
    /// Makes them, named after this process and `name`.
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        let mut groups = Self(Vec::new());
        for parent in parents()? {
            cpu_limit::remove_abandoned(&parent.group);
            let group = parent.group.join(&name);
            fs::create_dir(&group).with_context(|| format!("cannot make {}", group.display()))?;
            if parent.controllers.split(',').any(|name| name == "cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::copy(parent.group.join(file), group.join(file))
                        .with_context(|| format!("cannot set {file}"))?;
                }
                fs::write(group.join("cgroup.clone_children"), "1")?;
            }
            groups.0.push(Hierarchy {
                controllers: parent.controllers,
                group,
            });
        }
        Ok(groups)
    }

    pub(super) fn hierarchies(&self) -> &[Hierarchy] {
        &self.0
    }

    /// All processes in them.
    pub(super) fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        for hierarchy in &self.0 {
            collect_members(&hierarchy.group, &mut members);
        }
        members.sort_unstable();
        members.dedup();
        members
    }

    pub(super) async fn wait_until_empty(&self) -> anyhow::Result<()> {
        let empty = async || Ok(self.members().is_empty().then_some(()));
        wait_for("all processes of the machine end", DEADLINE, empty).await
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for hierarchy in &self.0 {
            cpu_limit::remove(&hierarchy.group);
        }
    }
}

fn collect_members(group: &Path, members: &mut Vec<u32>) {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    members.extend(own.lines().filter_map(|id| id.parse::<u32>().ok()));
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_members(&entry.path(), members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_hierarchy_is_below_its_mount_point() {
        let group = |line| parse(line).map(|found| found.group.display().to_string());
        assert_eq!(
            group("9:name=systemd:/").as_deref(),
            Some("/sys/fs/cgroup/systemd/")
        );
        assert_eq!(
            group("4:cpu,cpuacct:/a/b:c").as_deref(),
            Some("/sys/fs/cgroup/cpu,cpuacct/a/b:c")
        );
        assert_eq!(group("0::/user.slice"), None);
        assert_eq!(group("nonsense"), None);
    }
}
