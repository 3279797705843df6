//! Tables as kubectl prints them: columns padded with blanks, a heading in capitals.

use std::fmt::Write;

use super::heading;
use super::text::escaped;

/// Blanks between two columns, as kubectl has them.
const GAP: usize = 3;

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// A text of the table and how it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Option<fn(&str) -> String>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: escaped(&text.into()),
            style: None,
        }
    }
}

impl Cell {
    fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// Shows the cell in a style of [`crate::output`].
    pub(crate) fn styled(self, style: fn(&str) -> String) -> Self {
        Self {
            style: Some(style),
            ..self
        }
    }
}

impl Table {
    /// Creates a table with these columns.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Its control characters are escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has no row.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the text of the table, each line after `indent` blanks.
    pub(crate) fn text(&self, indent: usize) -> String {
        let width = |column: usize, name: &String| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(Cell::width);
            widths.chain([name.chars().count()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = self
            .heading
            .iter()
            .enumerate()
            .map(|(column, name)| width(column, name))
            .collect();
        let names = self
            .heading
            .iter()
            .map(|name| Cell::from(name.as_str()).styled(heading));
        let mut text = String::new();
        for row in std::iter::once(names.collect::<Vec<_>>()).chain(self.rows.iter().cloned()) {
            let last = row
                .iter()
                .rposition(|cell| !cell.text.is_empty())
                .unwrap_or_default();
            let _written = write!(text, "{:indent$}", "");
            for (column, cell) in row.iter().enumerate().take(last + 1) {
                let shown = cell
                    .style
                    .map_or_else(|| cell.text.clone(), |style| style(&cell.text));
                text.push_str(&shown);
                if column < last {
                    let width = widths.get(column).copied().unwrap_or_default();
                    let blanks = width.saturating_sub(cell.width()) + GAP;
                    let _written = write!(text, "{:blanks$}", "");
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text_and_lines_end_without_blanks() {
        let mut table = Table::new(&["NAME", "ADDRESS", "REASON"]);
        table.row(["default/web".into(), "192.0.2.1".into(), "".into()]);
        table.row([
            "a".into(),
            Cell::from("\u{1b}x").styled(|text| format!("<{text}>")),
            "why".into(),
        ]);
        let text = anstream::adapter::strip_str(&table.text(2)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  NAME          ADDRESS     REASON");
        assert_eq!(lines[1], "  default/web   192.0.2.1");
        assert_eq!(lines[2], "  a             <\\u{1b}x>     why");
    }
}
