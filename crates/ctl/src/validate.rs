//! `heraldctl validate`: checks manifests before they are applied, without a cluster.
//!
//! Each step looks at what the step before it left: the syntax ([`yaml`]), what every object has ([`object`]), the definition of the
//! kind ([`schema`]), and what the controller and its webhook would say of the resources together ([`config`], [`service`]).

mod config;
mod file;
mod finding;
mod mistake;
mod name;
pub(crate) mod node;
mod object;
mod path;
mod report;
mod schema;
mod service;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueHint};

use crate::convert;
use crate::output::{self, OutputArgs};
use config::Configurations;
pub use file::{FileError, ManifestFile};
use finding::{Finding, Findings};
use mistake::{Mistake, SchemaMistake, SyntaxMistake};
pub(crate) use name::broken_resource_rule;
use object::{ManifestObject, ObjectReader};
use path::FieldPath;
pub use report::{FindingReport, Validation};
use schema::Schemas;

/// The exit status if the command line or a file cannot be used.
const UNUSABLE: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// A file with manifests, a directory with such files, or - for the standard input. May be given several times: all files are
    /// checked together.
    #[arg(long = "filename", short, required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// The spec.loadBalancerClass of the Services that Herald handles (loadBalancerClass in the values of the chart); if not given,
    /// those without a class. The requests of other Services are not checked.
    #[arg(long, value_name = "CLASS")]
    load_balancer_class: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `heraldctl validate`: 0 is success, 1 that there are mistakes, 2 that a file cannot be read.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let files = match ManifestFile::read_all(&args.files) {
        Ok(files) => files,
        Err(errors) => return Ok(unusable(&errors)),
    };
    let validation = validate(&files, args.load_balancer_class.as_deref());
    args.output.print(&validation)?;
    Ok(match validation.mistakes {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Says which files cannot be read.
pub(crate) fn unusable(errors: &[FileError]) -> ExitCode {
    for error in errors {
        let text = output::escaped(&error.to_string());
        anstream::eprintln!("{}: {text}", output::error("error"));
    }
    ExitCode::from(UNUSABLE)
}

/// Checks files together. Herald handles the Services of `class`, or those without one.
pub fn validate(files: &[ManifestFile], class: Option<&str>) -> Validation {
    let mut findings = Findings::default();
    let mut documents = Vec::new();
    for (file, ManifestFile { text, .. }) in files.iter().enumerate() {
        for document in yaml::parse(text) {
            for error in document.mistakes {
                let finding = findings.add(file, error.span, error.mistake.into());
                finding.first = error.first.map(|span| (file, span));
            }
            documents.extend(document.root.map(|root| (file, root)));
        }
    }
    let schemas = Schemas::of_this_version();
    let mut reader = ObjectReader {
        schemas,
        findings: &mut findings,
        seen: BTreeMap::new(),
    };
    let mut objects = Vec::new();
    for (file, root) in &documents {
        reader.read(*file, root, &mut objects);
    }
    let count = objects.len();
    objects.retain(|object| !is_template(object, &mut findings));
    check(&objects, schemas, class, &mut findings);
    let findings = without_repetitions(findings.0);
    Validation::new(files, count, findings)
}

/// Checks objects whose version and kind are known.
fn check(objects: &[ManifestObject<'_>], schemas: &Schemas, class: Option<&str>, findings: &mut Findings) {
    let mut is_broken = Vec::new();
    for object in objects {
        let before = findings.0.len();
        schemas.check(object, findings);
        is_broken.push(findings.0.len() > before);
        if object.is("v1", "ConfigMap") {
            check_config_map(object, findings);
        }
    }
    let configurations = Configurations::read(objects, &is_broken, findings);
    configurations.check(findings);
    let services = objects.iter().filter(|object| object.is("v1", "Service"));
    for service in services {
        service::check(service, class, &configurations, findings);
    }
}

fn check_config_map(object: &ManifestObject<'_>, findings: &mut Findings) {
    if convert::old_configuration(object.node).is_some() {
        let field = FieldPath::parse("data.config");
        let span = field.locate_key(object.node);
        findings.push_object(object, span, Some(field), Mistake::OldConfigMap);
    }
}

/// Whether the `spec` of an object that is checked field by field has a text with an expression of a template; adds that it does.
fn is_template(object: &ManifestObject<'_>, findings: &mut Findings) -> bool {
    let is_checked = object.api_version.starts_with("metallb.io/") || object.is("v1", "Service");
    let spec = object.node.child("spec").filter(|_| is_checked);
    let Some(found) = spec.and_then(|spec| spec.find_text(yaml::TEMPLATE)) else {
        return false;
    };
    let mistake = SyntaxMistake::Template.into();
    findings.push_object(object, found.span.clone(), None, mistake);
    true
}

/// Returns the findings by place, without those of a definition about a field whose problem the controller names, too.
fn without_repetitions(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut problems: BTreeMap<_, Vec<FieldPath>> = BTreeMap::new();
    for finding in &findings {
        if let (Mistake::Config(_), Some(field)) = (&finding.mistake, &finding.field) {
            let of_object = problems
                .entry((finding.file, finding.object.clone()))
                .or_default();
            of_object.push(field.clone());
        }
    }
    findings.retain(|finding| {
        let is_of_value = matches!(
            finding.mistake,
            Mistake::Schema(
                SchemaMistake::Bound { .. } | SchemaMistake::Length { .. } | SchemaMistake::Pattern { .. }
            )
        );
        let of_object = problems.get(&(finding.file, finding.object.clone()));
        let mut fields = of_object.into_iter().flatten();
        let is_named = |field: &FieldPath| finding.field.as_ref().is_some_and(|own| own.overlaps(field));
        !is_of_value || !fields.any(is_named)
    });
    findings.sort_by_key(|finding| (finding.file, finding.span.start));
    findings
}
