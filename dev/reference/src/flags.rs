//! The flags of both programs, as their `--help` has them.

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

fn row(flag: &Arg) -> [String; 4] {
    let name = format!("--{}", flag.get_long().unwrap_or_default());
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
