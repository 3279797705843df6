//! A request as the API sees it: path, query, media types, body.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, header::HeaderName};
use serde_json::Value;

use crate::protobuf;
use crate::status::ApiError;

/// One request, read to its end.
#[derive(Debug)]
pub(crate) struct Request {
    /// The HTTP method.
    pub(crate) method: Method,
    /// The path's segments, percent-decoded.
    pub(crate) path: Vec<String>,
    query: BTreeMap<String, String>,
    accept: String,
    content_type: String,
    user_agent: String,
    body: Bytes,
}

/// The form in which objects are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As they are.
    Json,
    /// As rows of a `meta.k8s.io/v1` Table.
    Table,
    /// Their metadata only.
    Metadata,
    /// Aggregated discovery (only for `/api` and `/apis`).
    Discovery,
}

impl Request {
    /// Reads a request.
    pub(crate) async fn read(request: hyper::Request<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = request.into_parts();
        let header = |name: HeaderName| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_string()
        };
        let query = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                percent_decode(&name.replace('+', " ")),
                percent_decode(&value.replace('+', " ")),
            )
        };
        let path = head.uri.path().split('/').filter(|segment| !segment.is_empty());
        Ok(Self {
            path: path.map(percent_decode).collect(),
            query: query.map(pair).collect(),
            accept: header(ACCEPT),
            content_type: header(CONTENT_TYPE),
            user_agent: header(USER_AGENT),
            body: body.collect().await?.to_bytes(),
            method: head.method,
        })
    }

    /// A query parameter; empty when absent.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether a query parameter is there at all.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    /// A boolean query parameter; absent is false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    /// The writer: `fieldManager`, or else the user agent up to its first slash.
    pub(crate) fn manager(&self) -> String {
        let agent = self.user_agent.split('/').next().unwrap_or_default();
        let named = [self.parameter("fieldManager"), agent]
            .into_iter()
            .find(|name| !name.is_empty());
        named.unwrap_or("unknown").to_string()
    }

    /// Media type of the body, without its parameters.
    pub(crate) fn media_type(&self) -> &str {
        self.content_type.split(';').next().unwrap_or_default().trim()
    }

    /// The first form that the client accepts and this server speaks.
    pub(crate) fn format(&self) -> Result<Format, ApiError> {
        let accept = if self.accept.is_empty() {
            "*/*"
        } else {
            &self.accept
        };
        accept.split(',').find_map(format).ok_or_else(|| {
            ApiError::not_acceptable(
                "only the following media types are accepted: application/json, \
                 application/json;as=Table;v=v1;g=meta.k8s.io, \
                 application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            )
        })
    }

    /// The body as JSON, whether it came as JSON, YAML or protobuf; null when empty.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        let media_type = self.media_type();
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        if media_type == "application/vnd.kubernetes.protobuf" {
            return protobuf::decode(&self.body);
        }
        if media_type.ends_with("yaml") {
            let text =
                std::str::from_utf8(&self.body).map_err(|error| ApiError::bad_request(error.to_string()))?;
            return serde_saphyr::from_str(text)
                .map_err(|error| ApiError::bad_request(format!("error converting YAML to JSON: {error}")));
        }
        if !matches!(media_type, "" | "application/json") && !media_type.ends_with("+json") {
            return Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format {media_type:?}; send JSON or YAML"
            )));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| ApiError::bad_request(format!("error decoding the body as JSON: {error}")))
    }
}

fn format(media_range: &str) -> Option<Format> {
    let mut parts = media_range.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let parameters: Vec<&str> = parts.collect();
    let variant = parameters
        .iter()
        .find_map(|p| p.strip_prefix("as="))
        .unwrap_or_default();
    let version = parameters
        .iter()
        .find_map(|p| p.strip_prefix("v="))
        .unwrap_or("v1");
    match (variant, version) {
        ("", _) => Some(Format::Json),
        ("Table", "v1") => Some(Format::Table),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "v1") => Some(Format::Metadata),
        ("APIGroupDiscoveryList", "v2") => Some(Format::Discovery),
        _ => None,
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                i += 3;
            }
            None => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_first_form_that_is_spoken() {
        let first = |accept: &str| accept.split(',').find_map(format);
        assert_eq!(
            first("application/vnd.kubernetes.protobuf, */*"),
            Some(Format::Json)
        );
        assert_eq!(
            first("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Some(Format::Table)
        );
        assert_eq!(
            first("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"),
            Some(Format::Json)
        );
        assert_eq!(
            first("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Some(Format::Metadata)
        );
        assert_eq!(first("application/vnd.kubernetes.protobuf"), None);
    }

    #[test]
    fn query_escapes_are_decoded() {
        assert_eq!(
            percent_decode("spec.type%3DLoadBalancer%2Ca%21%3Db"),
            "spec.type=LoadBalancer,a!=b"
        );
        assert_eq!(percent_decode("100%"), "100%");
    }
}
