//! The top of the API: which part answers a request.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Response};

use crate::faults::state;
use crate::reply::{Body, bytes_reply, error_reply, json_reply};
use crate::request::Request;
use crate::shared::Shared;
use crate::status::ApiError;
use crate::{discovery, openapi, resources};

/// Answers one HTTP request.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Some(delay) = state::delay(&shared.faults) {
        tokio::time::sleep(delay).await;
    }
    let reply = match Request::read(request).await {
        Ok(request) => route(&shared, &request),
        Err(error) => Err(ApiError::bad_request(format!("cannot read the request: {error}"))),
    };
    Ok(reply.unwrap_or_else(|error| error_reply(&error)))
}

fn route(shared: &Arc<Shared>, request: &Request) -> Result<Response<Body>, ApiError> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            resources::answer(shared, request, "", version, rest)
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            resources::answer(shared, request, group, version, rest)
        }
        _ if request.method != Method::GET => Err(ApiError::method_not_allowed(request.method.as_str())),
        path => describe(shared, request, path),
    }
}

/// Everything that describes the API itself.
fn describe(shared: &Shared, request: &Request, path: &[&str]) -> Result<Response<Body>, ApiError> {
    let cluster = shared.cluster();
    let kinds = &cluster.kinds;
    let found = match path {
        ["healthz" | "livez" | "readyz", ..] => return Ok(bytes_reply(200, "text/plain", "ok".into())),
        ["api"] => return Ok(discovery::core(kinds, request.format()?)),
        ["apis"] => return Ok(discovery::groups(kinds, request.format()?)),
        ["version"] => Some(discovery::version()),
        ["api", version] => discovery::resources(kinds, "", version),
        ["apis", group] => discovery::group(kinds, group),
        ["apis", group, version] => discovery::resources(kinds, group, version),
        ["openapi", "v3"] => Some(openapi::index(kinds)),
        ["openapi", "v3", "api", version] => openapi::document(kinds, "", version),
        ["openapi", "v3", "apis", group, version] => openapi::document(kinds, group, version),
        _ => None,
    };
    found
        .map(|value| json_reply(200, &value))
        .ok_or_else(ApiError::no_such_resource)
}
