//! Label selectors (`metav1.LabelSelector`), parsed once before they are matched.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A selector as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RawSelector {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub match_expressions: Vec<RawRequirement>,
}

/// One `matchExpressions` entry as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RawRequirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values; none for `Exists` and `DoesNotExist`.
    pub values: Vec<String>,
}

/// A selector that was parsed. An empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// The reason why a selector cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The operator is unknown.
    #[error("{0:?} is not a valid label selector operator; use In, NotIn, Exists or DoesNotExist")]
    Operator(String),
    /// `In` or `NotIn` without values.
    #[error("matchExpressions on {key:?}: operator {operator} needs at least one value")]
    MissingValues {
        /// The label's key.
        key: String,
        /// The operator.
        operator: &'static str,
    },
    /// `Exists` or `DoesNotExist` with values.
    #[error("matchExpressions on {key:?}: operator {operator} takes no values")]
    UnexpectedValues {
        /// The label's key.
        key: String,
        /// The operator.
        operator: &'static str,
    },
    /// A value occurs twice in one expression.
    #[error("duplicate definition of match expression value in label selector {0:?}")]
    DuplicateValue(String),
    /// An expression occurs twice in one selector.
    #[error("duplicate definition of match expressions on {0:?}")]
    DuplicateExpression(String),
    /// An expression has no key.
    #[error("matchExpressions: an entry has no key")]
    MissingKey,
    /// Not the key of a label.
    #[error(
        "{0:?} is not a valid label key; write at most 63 characters, alphanumeric or \"-\", \"_\", \".\", with an \
         alphanumeric one at each end, such as app.kubernetes.io/name, where a DNS name before the \"/\" is optional"
    )]
    Key(String),
    /// Not a value that a label can have.
    #[error(
        "{value:?} is not a valid value of label {key:?}; write at most 63 characters, alphanumeric or \"-\", \"_\", \
         \".\", with an alphanumeric one at each end, or none"
    )]
    Value {
        /// The label's key.
        key: String,
        /// The value.
        value: String,
    },
}

impl Selector {
    /// Parses a selector by the rules of `metav1.LabelSelector`. Duplicates are errors, as in MetalLB.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(raw: &RawSelector) -> Result<Self, SelectorError> {
        let equal = |(key, value): (&String, &String)| {
            check_label(key, [value])?;
            Ok(Requirement {
                key: key.clone(),
                test: Test::In(BTreeSet::from([value.clone()])),
            })
        };
        let mut requirements: Vec<Requirement> =
            raw.match_labels.iter().map(equal).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        for expression in &raw.match_expressions {
            let requirement = Requirement::parse(expression)?;
            if !seen.insert(requirement.clone()) {
                return Err(SelectorError::DuplicateExpression(expression.key.clone()));
            }
            requirements.push(requirement);
        }
        requirements.sort();
        Ok(Self { requirements })
    }

    /// Returns whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl Requirement {
    fn parse(raw: &RawRequirement) -> Result<Self, SelectorError> {
        if raw.key.is_empty() {
            return Err(SelectorError::MissingKey);
        }
        check_label(&raw.key, &raw.values)?;
        let mut values = BTreeSet::new();
        for value in &raw.values {
            if !values.insert(value.clone()) {
                return Err(SelectorError::DuplicateValue(value.clone()));
            }
        }
        let key = raw.key.clone();
        let test = match (raw.operator.as_str(), values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In", true) => return Err(SelectorError::MissingValues { key, operator: "In" }),
            ("NotIn", true) => {
                let operator = "NotIn";
                return Err(SelectorError::MissingValues { key, operator });
            }
            ("Exists", false) => {
                let operator = "Exists";
                return Err(SelectorError::UnexpectedValues { key, operator });
            }
            ("DoesNotExist", false) => {
                let operator = "DoesNotExist";
                return Err(SelectorError::UnexpectedValues { key, operator });
            }
            (other, _) => return Err(SelectorError::Operator(other.to_string())),
        };
        Ok(Self { key, test })
    }

    /// Returns whether the labels meet the requirement. `NotIn` and `DoesNotExist` also match objects without the key, as in
    /// Kubernetes.
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.contains(v)),
            Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
        }
    }
}

/// Checks a label's key and values as Kubernetes does (`ValidateLabelName`, `IsValidLabelValue`).
fn check_label<'a>(key: &str, values: impl IntoIterator<Item = &'a String>) -> Result<(), SelectorError> {
    let is_key = match key.split_once('/') {
        None => is_name(key),
        Some((domain, name)) => is_domain(domain) && is_name(name),
    };
    if !is_key {
        return Err(SelectorError::Key(key.to_string()));
    }
    let mut values = values.into_iter();
    match values.find(|value| !value.is_empty() && !is_name(value)) {
        None => Ok(()),
        Some(value) => Err(SelectorError::Value {
            key: key.to_string(),
            value: value.clone(),
        }),
    }
}

fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=63).contains(&text.len()) && has_ends_and_inner(text, |byte| byte.is_ascii_alphanumeric(), is_inner)
}

/// Returns whether `text` is a DNS subdomain (RFC 1123), in lower case.
fn is_domain(text: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| has_ends_and_inner(label, is_end, |byte| is_end(byte) || byte == b'-');
    text.len() <= 253 && text.split('.').all(is_label)
}

fn has_ends_and_inner(text: &str, is_end: impl Fn(u8) -> bool, is_inner: impl Fn(u8) -> bool) -> bool {
    let ends = text.bytes().next().into_iter().chain(text.bytes().last());
    !text.is_empty() && ends.into_iter().all(is_end) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(key: &str, operator: &str, values: &[&str]) -> RawSelector {
        RawSelector {
            match_expressions: Vec::from([RawRequirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(ToString::to_string).collect(),
            }]),
            ..RawSelector::default()
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn an_empty_selector_matches_everything() {
        assert!(Selector::default().matches(&labels(&[])));
    }

    #[test]
    fn each_operator_matches_as_kubernetes_defines_it() {
        // (operator, values, matches {a: 1}, matches {a: 2}, matches {})
        let table: [(&str, &[&str], bool, bool, bool); 4] = [
            ("In", &["1"], true, false, false),
            ("NotIn", &["1"], false, true, true),
            ("Exists", &[], true, true, false),
            ("DoesNotExist", &[], false, false, true),
        ];
        for (operator, values, one, two, none) in table {
            let selector = Selector::parse(&expression("a", operator, values)).expect("valid");
            assert_eq!(selector.matches(&labels(&[("a", "1")])), one, "{operator}");
            assert_eq!(selector.matches(&labels(&[("a", "2")])), two, "{operator}");
            assert_eq!(selector.matches(&labels(&[])), none, "{operator}");
        }
    }

    #[test]
    fn every_mistake_has_an_error() {
        let parse = |operator, values: &[&str]| Selector::parse(&expression("a", operator, values));
        assert_eq!(parse("in", &["1"]), Err(SelectorError::Operator("in".into())));
        let key = String::from("a");
        let operator = "In";
        assert_eq!(
            parse("In", &[]),
            Err(SelectorError::MissingValues { key, operator })
        );
        assert_eq!(
            parse("In", &["1", "1"]),
            Err(SelectorError::DuplicateValue("1".into()))
        );
        assert!(parse("Exists", &["1"]).is_err());
        assert!(Selector::parse(&expression("", "Exists", &[])).is_err());
    }

    #[test]
    fn keys_and_values_are_those_that_kubernetes_accepts() {
        let (long, longest) = ("x".repeat(64), "x".repeat(63));
        let domain = alloc::format!("{}/x", "d.".repeat(126) + "d");
        let keys = [
            ("app", true),
            ("App_1.x-y", true),
            ("app.kubernetes.io/name", true),
            (&longest, true),
            (&domain, true),
            ("", false),
            ("/", false),
            ("a/", false),
            ("/a", false),
            ("a/b/c", false),
            ("-a", false),
            ("a-", false),
            ("a b", false),
            ("schlüssel", false),
            ("App.io/name", false),
            ("a..b/c", false),
            ("-a.b/c", false),
            ("a_b/c", false),
            (&long, false),
            (&alloc::format!("d{domain}"), false),
        ];
        let values = [
            ("", true),
            ("1", true),
            ("A-b_c.9", true),
            (&longest, true),
            ("-", false),
            (".a", false),
            ("a.", false),
            ("a/b", false),
            ("a b", false),
            ("\n", false),
            (&long, false),
        ];
        let pairs = keys.map(|(key, is_good)| (key, "v", is_good));
        for (key, value, is_good) in pairs
            .into_iter()
            .chain(values.map(|(value, is_good)| ("k", value, is_good)))
        {
            let by_labels = RawSelector {
                match_labels: labels(&[(key, value)]),
                ..RawSelector::default()
            };
            for selector in [
                by_labels,
                expression(key, "In", &[value]),
                expression(key, "NotIn", &[value]),
            ] {
                assert_eq!(Selector::parse(&selector).is_ok(), is_good, "{selector:?}");
            }
        }
        assert_eq!(
            Selector::parse(&expression("-", "Exists", &[])),
            Err(SelectorError::Key("-".into()))
        );
    }
}
