//! The metrics of both programs: name, type, labels and help, where the code makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprMethodCall, ExprTuple, Local, Pat};

use crate::page::{Page, code};
use crate::source::{self, text_of};

/// The prefixes of the names of metrics.
const PREFIXES: [&str; 3] = ["herald_", "leader_election_", "metallb_"];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    name: String,
    kind: String,
    labels: Vec<String>,
    help: String,
}

/// Returns the page of the metrics.
pub(crate) fn page() -> anyhow::Result<String> {
    let controller = metrics_in("crates/controller/src")?;
    let speaker = metrics_in("crates/speaker/src")?;
    let mut both = metrics_in("crates/runtime/src")?;
    let shared: BTreeSet<Metric> = controller.intersection(&speaker).cloned().collect();
    both.extend(shared.iter().cloned());
    let mut page = Page::new("Metrics");
    page.paragraph(
        "Names with the prefix `metallb_` are those of MetalLB. [Monitoring](../monitoring.md) says which of them to watch. \
         Both programs serve those of their process (`process_`), too.",
    );
    for (title, metrics) in [
        ("Controller", &controller),
        ("Speaker", &speaker),
        ("Both", &both),
    ] {
        page.heading(title);
        let own = metrics
            .iter()
            .filter(|metric| title == "Both" || !shared.contains(metric));
        page.table(["metric", "type", "labels", ""], own.map(row));
    }
    page.heading("Reasons in labels");
    let labels = [
        (
            "herald_layer2_ignored_total",
            "crates/l2/src/announcer/answer.rs",
            "Ignored",
        ),
        (
            "herald_gossip_dropped_total",
            "crates/membership/src/codec.rs",
            "Rejection",
        ),
        (
            "herald_bgp_session_ends_total",
            "crates/bgp/src/session/end.rs",
            "SessionEnd",
        ),
    ];
    for (metric, path, name) in labels {
        page.subheading(&format!("`reason` of `{metric}`"));
        let reasons = source::reasons(path, name, &[])?;
        page.table(
            ["reason", "meaning"],
            reasons
                .into_iter()
                .map(|reason| [code(&reason.word), reason.meaning]),
        );
    }
    page.paragraph(
        "`send_failed` of `herald_gossip_dropped_total` is a datagram that the kernel refused to send.\n\n\
         The reasons of `herald_wire_reports_total` are those of [events of addresses](events.md#on-services-from-a-speaker).",
    );
    Ok(page.finish())
}

fn row(metric: &Metric) -> [String; 4] {
    let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
    [
        code(&metric.name),
        metric.kind.clone(),
        labels.join(", "),
        metric.help.clone(),
    ]
}

/// Returns the metrics that the files of a directory make.
fn metrics_in(directory: &str) -> anyhow::Result<BTreeSet<Metric>> {
    let mut found = BTreeSet::new();
    for file in rust_files(&source::in_repository(directory))? {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("parsing {}", file.display()))?;
        let constants = source::constants(&parsed);
        let mut visitor = Visitor {
            constants: constants
                .into_iter()
                .map(|(name, (value, _))| (name, value))
                .collect(),
            ..Visitor::default()
        };
        visitor.visit_file(&parsed);
        let named: BTreeSet<&String> = visitor.metrics.iter().map(|metric| &metric.name).collect();
        let overlooked: Vec<&String> = visitor
            .names
            .iter()
            .filter(|name| !named.contains(name))
            .collect();
        // A file that makes none only reads metrics, in tests.
        ensure!(
            named.is_empty() || overlooked.is_empty(),
            "{}: cannot tell type and help of {overlooked:?}",
            file.display()
        );
        found.extend(visitor.metrics);
    }
    Ok(found)
}

fn rust_files(directory: &Path) -> anyhow::Result<BTreeSet<std::path::PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path);
        }
    }
    Ok(files)
}

/// Finds where metrics are made: a call, or a row of a table, with name and help.
#[derive(Default)]
struct Visitor {
    constants: BTreeMap<String, String>,
    /// Closures that make a metric: the type and labels that they give it.
    closures: BTreeMap<String, (String, Vec<String>)>,
    /// The call around the present one: its type and labels.
    around: Option<(String, Vec<String>)>,
    /// The last call of that kind.
    made: Option<(String, Vec<String>)>,
    /// Literals of `let labels = ...`, and the type, of collectors that make their own series.
    own_labels: Vec<String>,
    own_kind: String,
    metrics: Vec<Metric>,
    /// All literals that look like the name of a metric.
    names: BTreeSet<String>,
}

impl Visitor {
    fn text(&self, expression: &Expr) -> Option<String> {
        if let Expr::Path(path) = expression {
            return self.constants.get(&path.path.get_ident()?.to_string()).cloned();
        }
        if let Expr::MethodCall(call) = expression {
            return self.text(&call.receiver).filter(|_| call.args.is_empty());
        }
        text_of(expression)
    }

    /// Handles a call with its last word: `counter`, `IntCounterVec`.
    fn call<'a>(&mut self, callee: &str, arguments: impl Iterator<Item = &'a Expr> + Clone) {
        let labels = arguments
            .clone()
            .find_map(|argument| self.strings(argument))
            .unwrap_or_default();
        let kind = kind(callee);
        let mut texts = arguments.map(|argument| self.text(argument));
        if let (Some(Some(name)), Some(Some(help))) = (texts.next(), texts.next())
            && is_metric(&name)
        {
            let around = self.closures.get(callee).or(self.around.as_ref()).cloned();
            let (kind, labels) = match (kind, around) {
                (Some(kind), _) => (kind, labels),
                (None, Some(around)) => around,
                (None, None) => (self.own_kind.clone(), self.own_labels.clone()),
            };
            self.metrics.push(Metric {
                name,
                kind,
                labels,
                help,
            });
        } else if let Some(kind) = kind {
            self.around = Some((kind, labels));
            self.made.clone_from(&self.around);
        }
    }

    fn strings(&self, expression: &Expr) -> Option<Vec<String>> {
        if let Expr::Reference(reference) = expression {
            return self.strings(&reference.expr);
        }
        let Expr::Array(array) = expression else {
            return None;
        };
        array.elems.iter().map(|element| self.text(element)).collect()
    }
}

/// Returns the type of the metric that a function of this name makes.
fn kind(callee: &str) -> Option<String> {
    let name = callee.to_lowercase();
    let kinds = ["counter", "gauge", "histogram"];
    kinds
        .into_iter()
        .find(|kind| name.contains(kind) && !name.contains("opts"))
        .map(str::to_owned)
}

fn is_metric(name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix) && name.len() > prefix.len())
        && name.chars().all(is_name)
}

impl<'a> Visit<'a> for Visitor {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_file(&mut self, file: &'a syn::File) {
        // Before the calls that need them.
        let tokens = file.to_token_stream().to_string();
        for kind in ["GAUGE", "COUNTER", "HISTOGRAM"] {
            if tokens.contains(&format!("MetricType :: {kind}")) {
                self.own_kind = kind.to_lowercase();
            }
        }
        if let Some((_, labels)) = tokens.split_once("let labels = ") {
            let statement = labels.split(';').next().unwrap_or_default();
            self.own_labels = statement
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
        }
        visit::visit_file(self, file);
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        // A table named by the type of its series.
        let outer = self.own_kind.clone();
        if let Some(kind) = kind(&item.ident.to_string()) {
            self.own_kind = kind;
        }
        visit::visit_item_const(self, item);
        self.own_kind = outer;
    }

    fn visit_local(&mut self, local: &'a Local) {
        if let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init)
            && let Expr::Closure(closure) = &*init.expr
        {
            let mut body = Self::default();
            body.visit_expr(&closure.body);
            if let Some(made) = body.made {
                self.closures.insert(name.ident.to_string(), made);
            }
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        let outer = self.around.clone();
        if let Expr::Path(path) = &*call.func {
            let words: Vec<String> = path
                .path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            self.call(
                words
                    .iter()
                    .rev()
                    .nth(1)
                    .or_else(|| words.first())
                    .map_or("", |word| word),
                call.args.iter(),
            );
        }
        visit::visit_expr_call(self, call);
        self.around = outer;
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        let outer = self.around.clone();
        self.call(&call.method.to_string(), call.args.iter());
        visit::visit_expr_method_call(self, call);
        self.around = outer;
    }

    fn visit_expr_tuple(&mut self, tuple: &'a ExprTuple) {
        self.call("", tuple.elems.iter());
        visit::visit_expr_tuple(self, tuple);
    }

    fn visit_lit_str(&mut self, text: &'a syn::LitStr) {
        if is_metric(&text.value()) && text.value() != "metallb_layer2" {
            self.names.insert(text.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_make_a_metric_is_understood() {
        let controller = metrics_in("crates/controller/src").expect("metrics");
        let speaker = metrics_in("crates/speaker/src").expect("metrics");
        let expected = [
            (
                &controller,
                "metallb_allocator_ipv4_addresses_total",
                "gauge",
                vec!["pool"],
            ),
            (
                &controller,
                "herald_status_writes_total",
                "counter",
                vec!["result"],
            ),
            (
                &speaker,
                "metallb_speaker_announced",
                "gauge",
                vec!["service", "protocol", "node", "ip"],
            ),
            (&speaker, "metallb_layer2_gratuitous_sent", "counter", vec!["ip"]),
            (&speaker, "metallb_bgp_session_up", "gauge", vec!["peer", "vrf"]),
            (&speaker, "metallb_bgp_opens_sent", "counter", vec!["peer", "vrf"]),
            (
                &speaker,
                "herald_bgp_session_ends_total",
                "counter",
                vec!["peer", "vrf", "established", "reason"],
            ),
            (&speaker, "herald_bgp_update_seconds", "histogram", vec![]),
            (&speaker, "herald_failover_seconds", "histogram", vec![]),
            (&speaker, "herald_layer2_ignored_total", "counter", vec!["reason"]),
            (&speaker, "herald_gossip_blocked", "gauge", vec![]),
        ];
        for (metrics, name, kind, labels) in expected {
            let metric = metrics.iter().find(|metric| metric.name == name);
            let metric = metric.unwrap_or_else(|| panic!("no metric {name}"));
            assert_eq!(
                (&*metric.kind, &metric.labels),
                (kind, &labels.into_iter().map(str::to_owned).collect()),
                "{name}"
            );
            assert!(!metric.help.is_empty());
        }
    }
}
