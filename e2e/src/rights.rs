//! Which rights were granted, and which were used: an API server's audit log held against roles.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Context;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;

/// One thing that one program may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The service account's name.
    pub account: String,
    /// The verb of the request, e.g. `watch`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with a subresource after a slash.
    pub resource: String,
    /// The only object that it is for, if it is for one.
    pub name: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            account,
            verb,
            group,
            resource,
            name,
        } = self;
        write!(f, "{account}: {verb} {resource}")?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The right that it needed, with the name of the object that it was about.
    pub right: Right,
    /// Whether the server refused it for want of that right.
    pub forbidden: bool,
}

/// All that rules grant to a service account.
pub fn granted(account: &str, rules: &[PolicyRule]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules {
        let names: Vec<Option<String>> = match rule.resource_names.as_deref() {
            None | Some([]) => vec![None],
            Some(names) => names.iter().cloned().map(Some).collect(),
        };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    rights.extend(names.iter().map(|name| Right {
                        account: account.to_owned(),
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    rights
}

/// The requests for resources in an audit log, a line of JSON each (`audit.k8s.io/v1`, kind Event).
///
/// # Errors
/// With the number of a line that is no such event.
pub fn requests(log: &str) -> anyhow::Result<Vec<Request>> {
    let mut requests = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let event: Event = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        // Every user may use discovery.
        let Some(object) = event.object_ref else { continue };
        let account = event.user.username.rsplit(':').next().unwrap_or_default();
        let resource = match object.subresource {
            Some(subresource) => format!("{}/{subresource}", object.resource),
            None => object.resource,
        };
        requests.push(Request {
            right: Right {
                account: account.to_owned(),
                verb: event.verb,
                group: object.api_group.unwrap_or_default(),
                resource,
                name: object.name,
            },
            forbidden: event.response_status.is_some_and(|status| status.code == 403),
        });
    }
    Ok(requests)
}

/// The granted rights that no request needed.
pub fn unused(granted: &BTreeSet<Right>, requests: &[Request]) -> BTreeSet<Right> {
    let needs = |right: &Right, request: &Request| {
        let used = &request.right;
        let named = right.name.is_none() || right.name == used.name;
        named
            && (&right.account, &right.verb, &right.group, &right.resource)
                == (&used.account, &used.verb, &used.group, &used.resource)
    };
    let mut unused = granted.clone();
    unused.retain(|right| !requests.iter().any(|request| needs(right, request)));
    unused
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    subresource: Option<String>,
    api_group: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"verb":"watch","user":{"username":"system:serviceaccount:ns:speaker"},"objectRef":{"resource":"services","apiVersion":"v1"},"responseStatus":{"code":200}}"#,
        "\n",
        r#"{"verb":"get","user":{"username":"system:serviceaccount:ns:speaker"},"requestURI":"/api"}"#,
        "\n",
        r#"{"verb":"patch","user":{"username":"system:serviceaccount:ns:controller"},"objectRef":{"resource":"services","subresource":"status","name":"s"},"responseStatus":{"code":403}}"#,
        "\n",
        r#"{"verb":"update","user":{"username":"system:serviceaccount:ns:controller"},"objectRef":{"resource":"leases","apiGroup":"coordination.k8s.io","name":"a"},"responseStatus":{"code":200}}"#,
    );

    fn rules(json: &str) -> Vec<PolicyRule> {
        serde_json::from_str(json).expect("rules")
    }

    fn texts<'a>(rights: impl IntoIterator<Item = &'a Right>) -> Vec<String> {
        rights.into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_log_tells_what_was_asked_for_and_what_was_refused() {
        let requests = requests(LOG).expect("a log");
        let rights: Vec<String> = requests.iter().map(|request| request.right.to_string()).collect();
        assert_eq!(
            rights,
            [
                "speaker: watch services",
                "controller: patch services/status s",
                "controller: update leases.coordination.k8s.io a",
            ]
        );
        let forbidden: Vec<bool> = requests.iter().map(|request| request.forbidden).collect();
        assert_eq!(forbidden, [false, true, false]);
    }

    #[test]
    fn a_right_that_nobody_needed_is_told_by_account_verb_and_name() {
        let rules = rules(
            r#"[{"apiGroups":[""],"resources":["services","services/status"],"verbs":["watch","patch"]},
                {"apiGroups":["coordination.k8s.io"],"resources":["leases"],"resourceNames":["a","b"],"verbs":["update"]}]"#,
        );
        let granted = granted("controller", &rules);
        assert_eq!(granted.len(), 6);
        let requests = requests(LOG).expect("a log");
        assert_eq!(
            texts(&unused(&granted, &requests)),
            [
                "controller: patch services",
                "controller: update leases.coordination.k8s.io b",
                "controller: watch services",
                "controller: watch services/status",
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        let error = requests(&format!("{LOG}\nnonsense")).expect_err("nonsense");
        assert!(format!("{error:#}").starts_with("line 5: "), "{error:#}");
    }
}
