//! Label and field selectors, as they stand in query strings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::{Kind, View};
use crate::object::{at_path, labels};
use crate::status::ApiError;

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<LabelRequirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelRequirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Greater(i64),
    Less(i64),
}

#[derive(Debug, Clone)]
struct FieldRequirement {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector` for a kind.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(kind, fields)?,
        })
    }

    /// Whether a stored object is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        if !self.labels.is_empty() {
            let labels = labels(object);
            if !self.labels.iter().all(|requirement| requirement.matches(&labels)) {
                return false;
            }
        }
        self.fields.iter().all(|requirement| requirement.matches(object))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        let value = labels.get(self.key.as_str()).copied();
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::Greater(than) => number().is_some_and(|n| n > *than),
            Test::Less(than) => number().is_some_and(|n| n < *than),
        }
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        let mut value = at_path(object, &self.path);
        // As in Kubernetes: an event without a source is of the component that reports it.
        if self.path == EVENT_SOURCE && value.as_str().is_none_or(str::is_empty) {
            value = at_path(object, "reportingComponent");
        }
        let text = match value.as_str() {
            Some(text) => text.to_string(),
            None if value.is_null() => String::new(),
            None => value.to_string(),
        };
        (text == self.value) == self.equal
    }
}

fn parse_labels(text: &str) -> Result<Vec<LabelRequirement>, ApiError> {
    split_outside_parentheses(text)
        .into_iter()
        .map(parse_label)
        .collect()
}

fn parse_label(term: &str) -> Result<LabelRequirement, ApiError> {
    let broken = || ApiError::bad_request(format!("unable to parse requirement: {term:?}"));
    let requirement = |key: &str, test| {
        Ok(LabelRequirement {
            key: key.trim().to_string(),
            test,
        })
    };
    if let Some((head, values)) = term.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_string()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(broken)?;
        return match operator {
            "in" => requirement(key, Test::In(values)),
            "notin" => requirement(key, Test::NotIn(values)),
            _ => Err(broken()),
        };
    }
    if let Some(key) = term.strip_prefix('!') {
        return requirement(key, Test::DoesNotExist);
    }
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = term.split_once(operator) {
            let values = vec![value.trim().to_string()];
            return requirement(
                key,
                if equal {
                    Test::In(values)
                } else {
                    Test::NotIn(values)
                },
            );
        }
    }
    for (operator, greater) in [('>', true), ('<', false)] {
        if let Some((key, value)) = term.split_once(operator) {
            let number = value.trim().parse().map_err(|_| broken())?;
            return requirement(
                key,
                if greater {
                    Test::Greater(number)
                } else {
                    Test::Less(number)
                },
            );
        }
    }
    if term.contains(char::is_whitespace) {
        return Err(broken());
    }
    requirement(term, Test::Exists)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
    .collect()
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<FieldRequirement>, ApiError> {
    text.split(',')
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .map(|term| parse_field(kind, term))
        .collect()
}

fn parse_field(kind: &Kind, term: &str) -> Result<FieldRequirement, ApiError> {
    let (name, value, equal) = [("!=", false), ("==", true), ("=", true)]
        .into_iter()
        .find_map(|(operator, equal)| {
            term.split_once(operator)
                .map(|(name, value)| (name, value, equal))
        })
        .ok_or_else(|| {
            ApiError::bad_request(format!("invalid selector: {term:?}; can't understand {term:?}"))
        })?;
    let path = stored_path(kind, name.trim())
        .ok_or_else(|| ApiError::bad_request(format!("field label not supported: {}", name.trim())))?;
    Ok(FieldRequirement {
        path,
        value: value.trim().to_string(),
        equal,
    })
}

/// The path of a selectable field in the stored object.
fn stored_path(kind: &Kind, name: &str) -> Option<String> {
    if matches!(name, "metadata.name" | "metadata.namespace") {
        return Some(name.to_string());
    }
    if let Some(custom) = &kind.custom {
        return custom.selectable.iter().find(|path| *path == name).cloned();
    }
    let supported: &[&str] = match kind.collection.as_str() {
        "services" => &["spec.type", "spec.clusterIP"],
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "events" => return event_path(kind.view, name),
        _ => &[],
    };
    supported.contains(&name).then(|| name.to_string())
}

/// Where an event has what the field `source` selects by.
const EVENT_SOURCE: &str = "source.component";

fn event_path(view: View, name: &str) -> Option<String> {
    let name = match view {
        View::NewEvents => match name {
            "reportingController" => "reportingComponent".to_string(),
            other => other
                .strip_prefix("regarding.")
                .map_or_else(|| other.into(), |f| format!("involvedObject.{f}")),
        },
        View::Same => name.to_string(),
    };
    let fields = [
        "kind",
        "namespace",
        "name",
        "uid",
        "apiVersion",
        "resourceVersion",
        "fieldPath",
    ];
    let involved = name
        .strip_prefix("involvedObject.")
        .is_some_and(|field| fields.contains(&field));
    if name == "source" {
        return Some(EVENT_SOURCE.to_owned());
    }
    (involved || matches!(name.as_str(), "reason" | "type" | "reportingComponent")).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::Kinds;

    fn selects(plural: &str, labels: &str, fields: &str, object: &Value) -> bool {
        let kind = Kinds::builtin().find("", "v1", plural).expect("kind");
        Selector::parse(&kind, labels, fields)
            .expect("valid selector")
            .matches(object)
    }

    #[test]
    fn label_selectors_match_as_kubernetes_defines_them() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "2"}}});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=2", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (api, web)", true),
            ("app notin (api,web),tier", false),
            ("other notin (a)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("tier>1", true),
            ("tier<2", false),
        ] {
            assert_eq!(selects("pods", selector, "", &object), expected, "{selector}");
        }
    }

    #[test]
    fn field_selectors_match_the_fields_that_the_kind_offers() {
        let service = json!({"metadata": {"name": "a"}, "spec": {"type": "LoadBalancer"}});
        assert!(selects("services", "", "spec.type=LoadBalancer", &service));
        assert!(selects(
            "services",
            "",
            "metadata.name=a,spec.type!=ClusterIP",
            &service
        ));
        assert!(!selects("services", "", "spec.type=ClusterIP", &service));
    }

    #[test]
    fn the_source_of_an_event_is_its_component_or_else_what_reports_it() {
        let is_of = |event| selects("events", "", "source=metallb-speaker", &event);
        assert!(is_of(
            json!({"source": {"component": "metallb-speaker"}, "reportingComponent": "x"})
        ));
        assert!(is_of(
            json!({"source": {}, "reportingComponent": "metallb-speaker"})
        ));
        assert!(!is_of(
            json!({"source": {"component": "x"}, "reportingComponent": "metallb-speaker"})
        ));
    }

    #[test]
    fn a_field_that_cannot_be_selected_is_refused() {
        let kind = Kinds::builtin().find("", "v1", "services").expect("kind");
        let error = Selector::parse(&kind, "", "spec.externalName=x").expect_err("refused");
        assert_eq!(
            (error.code, error.message.as_str()),
            (400, "field label not supported: spec.externalName")
        );
    }
}
