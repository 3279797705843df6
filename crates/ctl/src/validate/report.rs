//! The result, as text with the lines of the files, and as data.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::file::ManifestFile;
use super::finding::Finding;
use crate::output::{self, Printable, escaped};

/// The result of a validation.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    /// The number of files.
    pub files: usize,
    /// The number of objects in them.
    pub objects: usize,
    /// The number of mistakes.
    pub mistakes: usize,
    /// The number of warnings.
    pub warnings: usize,
    /// The mistakes and warnings, by place.
    pub findings: Vec<FindingReport>,
}

/// A mistake or a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingReport {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The kind of the object, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name of the object, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The field, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The finding with the lines of the file.
    #[serde(skip)]
    snippet: String,
}

impl Validation {
    pub(super) fn new(files: &[ManifestFile], objects: usize, findings: Vec<Finding>) -> Self {
        let lines: Vec<FileLines> = files.iter().map(FileLines::new).collect();
        let findings: Vec<FindingReport> = findings
            .iter()
            .map(|finding| FindingReport::new(finding, files, &lines))
            .collect();
        let is_warning = |finding: &&FindingReport| finding.severity == WARNING;
        let warnings = findings.iter().filter(is_warning).count();
        Self {
            files: files.len(),
            objects,
            mistakes: findings.len() - warnings,
            warnings,
            findings,
        }
    }

    fn summary(&self) -> String {
        let counts = [count(self.files, "file"), count(self.objects, "object")].join(", ");
        let found = match (self.mistakes, self.warnings) {
            (0, 0) => "no mistakes".to_owned(),
            (0, warnings) => format!("no mistakes, {}", count(warnings, "warning")),
            (mistakes, 0) => count(mistakes, "mistake"),
            (mistakes, warnings) => format!("{}, {}", count(mistakes, "mistake"), count(warnings, "warning")),
        };
        let style = match (self.mistakes, self.warnings) {
            (0, 0) => output::good,
            (0, _) => output::warning,
            _ => output::error,
        };
        format!("{counts}: {}\n", style(&found))
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl Printable for Validation {
    fn text(&self, _is_wide: bool) -> String {
        let findings = self
            .findings
            .iter()
            .map(|finding| format!("{}\n\n", finding.snippet));
        findings.chain([self.summary()]).collect()
    }
}

impl Validation {
    /// Returns the result as text without colours.
    pub fn plain_text(&self) -> String {
        anstream::adapter::strip_str(&self.text(false)).to_string()
    }
}

const ERROR: &str = "error";
const WARNING: &str = "warning";

impl FindingReport {
    fn new(finding: &Finding, files: &[ManifestFile], lines: &[FileLines]) -> Self {
        let place = Excerpt::new(finding.file, &finding.span, files, lines);
        let kind = finding.object.as_ref().map(|(kind, _)| escaped(kind));
        let name = finding.object.as_ref().map(|(_, name)| escaped(name));
        let field = finding.field.as_ref().filter(|field| !field.is_empty());
        let is_warning = finding.mistake.is_warning();
        let mut report = Self {
            file: place.file.to_owned(),
            line: place.line,
            column: place.column,
            severity: if is_warning { WARNING } else { ERROR },
            kind,
            name: name.filter(|name| !name.is_empty()),
            field: field.map(|field| escaped(&field.to_string())),
            message: escaped(&finding.mistake.to_string()),
            snippet: String::new(),
        };
        let title = report.title();
        let level = if is_warning { Level::WARNING } else { Level::ERROR };
        let group = Group::with_title(level.primary_title(&title));
        let mut groups = vec![match finding.mistake.is_secret() {
            true => group.element(place.origin()),
            false => place.show(group),
        }];
        if let Some((file, span)) = &finding.first {
            let first = Excerpt::new(*file, span, files, lines);
            let title = Level::NOTE.secondary_title("the other one is here");
            groups.push(first.show(Group::with_title(title)));
        }
        report.snippet = Renderer::styled().render(&groups);
        report
    }

    fn title(&self) -> String {
        let object = match (&self.kind, &self.name) {
            (Some(kind), Some(name)) => format!("{kind} \"{name}\": "),
            (Some(kind), None) => format!("{kind}: "),
            (None, _) => String::new(),
        };
        let field = self
            .field
            .as_ref()
            .map_or_else(String::new, |field| format!("{field}: "));
        format!("{object}{field}{}", self.message)
    }
}

/// Where the lines of a file start and how many characters are before each block, so that a place is found without reading all of it,
/// or all of its line.
struct FileLines {
    /// The name of the file as it is shown.
    name: String,
    starts: Vec<usize>,
    /// The characters before each block of [`BLOCK`] bytes.
    characters: Vec<usize>,
}

/// The bytes of a block whose characters are counted for each place.
const BLOCK: usize = 1024;

impl FileLines {
    fn new(file: &ManifestFile) -> Self {
        let ends = file.text.match_indices('\n').map(|(end, _)| end + 1);
        let blocks = file.text.as_bytes().chunks(BLOCK).map(characters);
        let to_ends = blocks.scan(0, |before, block| {
            *before += block;
            Some(*before)
        });
        Self {
            name: escaped(&file.name),
            starts: std::iter::once(0).chain(ends).collect(),
            characters: std::iter::once(0).chain(to_ends).collect(),
        }
    }

    /// Returns the line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Returns the bytes of a line, from 1, without its end.
    fn range(&self, line: usize, text: &str) -> Range<usize> {
        let next = self.starts.get(line);
        self.starts[line - 1]..next.map_or(text.len(), |next| next - 1)
    }

    /// Returns how many characters are before an offset.
    fn characters_before(&self, offset: usize, text: &str) -> usize {
        let block = offset / BLOCK;
        self.characters[block] + characters(&text.as_bytes()[block * BLOCK..offset])
    }
}

/// Returns how many characters start in a part of a text in UTF-8.
fn characters(part: &[u8]) -> usize {
    let is_first = |byte: &&u8| !matches!(**byte, 0x80..=0xbf);
    part.iter().filter(is_first).count()
}

/// The line of a place, or what fits of it.
struct Excerpt<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    text: &'a str,
    /// Whether this is a part of the line.
    is_cut: bool,
    /// The place in `text`.
    span: Range<usize>,
}

/// The longest line that is shown as a whole, in bytes.
const LONGEST_LINE: usize = 4096;
/// How many bytes of a longer line are shown before and after the start of a place.
const BEFORE: usize = 40;
const AFTER: usize = 80;

impl<'a> Excerpt<'a> {
    fn new(file: usize, span: &Range<usize>, files: &'a [ManifestFile], lines: &'a [FileLines]) -> Self {
        let text = &files[file].text;
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line = lines[file].line(start);
        let mut whole = lines[file].range(line, text);
        // The end of a line of Windows is not shown.
        if text[start..whole.end].ends_with('\r') {
            whole.end -= 1;
        }
        let is_cut = whole.len() > LONGEST_LINE;
        let shown = if is_cut {
            let from = text.ceil_char_boundary(start.saturating_sub(BEFORE));
            let to = text.floor_char_boundary((start + AFTER).min(text.len()));
            whole.start.max(from)..whole.end.min(to)
        } else {
            whole.clone()
        };
        let end = text.floor_char_boundary(span.end).clamp(start, shown.end);
        Self {
            file: &lines[file].name,
            line,
            column: lines[file].characters_before(start, text)
                - lines[file].characters_before(whole.start, text)
                + 1,
            text: &text[shown.clone()],
            is_cut,
            span: start - shown.start..end - shown.start,
        }
    }

    fn show(&self, group: Group<'a>) -> Group<'a> {
        let annotation = AnnotationKind::Primary.span(self.span.clone());
        let snippet = Snippet::source(self.text)
            .line_start(self.line)
            .annotation(annotation);
        if !self.is_cut {
            return group.element(snippet.path(self.file));
        }
        // Of a part of a line the column would be counted in the part.
        group.element(self.origin()).element(snippet)
    }

    fn origin(&self) -> Origin<'a> {
        let origin = Origin::path(self.file).line(self.line);
        origin.char_column(self.column)
    }
}
