//! YAML as a tree whose nodes know where they are in the text.

use std::ops::Range;

use serde_json::{Map, Number, Value};

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MarkedNode {
    pub(crate) value: MarkedValue,
    /// The bytes of a scalar; of a list or mapping those of its first character.
    pub(crate) span: Range<usize>,
}

/// A value of YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MarkedValue {
    /// A text, number, boolean or null.
    Scalar {
        /// As written, without quotes.
        text: String,
        /// Whether it has neither quotes nor a tag, so that its text decides on its type.
        is_plain: bool,
    },
    /// A list.
    Sequence(Vec<MarkedNode>),
    /// A mapping, in the order of the text.
    Mapping(Vec<MarkedEntry>),
}

/// A key of a mapping, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MarkedEntry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: MarkedNode,
}

impl MarkedNode {
    /// Returns the entries of a mapping; none of other values.
    pub(crate) fn entries(&self) -> &[MarkedEntry] {
        match &self.value {
            MarkedValue::Mapping(entries) => entries,
            MarkedValue::Scalar { .. } | MarkedValue::Sequence(_) => &[],
        }
    }

    /// Returns the entries of a list; none of other values.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            MarkedValue::Sequence(items) => items,
            MarkedValue::Scalar { .. } | MarkedValue::Mapping(_) => &[],
        }
    }

    /// Returns the entry of a mapping by its key.
    pub(crate) fn entry(&self, key: &str) -> Option<&MarkedEntry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Returns the value of a mapping by its key; none if it is null, which is as if the key were absent.
    pub(crate) fn child(&self, key: &str) -> Option<&Self> {
        let node = &self.entry(key)?.node;
        Some(node).filter(|node| !node.is_null())
    }

    /// Returns the text of a scalar that is a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            MarkedValue::Scalar { text, .. } if self.scalar().is_string() => Some(text),
            MarkedValue::Scalar { .. } | MarkedValue::Sequence(_) | MarkedValue::Mapping(_) => None,
        }
    }

    /// Whether it is null, or nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, MarkedValue::Scalar { .. }) && self.scalar().is_null()
    }

    /// Returns the value of a scalar; null of other values.
    pub(crate) fn scalar(&self) -> Value {
        match &self.value {
            MarkedValue::Scalar { text, is_plain } => scalar(text, *is_plain),
            MarkedValue::Sequence(_) | MarkedValue::Mapping(_) => Value::Null,
        }
    }

    /// Returns the value as JSON, as the API server gets it. Fields that are null are left out.
    pub(crate) fn json(&self) -> Value {
        match &self.value {
            MarkedValue::Scalar { .. } => self.scalar(),
            MarkedValue::Sequence(items) => items.iter().map(Self::json).collect(),
            MarkedValue::Mapping(entries) => {
                let set = entries.iter().filter(|entry| !entry.node.is_null());
                let fields = set.map(|entry| (entry.key.clone(), entry.node.json()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// Returns whether a scalar of the tree, or a key, has this text in it.
    pub(crate) fn find_text(&self, part: &str) -> Option<&Self> {
        match &self.value {
            MarkedValue::Scalar { text, .. } => text.contains(part).then_some(self),
            MarkedValue::Sequence(items) => items.iter().find_map(|item| item.find_text(part)),
            MarkedValue::Mapping(entries) => entries.iter().find_map(|entry| entry.node.find_text(part)),
        }
    }

    /// Returns the number of nodes.
    pub(crate) fn count(&self) -> usize {
        let entries = self.entries().iter().map(|entry| entry.node.count());
        let items = self.items().iter().map(Self::count);
        1 + entries.chain(items).sum::<usize>()
    }

    /// Returns the bytes of the texts of all scalars and keys.
    pub(crate) fn text_len(&self) -> usize {
        match &self.value {
            MarkedValue::Scalar { text, .. } => text.len(),
            MarkedValue::Sequence(items) => items.iter().map(Self::text_len).sum(),
            MarkedValue::Mapping(entries) => {
                let lengths = entries
                    .iter()
                    .map(|entry| entry.key.len() + entry.node.text_len());
                lengths.sum()
            }
        }
    }

    /// Returns how many lists and mappings are in each other.
    pub(crate) fn depth(&self) -> usize {
        let entries = self.entries().iter().map(|entry| entry.node.depth());
        let items = self.items().iter().map(Self::depth);
        1 + entries.chain(items).max().unwrap_or_default()
    }
}

/// Returns the value of a scalar by the rules of YAML 1.1, which kubectl follows: `yes` and `on` are booleans, `010` is 8.
fn scalar(text: &str, is_plain: bool) -> Value {
    if !is_plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// Up to here a floating-point number has all whole ones (IEEE 754 binary64).
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, of_radix) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', b'0'..=b'7', ..] if digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) => {
            (8, &digits[1..])
        }
        _ => (10, digits.as_str()),
    };
    if let Ok(integer) = i64::from_str_radix(&format!("{sign}{of_radix}"), radix) {
        return Some(integer.into());
    }
    if let Some(integer) = u64::from_str_radix(of_radix, radix)
        .ok()
        .filter(|_| sign.is_empty())
    {
        return Some(integer.into());
    }
    let is_decimal = radix == 10 && digits.bytes().any(|digit| digit.is_ascii_digit());
    let float = is_decimal
        .then(|| format!("{sign}{digits}").parse::<f64>().ok())
        .flatten()?;
    // As JSON has it: a whole number may be written as 1e3.
    let is_whole = float.fract() == 0.0 && float.abs() < MOST_EXACT;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number is whole and small enough"
    )]
    let whole = is_whole.then_some(float as i64);
    whole.map_or_else(|| Number::from_f64(float), |whole| Some(whole.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_1_and_quoted_ones_are_texts() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Off", json!(false)),
            ("yes", json!(true)),
            ("80", json!(80)),
            ("-1", json!(-1)),
            ("010", json!(8)),
            ("0x1f", json!(31)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000)),
            ("y", json!(true)),
            ("N", json!(false)),
            (".5", json!(0.5)),
            ("5.", json!(5)),
            ("+1", json!(1)),
            ("0b11", json!(3)),
            ("0o10", json!(8)),
            ("0_7", json!(7)),
            ("1:30", json!("1:30")),
            ("0x", json!("0x")),
            ("_1", json!("_1")),
            ("tRUE", json!("tRUE")),
            ("2001-01-01", json!("2001-01-01")),
            ("192.0.2.1", json!("192.0.2.1")),
            ("90s", json!("90s")),
            ("-first-pool", json!("-first-pool")),
            ("089", json!(89)),
            (".", json!(".")),
            ("inf", json!("inf")),
        ] {
            assert_eq!(scalar(text, true), value, "{text}");
            assert_eq!(scalar(text, false), json!(text));
        }
    }
}
