//! Manifests as users write them: read document by document, so that a mistake in one is named and does not
//! stop the others.

use std::fmt;

use kube::api::DynamicObject;
use serde_json::Value;

/// One document of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    /// Where it comes from, e.g. a file name.
    pub source: &'a str,
    /// Its number in the file, counted from 1.
    pub number: usize,
    /// The line of the file on which it starts, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: &'a str,
}

/// What is wrong with a document, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The file.
    pub source: String,
    /// The document's number in the file, counted from 1.
    pub document: usize,
    /// The line on which the document starts, counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            document,
            line,
            message,
        } = self;
        write!(f, "{source}: document {document} (line {line}): {message}")
    }
}

impl std::error::Error for ManifestError {}

/// Splits a file at its `---` lines; documents of blanks and comments only are left out.
pub fn split<'a>(source: &'a str, yaml: &'a str) -> Vec<Document<'a>> {
    let mut documents = Vec::new();
    let mut start = (0, 1);
    let mut offset = 0;
    for (index, line) in yaml.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            documents.push((start.1, &yaml[start.0..offset]));
            start = (offset + line.len(), index + 2);
        }
        offset += line.len();
    }
    documents.push((start.1, &yaml[start.0..]));
    let written = documents.into_iter().filter(|(_, text)| !is_blank(text));
    written
        .enumerate()
        .map(|(index, (line, text))| Document {
            source,
            number: index + 1,
            line,
            text,
        })
        .collect()
}

fn is_blank(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#'))
}

impl Document<'_> {
    /// Reads the document as a Kubernetes object.
    pub fn parse(&self) -> Result<DynamicObject, ManifestError> {
        // Empty lines before it, so that the parser counts lines as the file does.
        let padded = "\n".repeat(self.line - 1) + self.text;
        let value: Value = serde_saphyr::from_str(&padded).map_err(|error| {
            let hint = self
                .missing_space()
                .map(|hint| format!("; {hint}"))
                .unwrap_or_default();
            self.error(format!("not valid YAML: {}{hint}", error.without_snippet()))
        })?;
        let fields = value.as_object().ok_or_else(|| {
            let hint = self
                .missing_space()
                .map(|hint| format!("; {hint}"))
                .unwrap_or_default();
            self.error(format!("not a mapping of fields but {value}{hint}"))
        })?;
        for wanted in ["apiVersion", "kind", "metadata"] {
            if !fields.contains_key(wanted) {
                let found = fields.keys().find(|key| key.eq_ignore_ascii_case(wanted));
                return Err(self.error(missing(wanted, found)));
            }
        }
        serde_json::from_value(value).map_err(|error| self.error(format!("not a Kubernetes object: {error}")))
    }

    /// The commonest slip of all: no space after a dash or a colon, which makes YAML read one word.
    fn missing_space(&self) -> Option<String> {
        self.text.lines().enumerate().find_map(|(index, text)| {
            let number = self.line + index;
            let text = text.trim();
            if let Some(item) = text
                .strip_prefix('-')
                .filter(|item| item.starts_with(char::is_alphanumeric))
            {
                return Some(format!(
                    "in line {number} write a space after the dash: \"- {item}\""
                ));
            }
            let (key, value) = text.split_once(':')?;
            let is_key = !key.is_empty() && key.chars().all(char::is_alphanumeric);
            let is_word = value.starts_with(char::is_alphanumeric);
            (is_key && is_word)
                .then(|| format!("in line {number} write a space after the colon: \"{key}: {value}\""))
        })
    }

    /// An error at this document.
    pub fn error(&self, message: impl Into<String>) -> ManifestError {
        ManifestError {
            source: self.source.to_owned(),
            document: self.number,
            line: self.line,
            message: message.into(),
        }
    }
}

fn missing(wanted: &str, found: Option<&String>) -> String {
    match found {
        Some(found) => format!("field {wanted:?} is missing; {found:?} is spelt {wanted:?}"),
        None => format!("field {wanted:?} is missing; write \"{wanted}: ...\", with a space after the colon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Vec<Result<String, String>> {
        let documents = split("file.yaml", yaml);
        let parsed = documents.iter().map(|document| document.parse());
        parsed
            .map(|object| {
                object
                    .map(|object| object.types.unwrap().kind)
                    .map_err(|error| error.to_string())
            })
            .collect()
    }

    #[test]
    fn documents_know_where_they_start() {
        let yaml = "# comment\n---\na: 1\n---\n\n---\nb: 2\n";
        let found: Vec<_> = split("f", yaml)
            .iter()
            .map(|d| (d.number, d.line, d.text))
            .collect();
        assert_eq!(found, [(1, 3, "a: 1\n"), (2, 7, "b: 2\n")]);
    }

    #[test]
    fn a_good_document_beside_a_bad_one_is_read() {
        let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\nkind: [\n";
        let parsed = parse(yaml);
        assert_eq!(parsed[0], Ok("Service".to_owned()));
        assert!(
            parsed[1]
                .as_ref()
                .is_err_and(|error| error.starts_with("file.yaml: document 2 (line 5)"))
        );
    }

    #[test]
    fn a_wrong_capital_is_pointed_out() {
        let error = parse("apiVersion: v1\nKind: Service\nmetadata: {name: a}\n")
            .remove(0)
            .unwrap_err();
        let expected =
            "file.yaml: document 1 (line 1): field \"kind\" is missing; \"Kind\" is spelt \"kind\"";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_missing_space_after_a_colon_is_located() {
        let error = parse("# a\n---\napiVersion: v1\nkind:Service\nmetadata:\n  name: a\n")
            .remove(0)
            .unwrap_err();
        assert!(
            error.ends_with("in line 4 write a space after the colon: \"kind: Service\""),
            "{error}"
        );
    }

    #[test]
    fn a_missing_space_after_a_dash_is_located() {
        let error = parse("apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n  pools:\n  -first\n")
            .remove(0)
            .unwrap_err();
        assert!(
            error.ends_with("in line 6 write a space after the dash: \"- first\""),
            "{error}"
        );
    }
}
