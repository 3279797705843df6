//! Answers, and objects in the form that was asked for.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::kinds::{Kind, View};
use crate::request::Format;
use crate::status::ApiError;
use crate::{table, view};

/// Body of every answer; watches stream theirs.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

const JSON: &str = "application/json";

/// An answer of one JSON value.
pub(crate) fn json_reply(code: u16, value: &Value) -> Response<Body> {
    bytes_reply(code, JSON, value.to_string().into())
}

/// An answer of bytes.
pub(crate) fn bytes_reply(code: u16, content_type: &str, bytes: Bytes) -> Response<Body> {
    let body = Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    with_head(code, content_type, body)
}

/// An answer that goes on.
pub(crate) fn stream_reply(
    content_type: &str,
    stream: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
) -> Response<Body> {
    with_head(200, content_type, StreamBody::new(stream).boxed_unsync())
}

fn with_head(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// The answer that says why not.
pub(crate) fn error_reply(error: &ApiError) -> Response<Body> {
    let mut response = json_reply(error.code, &error.status());
    if matches!(error.code, 429 | 503 | 504) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Adds `Warning` headers (RFC 9111 §5.5, code 299) as Kubernetes does.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// A stored object as `kind`, without a copy when the stored form is the one wanted.
pub(crate) fn shown(kind: &Kind, stored: &Arc<Value>) -> Arc<Value> {
    if kind.view == View::Same && kind.stored_api_version == kind.api_version() {
        Arc::clone(stored)
    } else {
        Arc::new(view::present(kind, stored))
    }
}

/// One object in the form wanted; `include` is the Table's `includeObject`.
pub(crate) fn render(kind: &Kind, format: Format, include: &str, object: &Value) -> Value {
    match format {
        Format::Json | Format::Discovery => object.clone(),
        Format::Metadata => view::metadata_of(object),
        Format::Table => table::table(
            kind,
            std::iter::once(object),
            include,
            &object["metadata"]["resourceVersion"],
        ),
    }
}

/// A list of shown objects in the form wanted; `meta` is its `metadata`.
pub(crate) fn render_list(
    kind: &Kind,
    format: Format,
    include: &str,
    objects: &[Arc<Value>],
    meta: &Value,
) -> Bytes {
    match format {
        Format::Table => {
            let mut table = table::table(
                kind,
                objects.iter().map(AsRef::as_ref),
                include,
                &meta["resourceVersion"],
            );
            table["metadata"] = meta.clone();
            table.to_string().into()
        }
        Format::Metadata => {
            let items: Vec<String> = objects
                .iter()
                .map(|object| view::metadata_of(object).to_string())
                .collect();
            list("meta.k8s.io/v1", "PartialObjectMetadataList", meta, &items)
        }
        Format::Json | Format::Discovery => {
            let items: Vec<String> = objects.iter().map(ToString::to_string).collect();
            list(&kind.api_version(), &kind.list_kind, meta, &items)
        }
    }
}

fn list(api_version: &str, kind: &str, meta: &Value, items: &[String]) -> Bytes {
    let head = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta}"#);
    format!("{head},\"items\":[{}]}}", items.join(",")).into()
}
