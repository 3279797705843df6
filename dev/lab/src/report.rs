//! What a failed test or benchmark shows.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Lab;
use crate::node::Node;
use crate::objects::NAMESPACE;

/// How many lines of each log a report shows.
const REPORTED_LINES: usize = 40;

impl Lab {
    /// Services, events, neighbour tables and logs, to find out why a test failed.
    pub async fn report(&self) -> String {
        let mut report = String::new();
        let services = self.cluster().services().await;
        let services = services.unwrap_or_else(|error| vec![format!("{error:#}")]);
        section(&mut report, "services", &services);
        for namespace in ["default", NAMESPACE] {
            let events = self
                .cluster()
                .events(namespace)
                .await
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            section(&mut report, &format!("events in {namespace}"), &events);
        }
        for host in self.nodes().iter().map(Node::host).chain([self.client()]) {
            let table = match host.links().neighbours().await {
                Ok(table) => table.iter().map(ToString::to_string).collect(),
                Err(error) => vec![format!("{error:#}")],
            };
            section(&mut report, &format!("neighbours of {}", host.name()), &table);
        }
        report + &ends_of_logs(self.logs())
    }
}

/// The last lines of each log in a directory.
pub fn ends_of_logs(directory: &Path) -> String {
    let mut report = String::new();
    let mut logs: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for log in logs {
        let text = fs::read_to_string(&log).unwrap_or_else(|error| error.to_string());
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let tail = &lines[lines.len().saturating_sub(REPORTED_LINES)..];
        section(&mut report, &format!("end of {}", log.display()), tail);
    }
    report
}

fn section(report: &mut String, title: &str, lines: &[String]) {
    // Writing to a String cannot fail.
    let _ = writeln!(report, "--- {title}");
    for line in lines {
        let _ = writeln!(report, "{line}");
    }
}
