//! Compares the operators' guide with the code: every reason and every metric of the shipped crates is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const GUIDE: &str = include_str!("../../../docs/operating.md");

/// The Rust files of the shipped crates.
fn sources() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut directories: Vec<PathBuf> = entries(&crates)
        .into_iter()
        .map(|entry| entry.join("src"))
        .collect();
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in entries(&directory) {
            if entry.is_dir() {
                directories.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                files.push(entry);
            }
        }
    }
    files
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// The string literals of `text` that are one word.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let literals = text.split('"').skip(1).step_by(2);
    literals.filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !word.is_empty())
}

/// What the functions named `reason` of a file return: their literals up to the brace that closes the function.
fn reasons(source: &str) -> BTreeSet<String> {
    let functions = source.split("pub const fn reason(").skip(1);
    let bodies = functions.map(|rest| rest.split("\n    }\n").next().unwrap_or_default());
    bodies.flat_map(words).map(str::to_owned).collect()
}

/// The full names of metrics in a file.
fn metrics(source: &str) -> BTreeSet<String> {
    let is_metric = |word: &&str| {
        ["metallb_", "herald_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    let shipped = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = shipped
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let named = lines.flat_map(words).filter(is_metric);
    named.map(str::to_owned).collect()
}

/// All of these that the code has and the guide has not, and how many the code has.
fn missing(find: fn(&str) -> BTreeSet<String>) -> (BTreeSet<String>, usize) {
    let texts = sources()
        .into_iter()
        .map(|file| std::fs::read_to_string(file).expect("a text"));
    let found: BTreeSet<String> = texts.flat_map(|text| find(&text)).collect();
    let count = found.len();
    let is_missing = |word: &String| !GUIDE.contains(&format!("`{word}`"));
    (found.into_iter().filter(is_missing).collect(), count)
}

#[test]
fn the_guide_has_every_reason() {
    let (missing, count) = missing(reasons);
    assert!(count > 50, "only {count} reasons were found in the sources");
    assert!(missing.is_empty(), "docs/operating.md lacks {missing:?}");
}

#[test]
fn the_guide_has_every_metric() {
    let (missing, count) = missing(metrics);
    assert!(count > 20, "only {count} metrics were found in the sources");
    assert!(missing.is_empty(), "docs/operating.md lacks {missing:?}");
}
