//! How results are printed: as text with tables and colour on a terminal, as JSON or as YAML.

mod table;
mod text;

use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use table::{Cell, Table};
pub(crate) use text::{STYLES, age, bar, escaped, harmless, quoted, unknown_text};

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As text, with more columns.
    Wide,
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
}

/// The flag for the form of the output.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// The form of the output; text by default.
    #[arg(long, short, value_enum, global = true)]
    output: Option<Format>,
}

/// A result that can be printed as text.
pub(crate) trait Printable: Serialize {
    /// Returns the text, with the details that `-o wide` shows.
    fn text(&self, is_wide: bool) -> String;
}

impl OutputArgs {
    /// Prints a result.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn print(self, report: &impl Printable) -> anyhow::Result<()> {
        let text = match self.output {
            None => harmless(&report.text(false)),
            Some(Format::Wide) => harmless(&report.text(true)),
            Some(Format::Json) => format!("{}\n", serde_json::to_string_pretty(report)?),
            Some(Format::Yaml) => serde_saphyr::to_string(report).context("writing YAML")?,
        };
        print(&text)
    }
}

/// Prints text; without colours if the output is no terminal.
///
/// # Errors
/// When it cannot be written. A reader that has enough, such as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write(anstream::stdout().lock(), text.as_bytes())
}

/// Prints bytes as they are.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    write(std::io::stdout().lock(), bytes)
}

fn write(mut out: impl Write, bytes: &[u8]) -> anyhow::Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing the output"),
    }
}

/// Clears the terminal and goes to its beginning, for the next of several views; a file gets all views.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn clear() -> anyhow::Result<()> {
    print("\u{1b}[2J\u{1b}[H")
}

/// Waits for the next view. Returns whether the user has interrupted that.
///
/// # Errors
/// When interrupts cannot be waited for.
pub(crate) async fn is_interrupted_within(period: Duration) -> anyhow::Result<bool> {
    tokio::select! {
        () = tokio::time::sleep(period) => Ok(false),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| true).context("waiting for an interrupt"),
    }
}

/// Returns a text in the style of errors.
pub(crate) fn error(text: &str) -> String {
    styled(text, AnsiColor::Red.on_default().bold())
}

/// Returns a text in the style of warnings.
pub(crate) fn warning(text: &str) -> String {
    styled(text, AnsiColor::Yellow.on_default().bold())
}

/// Returns a text in the style of what is as it should be.
pub(crate) fn good(text: &str) -> String {
    styled(text, AnsiColor::Green.on_default())
}

/// Returns a text in the style of headings.
pub(crate) fn heading(text: &str) -> String {
    styled(text, Style::new().bold())
}

/// Returns a text in the style of what is less important.
pub(crate) fn faint(text: &str) -> String {
    styled(text, Style::new().dimmed())
}

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}
