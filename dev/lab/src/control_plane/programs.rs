//! Kubernetes' own programs, and where they are.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Names a directory that holds Kubernetes' own programs, for a lab that uses them instead of the embedded API.
pub(super) const VARIABLE: &str = "HERALD_CONTROL_PLANE";

/// All that a lab needs.
const NEEDED: [&str; 7] = [
    "etcd",
    "helm",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
];

/// A directory with Kubernetes' own programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs(PathBuf);

impl Programs {
    /// Those in the directory that `HERALD_CONTROL_PLANE` names; `None` if it is not set or empty.
    ///
    /// # Errors
    /// When one is missing there.
    pub fn from_environment() -> anyhow::Result<Option<Self>> {
        let directory = std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty());
        directory
            .map(|directory| Self::in_directory(Path::new(&directory)))
            .transpose()
    }

    fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("{VARIABLE} names {}", directory.display()))?;
        let missing: Vec<&str> = NEEDED
            .into_iter()
            .filter(|name| !directory.join(name).is_file())
            .collect();
        ensure!(
            missing.is_empty(),
            "{VARIABLE} names {}, which lacks {}; e2e/controlplane/build makes a directory with all of them",
            directory.display(),
            missing.join(", ")
        );
        Ok(Self(directory))
    }

    /// The path of one.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_some_of_them_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["etcd", "kube-apiserver", "kubectl"] {
            std::fs::write(directory.path().join(name), "").expect("a file");
        }
        let error = Programs::in_directory(directory.path()).expect_err("envtest's three do not do");
        let text = error.to_string();
        assert!(
            text.contains("lacks helm, kube-controller-manager, kube-proxy, kube-scheduler, kubelet;"),
            "{text}"
        );
    }
}
