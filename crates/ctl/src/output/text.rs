//! Text of others: names, annotations and messages that a tenant or another program wrote.

use std::fmt::Write;

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
    fn what_a_terminal_would_act_on_is_escaped() {
        let text = "web\u{1b}[2Jü\u{202e}\n";
        assert_eq!(escaped(text), "web\\u{1b}[2Jü\\u{202e}\\u{a}");
    }
}
