//! `heraldctl support-bundle`: what others need to find a fault, in one archive, without secrets.

mod archive;
mod content;
mod events;
mod logs;
mod prune;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::CommonArgs;
use crate::output::{Printable, print_bytes, quoted, unknown_text};
use content::BundleObjects;

/// Where the archive is written.
#[derive(Debug, Args)]
pub(crate) struct SupportBundleArgs {
    /// The archive (tar.gz), a new file; - is standard output. If not given, herald-support-TIME.tar.gz in this directory.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BundleReport {
    archive: String,
    /// The files in it.
    files: Vec<String>,
    /// What could not be read.
    unknown: Vec<String>,
}

impl SupportBundleArgs {
    /// Reads what the archive lists, and writes it.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or the API server does not answer. What it refuses to show is not in the archive, and
    /// its `summary.json` says so.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let today = Timestamp::now();
        let (connection, cluster) = self.common.read().await?;
        let namespace = self.common.namespace(&cluster.installation);
        let objects = BundleObjects::read(&connection.client, &cluster, namespace, today).await;
        let unknown = objects.unknown.clone();
        let files = content::files(&cluster, objects);
        let name = format!("herald-support-{}", today.strftime("%Y%m%dT%H%M%SZ"));
        let bytes = archive::pack(&name, &files, today).context("packing the archive")?;
        if self.file.as_deref() == Some(Path::new("-")) {
            // What is on standard output is the archive alone.
            anstream::eprint!("{}", unknown_text(&unknown));
            return print_bytes(&bytes);
        }
        let path = self.file.unwrap_or_else(|| format!("{name}.tar.gz").into());
        write(&path, &bytes)?;
        self.common.output.print(&BundleReport {
            archive: path.display().to_string(),
            files: files.into_keys().collect(),
            unknown,
        })
    }
}

/// Writes a new file that only its owner can read.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = created.map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            anyhow!("{} exists; name another file by --file", path.display())
        } else {
            anyhow!("{} cannot be created: {error}", path.display())
        }
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.with_context(|| format!("writing {}", path.display()))
}

impl Printable for BundleReport {
    fn text(&self, is_wide: bool) -> String {
        let mut text = format!(
            "{} files are in {}. It has no Secrets, no passwords of BGPPeers, no environment variables, and no arguments of containers that are \
             not Herald's. It has names and addresses of nodes and Services, texts of events, and logs: look into it before you send it to \
             others.\n",
            self.files.len(),
            quoted(&self.archive)
        );
        if is_wide {
            for file in &self.files {
                text += &format!("  {file}\n");
            }
        }
        text + &unknown_text(&self.unknown)
    }
}
