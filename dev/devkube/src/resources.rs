//! Requests to resources: which kind, which object, which verb.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Response};
use serde_json::{Value, json};

use crate::decode::FieldValidation;
use crate::delete::Deletion;
use crate::faults::state;
use crate::kinds::Kind;
use crate::object::Key;
use crate::operation::{Part, Write};
use crate::page::Page;
use crate::patch::Patch;
use crate::reply::{Body, bytes_reply, json_reply, render, render_list, shown, stream_reply, with_warnings};
use crate::request::{Format, Request};
use crate::selector::Selector;
use crate::shared::Shared;
use crate::status::ApiError;
use crate::watch::{self, Interest, Start};
use crate::write::Written;

/// kube-apiserver ends a watch after 30 to 60 minutes when the client names no time.
const WATCH_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// What a request is about.
#[derive(Debug)]
struct Target {
    kind: Arc<Kind>,
    namespace: Option<String>,
    name: Option<String>,
    part: Part,
}

/// Answers a request below `/api/v1` or `/apis/GROUP/VERSION`; `path` is what follows.
pub(crate) fn answer(
    shared: &Arc<Shared>,
    request: &Request,
    group: &str,
    version: &str,
    path: &[&str],
) -> Result<Response<Body>, ApiError> {
    let target = target(shared, group, version, path)?;
    let verb = verb(request, &target)?;
    shared.count(verb, &target.kind.plural, target.part);
    if let Some(code) = state::take_refusal(&shared.faults) {
        return Err(ApiError::injected(code));
    }
    match (verb, &target.name) {
        ("get", Some(name)) => get(shared, request, &target, name),
        ("list", _) => list(shared, request, &target),
        ("watch", _) => watch(shared, request, &target),
        ("create", None) => create(shared, request, &target),
        ("update", Some(name)) => update(shared, request, &target, name),
        ("patch", Some(name)) => patch(shared, request, &target, name),
        ("delete", Some(name)) => delete(shared, request, &target, name),
        ("deletecollection", None) => delete_collection(shared, request, &target),
        _ => Err(ApiError::method_not_allowed(request.method.as_str())),
    }
}

fn target(shared: &Shared, group: &str, version: &str, path: &[&str]) -> Result<Target, ApiError> {
    let (namespace, rest) = match path {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !is_namespace_subresource(rest) => {
            (Some(namespace.to_string()), rest)
        }
        rest => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(name.to_string()), None),
        [plural, name, subresource] => (*plural, Some(name.to_string()), Some(*subresource)),
        _ => return Err(ApiError::no_such_resource()),
    };
    let kind = shared
        .cluster()
        .kinds
        .find(group, version, plural)
        .ok_or_else(ApiError::no_such_resource)?;
    let part = match subresource {
        None => Part::Main,
        Some("status") if kind.has_status => Part::Status,
        Some(_) => return Err(ApiError::no_such_resource()),
    };
    if kind.namespaced != namespace.is_some() && (name.is_some() || namespace.is_some()) {
        return Err(ApiError::no_such_resource());
    }
    Ok(Target {
        kind,
        namespace,
        name,
        part,
    })
}

/// `/namespaces/NAME/status` is about the namespace, `/namespaces/NAME/pods` is not.
fn is_namespace_subresource(rest: &[&str]) -> bool {
    matches!(rest, ["status" | "finalize"])
}

fn verb(request: &Request, target: &Target) -> Result<&'static str, ApiError> {
    Ok(match (&request.method, target.name.is_some()) {
        (&Method::GET, _) if request.flag("watch") => "watch",
        (&Method::GET, true) => "get",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        (other, _) => return Err(ApiError::method_not_allowed(other.as_str())),
    })
}

impl Target {
    fn key(&self, name: &str) -> Key {
        Key::new(self.namespace.as_deref().unwrap_or_default(), name)
    }

    fn selector(&self, request: &Request) -> Result<Selector, ApiError> {
        let mut fields = request.parameter("fieldSelector").to_string();
        if let Some(name) = &self.name {
            fields = format!("metadata.name={name},{fields}");
        }
        Selector::parse(&self.kind, request.parameter("labelSelector"), &fields)
    }
}

fn get(shared: &Shared, request: &Request, target: &Target, name: &str) -> Result<Response<Body>, ApiError> {
    let format = request.format()?;
    let found = shared
        .cluster()
        .store
        .object(&target.kind.collection, &target.key(name))
        .cloned();
    let object = found.ok_or_else(|| ApiError::not_found(target.kind.object(name)))?;
    let object = shown(&target.kind, &object);
    Ok(json_reply(
        200,
        &render(&target.kind, format, request.parameter("includeObject"), &object),
    ))
}

fn list(shared: &Shared, request: &Request, target: &Target) -> Result<Response<Body>, ApiError> {
    let format = request.format()?;
    let selector = target.selector(request)?;
    let page = Page::of(request)?;
    let (objects, revision, next) = {
        let cluster = shared.cluster();
        let now = cluster.store.revision();
        check_list_version(request, now)?;
        let objects =
            cluster
                .store
                .objects_after(&target.kind.collection, target.namespace.as_deref(), page.after());
        let (taken, next) = page.take(objects.filter(|object| selector.matches(object)), now);
        (taken, page.revision(now), next)
    };
    let objects: Vec<_> = objects.iter().map(|object| shown(&target.kind, object)).collect();
    let include = request.parameter("includeObject");
    Ok(bytes_reply(
        200,
        "application/json",
        render_list(
            &target.kind,
            format,
            include,
            &objects,
            &list_meta(revision, next),
        ),
    ))
}

/// The `metadata` of a list.
fn list_meta(revision: u64, next: Option<String>) -> Value {
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if let Some(next) = next {
        meta["continue"] = json!(next);
    }
    meta
}

/// A list is always of the present; only a version that is exactly that, or older, can be served.
fn check_list_version(request: &Request, current: u64) -> Result<(), ApiError> {
    let asked = parse_version(request.parameter("resourceVersion"))?;
    let exact = request.parameter("resourceVersionMatch") == "Exact";
    match asked {
        Some(asked) if asked > current => Err(ApiError::too_large_resource_version(asked, current)),
        Some(asked) if exact && asked != current => Err(ApiError::expired(format!(
            "The provided resource version {asked} is too old: now at {current}"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// None for absent and for 0, which both mean "whatever there is".
fn parse_version(text: &str) -> Result<Option<u64>, ApiError> {
    match text {
        "" | "0" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request(format!("invalid resource version {text:?}"))),
    }
}

fn watch(shared: &Arc<Shared>, request: &Request, target: &Target) -> Result<Response<Body>, ApiError> {
    let initial = request.flag("sendInitialEvents");
    let matching = request.parameter("resourceVersionMatch");
    if initial && matching != "NotOlderThan" {
        let message = "sendInitialEvents requires resourceVersionMatch=NotOlderThan";
        return Err(ApiError::bad_request(format!(
            "ListOptions.meta.k8s.io \"\" is invalid: {message}"
        )));
    }
    let start = match parse_version(request.parameter("resourceVersion"))? {
        _ if initial => Start::Now { marked: true },
        Some(revision) => Start::After(revision),
        // Absent means "whatever there is", unless initial events are expressly not wanted.
        None if request.has_parameter("sendInitialEvents") => Start::After(shared.cluster().store.revision()),
        None => Start::Now { marked: false },
    };
    let timeout = request
        .parameter("timeoutSeconds")
        .parse()
        .ok()
        .filter(|seconds| *seconds > 0);
    let interest = Interest {
        kind: Arc::clone(&target.kind),
        namespace: target.namespace.clone(),
        selector: target.selector(request)?,
        format: request.format()?,
        include: request.parameter("includeObject").to_string(),
        start,
        bookmarks: request.flag("allowWatchBookmarks"),
        timeout: timeout.map_or(WATCH_TIMEOUT, Duration::from_secs),
    };
    Ok(stream_reply("application/json", watch::stream(shared, interest)))
}

fn options(request: &Request, target: &Target) -> Result<Write, ApiError> {
    let dry_run = match request.parameter("dryRun") {
        "" => false,
        "All" => true,
        other => {
            return Err(ApiError::bad_request(format!(
                "invalid dryRun {other:?}; use All"
            )));
        }
    };
    Ok(Write {
        manager: request.manager(),
        dry_run,
        validation: FieldValidation::parse(request.parameter("fieldValidation"))?,
        part: target.part,
    })
}

fn written(request: &Request, target: &Target, written: &Written) -> Result<Response<Body>, ApiError> {
    let code = if written.created { 201 } else { 200 };
    let format = request.format()?;
    let object = render(
        &target.kind,
        format,
        request.parameter("includeObject"),
        &written.object,
    );
    Ok(with_warnings(json_reply(code, &object), &written.warnings))
}

fn create(shared: &Shared, request: &Request, target: &Target) -> Result<Response<Body>, ApiError> {
    let options = options(request, target)?;
    let body = request.json()?;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    if target.kind.namespaced && target.namespace.is_none() {
        return Err(ApiError::method_not_allowed("create without a namespace"));
    }
    let done = shared.change(|cluster| cluster.create(&target.kind, namespace, body, &options))?;
    written(request, target, &done)
}

fn update(
    shared: &Shared,
    request: &Request,
    target: &Target,
    name: &str,
) -> Result<Response<Body>, ApiError> {
    let options = options(request, target)?;
    let body = request.json()?;
    refuse_if_told(shared, target, name)?;
    let done = shared.change(|cluster| cluster.update(&target.kind, &target.key(name), body, &options))?;
    written(request, target, &done)
}

fn patch(
    shared: &Shared,
    request: &Request,
    target: &Target,
    name: &str,
) -> Result<Response<Body>, ApiError> {
    let options = options(request, target)?;
    let patch = Patch::parse(request, request.json()?)?;
    refuse_if_told(shared, target, name)?;
    let done = shared.change(|cluster| cluster.patch(&target.kind, &target.key(name), &patch, &options))?;
    written(request, target, &done)
}

fn refuse_if_told(shared: &Shared, target: &Target, name: &str) -> Result<(), ApiError> {
    if state::take_conflict(&shared.faults) {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(ApiError::conflict(target.kind.object(name), why));
    }
    Ok(())
}

fn deletion(request: &Request) -> Result<Deletion, ApiError> {
    let dry_run = request.parameter("dryRun") == "All";
    Deletion::parse(&request.json()?, request.parameter("propagationPolicy"), dry_run)
}

fn delete(
    shared: &Shared,
    request: &Request,
    target: &Target,
    name: &str,
) -> Result<Response<Body>, ApiError> {
    if target.part == Part::Status {
        return Err(ApiError::method_not_allowed("delete"));
    }
    let deletion = deletion(request)?;
    let status = shared.change(|cluster| cluster.delete(&target.kind, &target.key(name), &deletion))?;
    Ok(json_reply(200, &status))
}

fn delete_collection(
    shared: &Shared,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, ApiError> {
    let deletion = deletion(request)?;
    let selector = target.selector(request)?;
    let namespace = target.namespace.as_deref();
    let deleted =
        shared.change(|cluster| cluster.delete_collection(&target.kind, namespace, &selector, &deletion))?;
    let revision = shared.cluster().store.revision();
    let deleted: Vec<Arc<Value>> = deleted.into_iter().map(Arc::new).collect();
    Ok(bytes_reply(
        200,
        "application/json",
        render_list(
            &target.kind,
            Format::Json,
            "",
            &deleted,
            &list_meta(revision, None),
        ),
    ))
}
