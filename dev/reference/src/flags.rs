//! The flags of all programs, as their `--help` has them.

use clap::{Arg, Args as _, Command};

use crate::page::{Page, code};

/// Returns the page of the flags.
pub(crate) fn page() -> String {
    let mut page = Page::new("Flags");
    page.paragraph(
        "The chart sets these flags from its [values](../install/values.md). A flag whose environment variable is named \
         can be set by that, too. Both programs find the API server by `KUBECONFIG`, or by the service account of their Pod.",
    );
    let controller = herald_controller::ControllerArgs::augment_args(Command::new("herald-controller"));
    let speaker = herald_speaker::Args::augment_args(Command::new("herald-speaker"));
    for command in [controller, speaker] {
        page.heading(command.get_name());
        let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
        page.table(["flag", "environment", "default", ""], flags.map(row));
    }
    page.finish()
}

/// Returns the page of heraldctl: its commands, with their arguments and flags. Flags that all commands which read a cluster have come
/// last.
pub(crate) fn heraldctl() -> String {
    let mut page = Page::new("heraldctl");
    page.paragraph("What it is for: [Find out why](../tasks/explain.md). The form of the output and the way to the cluster are at the end.");
    let mut command = herald_ctl::command();
    command.build();
    let mut common = Vec::new();
    for command in leaves(&command, "heraldctl") {
        let (name, command) = command;
        page.heading(&name);
        let about = command.get_long_about().or_else(|| command.get_about());
        page.paragraph(&sentence(&about.map(ToString::to_string).unwrap_or_default()));
        let shown = command.get_arguments().filter(|argument| !is_built_in(argument));
        let (of_all, own): (Vec<&Arg>, Vec<&Arg>) = shown.partition(|argument| argument.is_global_set());
        if common.is_empty() {
            common = of_all.into_iter().map(row).collect();
        }
        if !own.is_empty() {
            page.table(
                ["argument or flag", "environment", "default", ""],
                own.into_iter().map(row),
            );
        }
    }
    page.heading("Flags of all commands that read a cluster");
    page.table(["flag", "environment", "default", ""], common);
    page.finish()
}

/// Returns the commands that have no commands of their own, with their full names.
fn leaves<'a>(command: &'a Command, name: &str) -> Vec<(String, &'a Command)> {
    let mut found = Vec::new();
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        let name = format!("{name} {}", inner.get_name());
        if inner.get_subcommands().next().is_some() {
            found.extend(leaves(inner, &name));
        } else {
            found.push((name, inner));
        }
    }
    found
}

fn is_built_in(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version") || argument.is_hide_set()
}

fn row(flag: &Arg) -> [String; 4] {
    let name = match flag.get_long() {
        Some(long) => format!("--{long}"),
        None => flag.get_id().to_string().to_uppercase(),
    };
    let environment = flag.get_env().map(|name| name.to_string_lossy().into_owned());
    let defaults = flag.get_default_values().iter();
    let default: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    let default = if flag.is_required_set() {
        "required".to_owned()
    } else {
        code(&default.join(","))
    };
    let help = flag.get_long_help().or_else(|| flag.get_help());
    let mut help = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let possible = flag.get_possible_values();
    let values: Vec<String> = possible.iter().map(|value| code(value.get_name())).collect();
    // A flag for yes or no takes both as a value.
    if flag.get_value_parser().type_id() != std::any::TypeId::of::<bool>() && !values.is_empty() {
        help = format!("{help} One of {}.", values.join(", "));
    }
    [code(&name), code(&environment.unwrap_or_default()), default, help]
}

/// Returns the text with a full stop: clap removes it from doc comments of one paragraph.
fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}
