//! Protobuf bodies of the few kinds that kubectl sends in no other form.
//!
//! Namespaces, Secrets, ConfigMaps and DeleteOptions are read; anything else, and
//! any field of theirs that is not listed here, is refused. Answers are JSON, which kubectl accepts.
//! Field numbers: `generated.proto` of `k8s.io/api/core/v1` and `k8s.io/apimachinery/pkg/apis/meta/v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::status::ApiError;

/// What every body starts with (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// How a field is read, by its number in the message.
type Message = &'static [(u64, &'static str, Shape)];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Texts,
    Bool,
    Integer,
    Message(Message),
    TextMap,
    BytesMap,
    /// Set by the server, whatever the client says.
    ServerSide,
}

use Shape::{Bool, BytesMap, Integer, ServerSide, Text, TextMap, Texts};

const TYPE_META: Message = &[(1, "apiVersion", Text), (2, "kind", Text)];
const OBJECT_META: Message = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", ServerSide),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", ServerSide),
    (8, "creationTimestamp", ServerSide),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (14, "finalizers", Texts),
    (17, "managedFields", ServerSide),
];
const NAMESPACE: Message = &[
    (1, "metadata", Shape::Message(OBJECT_META)),
    (2, "spec", Shape::Message(&[(1, "finalizers", Texts)])),
    (3, "status", ServerSide),
];
const SECRET: Message = &[
    (1, "metadata", Shape::Message(OBJECT_META)),
    (2, "data", BytesMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", Bool),
];
const CONFIG_MAP: Message = &[
    (1, "metadata", Shape::Message(OBJECT_META)),
    (2, "data", TextMap),
    (3, "binaryData", BytesMap),
    (4, "immutable", Bool),
];
const DELETE_OPTIONS: Message = &[
    (1, "gracePeriodSeconds", Integer),
    (
        2,
        "preconditions",
        Shape::Message(&[(1, "uid", Text), (2, "resourceVersion", Text)]),
    ),
    (3, "orphanDependents", Bool),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];

/// The JSON form of a protobuf body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let envelope = body.strip_prefix(MAGIC).ok_or_else(truncated)?;
    let mut raw: &[u8] = &[];
    let mut type_meta = Value::Null;
    for field in Fields(envelope) {
        match field? {
            (1, Content::Bytes(bytes)) => type_meta = message(TYPE_META, bytes, "runtime.TypeMeta")?,
            (2, Content::Bytes(bytes)) => raw = bytes,
            (_, Content::Bytes(_) | Content::Varint(_)) => {}
        }
    }
    let kind = type_meta["kind"].as_str().unwrap_or_default();
    let layout = match kind {
        "Namespace" => NAMESPACE,
        "Secret" => SECRET,
        "ConfigMap" => CONFIG_MAP,
        "DeleteOptions" => DELETE_OPTIONS,
        other => return Err(unsupported(&format!("{other:?}"))),
    };
    let mut object = message(layout, raw, kind)?;
    for name in ["apiVersion", "kind"] {
        object[name] = type_meta[name].clone();
    }
    Ok(object)
}

fn message(layout: Message, bytes: &[u8], kind: &str) -> Result<Value, ApiError> {
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (number, content) = field?;
        let Some((_, name, shape)) = layout.iter().find(|(known, ..)| *known == number) else {
            // Go writes embedded messages and numbers even when they are empty.
            if matches!(content, Content::Bytes(bytes) if !bytes.is_empty()) || content == Content::Varint(1)
            {
                return Err(unsupported(&format!("field {number} of {kind}")));
            }
            continue;
        };
        add(&mut object, name, *shape, content, kind)?;
    }
    Ok(object.into())
}

fn add(
    object: &mut Map<String, Value>,
    name: &str,
    shape: Shape,
    content: Content<'_>,
    kind: &str,
) -> Result<(), ApiError> {
    let value = match (shape, content) {
        (ServerSide, _) => return Ok(()),
        (Bool, Content::Varint(number)) => json!(number != 0),
        (Integer, Content::Varint(number)) => json!(number.cast_signed()),
        // Go writes empty strings, too; in JSON they are left out.
        (Text, Content::Bytes([])) => return Ok(()),
        (Text, Content::Bytes(bytes)) => json!(text(bytes)?),
        (Shape::Message(layout), Content::Bytes(bytes)) => message(layout, bytes, kind)?,
        (Texts, Content::Bytes(bytes)) => {
            let list = object.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut()
                .ok_or_else(truncated)?
                .push(json!(text(bytes)?));
            return Ok(());
        }
        (TextMap, Content::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            object.entry(name).or_insert_with(|| json!({}))[key] = json!(text(value)?);
            return Ok(());
        }
        (BytesMap, Content::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            object.entry(name).or_insert_with(|| json!({}))[key] = json!(STANDARD.encode(value));
            return Ok(());
        }
        (Bool | Integer, Content::Bytes(_)) => return Err(truncated()),
        (Text | Texts | TextMap | BytesMap | Shape::Message(_), Content::Varint(_)) => {
            return Err(truncated());
        }
    };
    object.insert(name.to_string(), value);
    Ok(())
}

/// A map entry is a message of key (1) and value (2).
fn entry(bytes: &[u8]) -> Result<(String, &[u8]), ApiError> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for field in Fields(bytes) {
        match field? {
            (1, Content::Bytes(bytes)) => key = text(bytes)?,
            (2, Content::Bytes(bytes)) => value = bytes,
            (_, Content::Bytes(_) | Content::Varint(_)) => {}
        }
    }
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<String, ApiError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| truncated())
}

fn truncated() -> ApiError {
    ApiError::bad_request("the body is not a Kubernetes object in protobuf")
}

fn unsupported(what: &str) -> ApiError {
    ApiError::unsupported_media_type(format!(
        "devkube does not read protobuf bodies with {what}; send JSON or YAML \
         (with kubectl: use apply -f or create -f)"
    ))
}

/// Content of one field, as its wire type shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of an encoded message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Content<'a>), ApiError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            self.field().ok_or_else(|| {
                self.0 = &[];
                truncated()
            })
        })
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Content<'a>)> {
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Content::Bytes(bytes)
            }
            // These kinds have no fixed-width fields.
            _ => return None,
        };
        Some((tag >> 3, content))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length][..], bytes].concat()
    }

    fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [
            MAGIC.to_vec(),
            field(1, &type_meta),
            field(2, raw),
            field(3, b""),
            field(4, b""),
        ]
        .concat()
    }

    #[test]
    fn a_secret_reads_as_its_json() {
        // creationTimestamp (8) is empty, generation (7) is 0: both are always written.
        let label = [field(1, b"owner"), field(2, b"helm")].concat();
        let meta = [
            field(1, b"s"),
            field(3, b""),
            vec![7 << 3, 0],
            field(8, b""),
            field(11, &label),
        ]
        .concat();
        let data = [field(1, b"release"), field(2, b"abc")].concat();
        let raw = [field(1, &meta), field(2, &data), field(3, b"Opaque")].concat();
        assert_eq!(
            decode(&envelope("Secret", &raw)),
            Ok(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": {"owner": "helm"}},
                "data": {"release": "YWJj"}, "type": "Opaque",
            }))
        );
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        let refused = |body: &[u8]| decode(body).expect_err("refused");
        assert_eq!(refused(&envelope("Pod", b"")).code, 415);
        let owner = field(13, b"x");
        let error = refused(&envelope("Secret", &field(1, &owner)));
        assert!(error.message.contains("field 13 of Secret"), "{}", error.message);
        assert_eq!(refused(b"{}").code, 400);
        let cut = envelope("Namespace", b"");
        assert_eq!(refused(&cut[..cut.len() - 7]).code, 400);
    }
}
