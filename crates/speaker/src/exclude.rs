//! The file of interfaces that never announce, MetalLB's `excludel2.yaml`.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use regex::Regex;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "announcedInterfacesToExclude", default)]
    patterns: Vec<String>,
}

/// Reads the file; a missing file excludes no interface. The expressions are unanchored unless they have anchors.
///
/// # Errors
/// When the file cannot be read or parsed, or an expression is invalid.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Regex>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).with_context(|| format!("interface exclusion file {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<Regex>> {
    let file: File = serde_saphyr::from_str(text)?;
    let compile = |pattern: &String| {
        Regex::new(pattern).with_context(|| format!("{pattern:?} is no regular expression"))
    };
    file.patterns.iter().map(compile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_unanchored_unless_they_anchor_themselves() {
        let patterns = parse("announcedInterfacesToExclude: [\"^veth.*\", \"lo$\", docker]").expect("valid");
        let excluded = |name: &str| patterns.iter().any(|p| p.is_match(name));
        assert!(excluded("veth1") && excluded("lo") && excluded("my-docker0"));
        assert!(!excluded("eth0") && !excluded("xveth1"));
    }

    #[test]
    fn errors_name_their_cause() {
        let error = |text: &str| format!("{:#}", parse(text).expect_err("an error"));
        assert!(error("announcedInterfacesToExclude: ['(']").contains("\"(\" is no regular expression"));
        assert!(error("announcedInterfacesToExcude: [a]").contains("announcedInterfacesToExcude"));
    }

    #[test]
    fn a_missing_file_excludes_nothing() {
        assert!(read(Path::new("/nonexistent/excludel2.yaml")).is_ok_and(|patterns| patterns.is_empty()));
    }
}
