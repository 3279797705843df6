//! kubectl, as a user would run it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// kubectl for one cluster, with a home directory of its own.
pub struct Kubectl {
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Kubectl {
    /// For the cluster that this kubeconfig leads to.
    pub fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            kubeconfig: kubeconfig.to_owned(),
            home: tempfile::tempdir()?,
        })
    }

    /// The same, with another namespace where none is named.
    pub async fn in_namespace(kubeconfig: &Path, namespace: &str) -> anyhow::Result<Self> {
        let mut kubectl = Self::new(kubeconfig)?;
        let view = ["config", "view", "--raw", "--flatten", "--minify"];
        let config = kubectl.run(view).await?;
        kubectl.kubeconfig = kubectl.home.path().join("kubeconfig");
        std::fs::write(&kubectl.kubeconfig, config)?;
        let namespace = format!("--namespace={namespace}");
        kubectl
            .run(["config", "set-context", "--current", &namespace])
            .await?;
        Ok(kubectl)
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// With what it complained of if it fails.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<String> {
        let output = self.try_run(arguments).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl: {text}{complaint}");
        Ok(text)
    }

    /// Runs it and returns how that ended.
    pub async fn try_run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Output> {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home.path())
            .kill_on_drop(true);
        command.output().await.context("cannot run kubectl")
    }

    /// Applies a manifest.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.write(yaml)?;
        self.run(["apply", "-f", &file]).await
    }

    /// Applies a manifest; each request to the API server may take as long as `limit` says, e.g. `3s`.
    pub async fn apply_within(&self, limit: &str, yaml: &str) -> anyhow::Result<String> {
        let file = self.write(yaml)?;
        self.run(["apply", "--request-timeout", limit, "-f", &file]).await
    }

    /// Applies a manifest without holding it against the schemas first.
    pub async fn apply_unchecked(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.write(yaml)?;
        self.run(["apply", "--validate=false", "-f", &file]).await
    }

    /// Applies a manifest that has to be refused; returns the refusal.
    pub async fn refused(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.write(yaml)?;
        let output = self.try_run(["apply", "-f", &file]).await?;
        ensure!(
            !output.status.success(),
            "accepted: {}of {yaml}",
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Has a manifest that has to be refused checked, without creating anything if it is not; returns the refusal.
    ///
    /// # Errors
    /// When it is not refused.
    pub async fn dry_run_refused(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.write(yaml)?;
        let output = self.try_run(["apply", "--dry-run=server", "-f", &file]).await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "accepted: {text}");
        Ok(text)
    }

    /// Has a manifest checked without creating anything, and returns all that kubectl prints, warnings included.
    pub async fn dry_run_with_warnings(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.write(yaml)?;
        let output = self.try_run(["apply", "--dry-run=server", "-f", &file]).await?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure!(output.status.success(), "kubectl: {text}");
        Ok(text)
    }

    /// An object, e.g. `["service", "hello"]`.
    pub async fn get(&self, what: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(["get", "-o", "json"].iter().chain(what)).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {what:?} printed no JSON"))
    }

    fn write(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.home.path().join("manifest.yaml");
        // kubectl takes what begins with a brace for JSON.
        std::fs::write(&file, format!("---\n{yaml}"))?;
        Ok(file.display().to_string())
    }
}
