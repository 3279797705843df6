//! `heraldctl convert`: prints the ConfigMap that configured MetalLB before version 0.13 as resources, with the names that MetalLB's own
//! converter gave them.

mod resources;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueHint};
use serde_json::Value;

use crate::output;
use crate::validate::node::MarkedNode;
use crate::validate::{ManifestFile, unusable, yaml};
use resources::Conversion;

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The file with the ConfigMap, or - for the standard input.
    #[arg(long = "filename", short, required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

/// The keys that the configuration of MetalLB had.
const KEYS: [&str; 4] = ["address-pools", "bfd-profiles", "bgp-communities", "peers"];
/// The namespace of a ConfigMap that names none, as in MetalLB's converter.
const NAMESPACE: &str = "metallb-system";

/// Runs `heraldctl convert`.
///
/// # Errors
/// When the file has no configuration, or the output cannot be written.
pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let files = match ManifestFile::read_all(std::slice::from_ref(&args.file)) {
        Ok(files) => files,
        Err(errors) => return Ok(unusable(&errors)),
    };
    let mut text = String::new();
    for file in &files {
        text.push_str(&converted(file)?);
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the resources that stand for the configuration in a file, as YAML.
///
/// # Errors
/// When the file is no YAML, has no configuration of MetalLB, or names something as no resource can be called.
pub fn converted(file: &ManifestFile) -> anyhow::Result<String> {
    let mut text = String::new();
    for document in yaml::parse(&file.text) {
        if let Some(error) = document.mistakes.first() {
            bail!(
                "{}: {}; `heraldctl validate` shows where",
                file.name,
                error.mistake
            );
        }
        let Some(root) = document.root else { continue };
        if let Some((namespace, configuration)) = old_configuration(&root) {
            let conversion = Conversion::of(&configuration, &namespace);
            if !conversion.unusable.is_empty() {
                let texts = [conversion.unusable, conversion.notes].concat();
                bail!("{}: rename in this file: {}", file.name, texts.join("; "));
            }
            text.push_str(&written(&conversion)?);
        }
    }
    if text.is_empty() {
        bail!(
            "{} has no ConfigMap with the configuration of MetalLB; it has a key `config` with address-pools or peers in its data",
            file.name
        );
    }
    Ok(text)
}

/// Returns the namespace and the configuration of a ConfigMap that configured MetalLB; none of others. A file may also have the
/// configuration alone.
pub(crate) fn old_configuration(root: &MarkedNode) -> Option<(String, Value)> {
    let has_key = |node: &MarkedNode| KEYS.iter().any(|key| node.entry(key).is_some());
    if has_key(root) && root.child("kind").is_none() {
        return Some((NAMESPACE.to_owned(), root.json()));
    }
    let kind = root.child("kind")?.text()?;
    if kind != "ConfigMap" {
        return None;
    }
    let config = root.child("data")?.child("config")?.text()?.to_owned();
    let inner = yaml::parse(&config)
        .into_iter()
        .find_map(|document| document.root)?;
    let metadata = root.child("metadata");
    let namespace = metadata.and_then(|metadata| metadata.child("namespace")?.text());
    has_key(&inner).then(|| (namespace.unwrap_or(NAMESPACE).to_owned(), inner.json()))
}

fn written(conversion: &Conversion) -> anyhow::Result<String> {
    let mut text = String::new();
    for note in &conversion.notes {
        writeln!(text, "# {}", output::escaped(note)).context("a text")?;
    }
    for resource in &conversion.resources {
        let resource = serde_saphyr::to_string(resource).context("writing YAML")?;
        write!(text, "---\n{resource}").context("a text")?;
    }
    Ok(text)
}
