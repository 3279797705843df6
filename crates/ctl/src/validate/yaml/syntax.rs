//! What is wrong with a text that is no YAML, in words that help.

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use super::{MOST_DEPTH, MarkedDocument, SyntaxError, error};
use crate::validate::mistake::SyntaxMistake;

/// Returns the place and the kind of an error of the scanner.
pub(super) fn scan_error(text: &str, found: &ScanError) -> SyntaxError {
    let offset = found.marker().byte_offset().unwrap_or_default().min(text.len());
    let start = text.floor_char_boundary(offset);
    let end = text.ceil_char_boundary((start + 1).min(text.len()));
    // The scanner may read on to the next line before it stumbles over a tab.
    let this = line(text, start);
    let next = (this.end < text.len()).then(|| line(text, this.end + 1));
    let mut tabs = [Some(this), next].into_iter().flatten();
    if matches!(found.kind(), ErrorKind::RecursionLimitExceeded) {
        return error(&(start..end), SyntaxMistake::TooDeep(MOST_DEPTH));
    }
    if let Some(tab) = tabs.find_map(|line| tab_before(text, line.end)) {
        return error(&tab, SyntaxMistake::Tab);
    }
    if let Some((span, mistake)) = without_blank(text, start) {
        return error(&span, mistake);
    }
    let (text, hint) = (found.info(), hint(found.kind()));
    error(&(start..end), SyntaxMistake::Other { text, hint })
}

/// Returns what is to be done about an error of the scanner, where that is always the same.
#[expect(clippy::wildcard_enum_match_arm, reason = "of most errors it is not")]
const fn hint(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::UnexpectedCharacter { .. } | ErrorKind::UnknownAnchor => "; put the text in quotes",
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            "; put a text with a colon in quotes, and each field on a line of its own"
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            "; indent all fields of a mapping by the same number of blanks"
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            "; indent all entries of a list by the same number of blanks"
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::UnclosedFlowCollection { .. } => "; close it",
        _ => "",
    }
}

/// Returns the first tab that an offset is indented with.
pub(super) fn tab_before(text: &str, offset: usize) -> Option<Range<usize>> {
    let start = line(text, offset).start;
    let indent = text[start..offset].len() - text[start..offset].trim_start_matches([' ', '\t']).len();
    let tab = start + text[start..start + indent].find('\t')?;
    Some(tab..tab + 1)
}

/// Returns the place of a line such as `kind:Service` or `-entry`, and what it lacks, if the scanner stumbled over it: the line of an
/// offset or the one before.
fn without_blank(text: &str, offset: usize) -> Option<(Range<usize>, SyntaxMistake)> {
    let this = line(text, offset);
    let before = this.start.checked_sub(1).map(|end| line(text, end));
    [Some(this), before].into_iter().flatten().find_map(|line| {
        let content = text[line.clone()].trim();
        let start = line.start + (line.len() - text[line].trim_start().len());
        let mistake = match (split_at_colon(content), after_dash(content)) {
            (Some((key, value)), _) => SyntaxMistake::NoBlankAfterColon {
                key: key.to_owned(),
                value: value.to_owned(),
            },
            (None, Some(entry)) => SyntaxMistake::NoBlankAfterDash(entry.to_owned()),
            (None, None) => return None,
        };
        Some((start..start + content.len(), mistake))
    })
}

/// Returns the rest of a text such as `-entry`, which lacks the blank after the dash.
pub(crate) fn after_dash(text: &str) -> Option<&str> {
    let entry = text.strip_prefix('-')?;
    let is_entry = entry.starts_with(|first: char| first.is_ascii_alphanumeric() || "\"'{[".contains(first));
    is_entry.then_some(entry)
}

/// Splits a text such as `kind:Service`, which lacks the blank after the colon.
pub(crate) fn split_at_colon(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let is_key = !key.is_empty()
        && key
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "-_./".contains(char));
    let is_value = value.starts_with(|first: char| first.is_ascii_alphanumeric());
    (is_key && is_value).then_some((key, value))
}

/// Returns the bytes of the line that an offset is in, without its end.
fn line(text: &str, offset: usize) -> Range<usize> {
    let start = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |end| offset + end);
    start..end
}

/// The beginning of an expression of a Helm template.
pub(crate) const TEMPLATE: &str = "{{";

/// Names a document with an error for what it is if it is a Helm template: it has an expression that is not in quotes or a comment.
/// The place is the first one in the line of the error or after it, or else the first one before it.
pub(super) fn mark_template(text: &str, document: &mut MarkedDocument) -> bool {
    let Some(broken) = document.mistakes.last_mut() else {
        return false;
    };
    let middle = line(text, broken.span.start).start;
    let start = text[..middle].rfind(SEPARATOR).unwrap_or_default();
    let end = text[middle..]
        .find(SEPARATOR)
        .map_or(text.len(), |end| middle + end);
    let expression = expression(text, middle..end).or_else(|| expression(text, start..middle));
    let Some(span) = expression else {
        return false;
    };
    *broken = error(&span, SyntaxMistake::Template);
    true
}

/// The beginning of the next document.
const SEPARATOR: &str = "\n---";

/// Returns the first expression of a template in `range`, which starts with a line, that is not in quotes or a comment.
fn expression(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let mut start = range.start;
    let mut places = text[range].split_inclusive('\n').filter_map(|line| {
        let of_line = start;
        start += line.len();
        let before = line.find(TEMPLATE)?;
        // What is in quotes or a comment is all that follows, too.
        (!line[..before].contains(['"', '\'', '#'])).then_some(of_line + before)
    });
    let start = places.next()?;
    Some(start..start + TEMPLATE.len())
}
