//! The text of an explanation for the page: its styles as names, without control characters.

use serde::Serialize;

use crate::output::STYLES;

/// A part of a text in one style.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct TextSpan<'a> {
    style: &'static str,
    text: &'a str,
}

/// The names of [`STYLES`]; the first ends a style.
const NAMES: [&str; STYLES.len()] = ["", "bold", "faint", "error", "good", "warning"];

/// Returns the parts of a text that is as [`crate::output::harmless`] returns it. The last style that begins is in force.
pub(super) fn spans(text: &str) -> Vec<TextSpan<'_>> {
    let mut spans = Vec::new();
    let mut style = "";
    for part in text.split('\u{1b}') {
        let begun = STYLES.iter().zip(NAMES).find_map(|(sequence, name)| {
            let rest = part.strip_prefix(sequence.trim_start_matches('\u{1b}'))?;
            Some((name, rest))
        });
        let text = match begun {
            Some((name, rest)) => {
                style = name;
                rest
            }
            // The part before the first style.
            None => part,
        };
        if !text.is_empty() {
            spans.push(TextSpan { style, text });
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{harmless, heading, warning};

    #[test]
    fn styles_become_names_and_nothing_else_does() {
        let text = format!("a {}\nb {}\u{1b}[2J<b>", heading("h"), warning("w"));
        let text = harmless(&text);
        let spans = spans(&text);
        let spans: Vec<(&str, &str)> = spans.iter().map(|span| (span.style, span.text)).collect();
        let expected = [
            ("", "a "),
            ("bold", "h"),
            ("", "\nb "),
            ("warning", "w"),
            ("", "\\u{1b}[2J<b>"),
        ];
        assert_eq!(spans, expected);
    }
}
