//! Text of others: names, annotations and messages that a tenant or another program wrote.

use std::fmt::Write;

use jiff::Timestamp;

use super::warning;

/// Returns the text with its control characters escaped, so that it changes nothing on a terminal. Those that change the direction
/// of text, or are not visible, count as control characters (Unicode category Cf).
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_format(character) {
            // Writing to a String does not fail.
            let _written = write!(escaped, "{}", character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The styles of [`crate::output`], as a terminal gets them.
pub(crate) const STYLES: [&str; 6] = [
    "\u{1b}[0m",
    "\u{1b}[1m",
    "\u{1b}[2m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[33m",
];

/// Returns a text of several lines with its control characters escaped, but for its line ends and its styles: whatever part of it
/// another wrote, it changes nothing on a terminal but weight and colour.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let style = STYLES.iter().find(|style| rest.starts_with(**style));
        let length = style.map_or_else(|| character.len_utf8(), |style| style.len());
        let (part, after) = rest.split_at(length);
        if style.is_some() || character == '\n' {
            harmless.push_str(part);
        } else {
            harmless.push_str(&escaped(part));
        }
        rest = after;
    }
    harmless
}

/// Returns the text in quotation marks, escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Returns how long ago a time of RFC 3339 was, in one unit, as kubectl shows it.
pub(crate) fn age(time: &str, today: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else {
        return "unknown".to_owned();
    };
    let seconds = today.duration_since(time).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The characters of a bar.
const BAR: usize = 20;

/// Returns a bar of how much of a capacity is in use.
pub(crate) fn bar(used: u64, capacity: u64) -> String {
    let full = u128::from(used) * BAR as u128 / u128::from(capacity.max(1));
    // Something in use is visible.
    let full = usize::try_from(full)
        .unwrap_or_default()
        .max(usize::from(used > 0))
        .min(BAR);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

/// Returns the section that names what could not be read; empty if there is nothing.
pub(crate) fn unknown_text(unknown: &[String]) -> String {
    if unknown.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", warning("Unknown"));
    for line in unknown {
        text += &format!("  {}\n", escaped(line));
    }
    text
}

/// The characters of category Cf that terminals and browsers act on.
const fn is_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let today: Timestamp = "2026-01-03T00:00:00Z".parse().expect("a time");
        for (time, expected) in [
            ("2026-01-02T23:59:01Z", "59s"),
            ("2026-01-02T23:00:00Z", "60m"),
            ("2026-01-02T00:00:00Z", "24h"),
            ("2025-12-03T00:00:00.5Z", "30d"),
            ("2026-01-03T00:00:09Z", "0s"),
            ("soon", "unknown"),
        ] {
            assert_eq!(age(time, today), expected);
        }
    }

    #[test]
    fn a_bar_shows_what_is_in_use() {
        assert_eq!(bar(0, 10), "[....................]");
        assert_eq!(bar(1, 1000), "[#...................]");
        assert_eq!(bar(10, 10), "[####################]");
        assert_eq!(bar(u64::MAX, u64::MAX), "[####################]");
    }

    #[test]
    fn only_line_ends_and_styles_of_ours_reach_the_terminal() {
        let text = format!("{}\n\u{1b}[2Jx\u{1b}]0;t\u{7}\u{202e}", warning("w"));
        let expected = format!("{}\n\\u{{1b}}[2Jx\\u{{1b}}]0;t\\u{{7}}\\u{{202e}}", warning("w"));
        assert_eq!(harmless(&text), expected);
        assert_eq!(harmless(&crate::output::error("e")), crate::output::error("e"));
        assert_eq!(harmless(&crate::output::faint("f")), crate::output::faint("f"));
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        let text = "web\u{1b}[2Jü\u{202e}\n";
        assert_eq!(escaped(text), "web\\u{1b}[2Jü\\u{202e}\\u{a}");
    }
}
