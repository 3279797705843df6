//! Markdown.

use std::fmt::Write as _;

/// A page under construction.
pub(crate) struct Page(String);

impl Page {
    /// Starts a page.
    pub(crate) fn new(title: &str) -> Self {
        Self(format!(
            "<!-- Written by `cargo run -p herald-reference`. Do not edit: change the code. -->\n\n# {title}\n"
        ))
    }

    /// Adds a heading of the second level.
    pub(crate) fn heading(&mut self, text: &str) {
        self.line(format_args!("\n## {text}"));
    }

    /// Adds a heading of the third level.
    pub(crate) fn subheading(&mut self, text: &str) {
        self.line(format_args!("\n### {text}"));
    }

    /// Adds a paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.line(format_args!("\n{text}"));
    }

    /// Adds a table.
    pub(crate) fn table<const COLUMNS: usize>(
        &mut self,
        columns: [&str; COLUMNS],
        rows: impl IntoIterator<Item = [String; COLUMNS]>,
    ) {
        self.line(format_args!("\n| {} |", columns.join(" | ")));
        self.line(format_args!("|{}", "---|".repeat(COLUMNS)));
        for row in rows {
            self.line(format_args!(
                "| {} |",
                row.map(|cell| cell_text(&cell)).join(" | ")
            ));
        }
    }

    /// Returns the text.
    pub(crate) fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{text}").expect("a String takes any text");
    }
}

/// Returns the text as a cell of a table may have it: on one line.
fn cell_text(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// Returns the text as code; nothing for no text.
pub(crate) fn code(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("`{text}`")
    }
}
