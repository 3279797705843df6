//! Conversion of `BGPPeer`s for clients of the deprecated version: the JSON of a ConversionReview, and its answer. It depends on nothing
//! that the controller knows.

use herald_api::convert::bgp_peer_version;
use herald_runtime::admin::ReviewError;
use k8s_openapi::serde::Deserialize;
use serde_json::{Value, json};

/// The path of the conversion: MetalLB's.
pub(crate) const PATH: &str = "/convert";

/// A `ConversionReview` of `apiextensions.k8s.io/v1`, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(crate = "k8s_openapi::serde")]
struct ConversionReview {
    request: ConversionRequest,
}

#[derive(Debug, Deserialize)]
#[serde(crate = "k8s_openapi::serde")]
struct ConversionRequest {
    uid: String,
    #[serde(rename = "desiredAPIVersion")]
    desired_api_version: String,
    objects: Vec<Value>,
}

/// Converts the objects of a request, or none of them.
///
/// # Errors
/// When the request is no ConversionReview.
pub(crate) fn answer(request: &[u8]) -> Result<Vec<u8>, ReviewError> {
    let review: ConversionReview =
        serde_json::from_slice(request).map_err(|error| ReviewError::Malformed(error.to_string()))?;
    let ConversionRequest {
        uid,
        desired_api_version: version,
        objects,
    } = review.request;
    let objects = objects.into_iter();
    let converted: Result<Vec<Value>, _> = objects.map(|object| bgp_peer_version(object, &version)).collect();
    let response = match converted {
        Ok(objects) => json!({"uid": uid, "result": {"status": "Success"}, "convertedObjects": objects}),
        Err(error) => {
            json!({"uid": uid, "result": {"status": "Failure", "message": error.to_string()}})
        }
    };
    let review =
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
    Ok(review.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(version: &str, objects: Value) -> Value {
        let request = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": {"uid": "u", "desiredAPIVersion": version, "objects": objects}});
        let answer = answer(request.to_string().as_bytes()).expect("an answer");
        let review: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(
            (&review["kind"], &review["apiVersion"]),
            (&json!("ConversionReview"), &json!("apiextensions.k8s.io/v1"))
        );
        assert_eq!(review["response"]["uid"], "u");
        review["response"].clone()
    }

    fn peer(version: &str, name: &str) -> Value {
        json!({"apiVersion": version, "kind": "BGPPeer", "metadata": {"name": name},
            "spec": {"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1"}})
    }

    #[test]
    fn all_objects_of_a_request_are_converted_in_their_order() {
        let (old, new) = ("metallb.io/v1beta1", "metallb.io/v1beta2");
        let response = respond(old, json!([peer(new, "a"), peer(new, "b")]));
        assert_eq!(response["result"]["status"], "Success");
        assert_eq!(
            response["convertedObjects"],
            json!([peer(old, "a"), peer(old, "b")])
        );
    }

    #[test]
    fn a_request_with_an_object_of_another_kind_fails_as_a_whole() {
        let new = "metallb.io/v1beta2";
        let response = respond("metallb.io/v1beta1", json!([peer(new, "a"), {"kind": "Pod"}]));
        assert_eq!(response["result"]["status"], "Failure");
        let message = response["result"]["message"].as_str().expect("a message");
        assert!(message.contains("only a BGPPeer"), "{message}");
        assert_eq!(response.get("convertedObjects"), None);
    }

    #[test]
    fn what_is_no_conversion_review_is_malformed() {
        for request in ["", "{}", r#"{"request": {"uid": "u"}}"#] {
            let answer = answer(request.as_bytes());
            assert!(matches!(answer, Err(ReviewError::Malformed(_))), "{request}");
        }
    }
}
