//! heraldctl in a lab.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Lab;
use crate::process;

impl Lab {
    /// Runs heraldctl on the client, which reaches the programs by their addresses, and returns its result.
    ///
    /// # Errors
    /// When it fails; the message is what it printed.
    pub async fn heraldctl(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let printed = self
            .heraldctl_text(&[arguments, &["--output=json"]].concat())
            .await?;
        serde_json::from_str(&printed).with_context(|| format!("heraldctl {arguments:?} printed no JSON"))
    }

    /// The same, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message is what it printed.
    pub async fn heraldctl_text(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let own = ["heraldctl"].into_iter();
        let all = own.chain(arguments.iter().copied()).chain(["--state=direct"]);
        let all: Vec<String> = all.map(str::to_owned).collect();
        let mut command = process::role(&all);
        command.env("KUBECONFIG", self.kubeconfig_inside());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = process::spawn(self.client().netns(), command).await?;
        let output = child.wait_with_output().await?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "heraldctl {arguments:?}: {printed}{errors}"
        );
        Ok(printed)
    }
}
