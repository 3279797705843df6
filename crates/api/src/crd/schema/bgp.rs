//! Schemas of the resources of BGP. Their rules say what `herald_core::config::bgp` refuses, as far as one object shows it, in MetalLB's
//! words where it has them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::super::bgp_advertisement::BGPAdvertisementSpec;
use super::super::bgp_peer::BGPPeerSpec;
use super::super::bgp_peer_v1beta1::BGPPeerV1Beta1Spec;
use super::MOST_ENTRIES;

/// A duration as Go writes it, but for negative ones.
const DURATION: &str = "^[+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$";
/// The longest duration or address: the rules about them need a bound.
const LONGEST_TEXT: u32 = 64;
/// The longest name of a community.
const LONGEST_NAME: u32 = 256;

/// Schema of the spec of a `BGPPeer`.
pub(in crate::crd) fn peer_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut rules = vec![
        rule(
            "(has(self.peerASN) && self.peerASN != 0) || has(self.dynamicASN)",
            "missing peer ASN and dynamicASN; set one of the two",
        ),
        rule(
            "!has(self.peerASN) || self.peerASN == 0 || !has(self.dynamicASN)",
            "both peer ASN and dynamicASN specified; remove one of the two",
        ),
        rule(
            &format!("{} || {}", is_set("peerAddress"), is_set("interface")),
            "peer has no Address or Interface specified; set one of the two",
        ),
        rule(
            &format!("!({} && {})", is_set("peerAddress"), is_set("interface")),
            "peer has both Address and Interface specified; remove one of the two",
        ),
        rule(
            &format!("!({} && {})", is_set("sourceAddress"), is_set("interface")),
            "a peer by interface has no sourceAddress: both sides use their link-local addresses; remove it",
        ),
        rule(
            &format!(
                "!({} && has(self.passwordSecret) && has(self.passwordSecret.name) && self.passwordSecret.name != '')",
                is_set("password")
            ),
            "can not have both password and secret ref set; remove one of the two",
        ),
    ];
    rules.extend(rules_of_both_versions());
    with_rules(BGPPeerSpec::json_schema(generator), rules)
}

/// Schema of the spec of a `BGPPeer` of v1beta1.
pub(in crate::crd) fn peer_v1beta1_spec(generator: &mut SchemaGenerator) -> Schema {
    let rules = rules_of_both_versions().into();
    with_rules(BGPPeerV1Beta1Spec::json_schema(generator), rules)
}

fn rules_of_both_versions() -> [Value; 4] {
    let keepalive_is_duration = format!("self.keepaliveTime.matches('{DURATION}')");
    let hold_is_duration = format!("self.holdTime.matches('{DURATION}')");
    [
        rule(
            "!(has(self.ebgpMultiHop) && self.ebgpMultiHop && has(self.peerASN) && self.peerASN == self.myASN)",
            "invalid ebgp-multihop parameter set for an ibgp peer; remove ebgpMultiHop",
        ),
        rule(
            "!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || !isIP(self.peerAddress) \
             || ip(self.sourceAddress).family() == ip(self.peerAddress).family()",
            "source IP and the peer's address are of different families",
        ),
        rule(
            &format!(
                "!has(self.keepaliveTime) || !has(self.holdTime) || !{keepalive_is_duration} || !{hold_is_duration} \
                 || duration(self.keepaliveTime) <= duration(self.holdTime)"
            ),
            "invalid BGPPeer timers: invalid keepaliveTime, must be lower than holdTime",
        ),
        // Three times a third of a second is 1 s, which is no hold time; less is 0.
        rule(
            &format!(
                "!has(self.keepaliveTime) || has(self.holdTime) || !{keepalive_is_duration} \
                 || duration(self.keepaliveTime) >= duration('1s') || duration(self.keepaliveTime) < duration('333333334ns')"
            ),
            "invalid BGPPeer timers: without holdTime the hold time is 3 x keepaliveTime: must be 0 or >=3s",
        ),
    ]
}

/// Schema of the spec of a `BGPAdvertisement`.
pub(in crate::crd) fn advertisement_spec(generator: &mut SchemaGenerator) -> Schema {
    let rules = vec![rule(
        "!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || \
         ((!has(self.aggregationLength) || self.aggregationLength == 32) && \
         (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))",
        "serviceSelectors and aggregationLength are mutually exclusive, can only be used together with default \
         aggregationLength (32) and aggregationLengthV6 (128)",
    )];
    with_rules(BGPAdvertisementSpec::json_schema(generator), rules)
}

/// Schema of `myASN`. As in MetalLB it accepts 0 apart from the rule.
pub(in crate::crd) fn my_asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "maximum": u32::MAX,
        "x-kubernetes-validations": [rule("self != 0", "missing local ASN; write the AS number of this side, from 1 to 4294967295")]
    })
}

/// Schema of `dynamicASN`.
pub(in crate::crd) fn dynamic_asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["internal", "external"]})
}

/// Schema of `peerAddress` and `sourceAddress`. Kubernetes' functions refuse IPv4-mapped IPv6 addresses, which count as IPv4 here.
pub(in crate::crd) fn address(_: &mut SchemaGenerator) -> Schema {
    text(vec![rule(
        "self == '' || isIP(self) || self.lowerAscii().startsWith('::ffff:')",
        "must be an IP address without a zone, such as 192.168.10.1 or fc00::1",
    )])
}

/// Schema of `routerID`.
pub(in crate::crd) fn router_id(_: &mut SchemaGenerator) -> Schema {
    text(vec![rule(
        "self == '' || (isIP(self) && ip(self).family() == 4 && !ip(self).isUnspecified())",
        "invalid router ID; write an IPv4 address that is not 0.0.0.0",
    )])
}

/// Schema of `keepaliveTime`.
pub(in crate::crd) fn duration(_: &mut SchemaGenerator) -> Schema {
    text(vec![is_duration()])
}

/// Schema of `holdTime`.
pub(in crate::crd) fn hold_time(_: &mut SchemaGenerator) -> Schema {
    text(vec![
        is_duration(),
        of_durations(
            "duration(self) < duration('1s') || (duration(self) >= duration('3s') && duration(self) < duration('65536s'))",
            "invalid BGPPeer timers: invalid hold time: must be 0 or >=3s, and at most 65535s",
        ),
    ])
}

/// Schema of `connectTime`.
pub(in crate::crd) fn connect_time(_: &mut SchemaGenerator) -> Schema {
    text(vec![
        is_duration(),
        of_durations(
            "duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535",
            "connect time should be between 1 seconds to 65535",
        ),
        of_durations(
            "duration(self).getMilliseconds() % 1000 == 0",
            "connect time should contain a whole number of seconds",
        ),
    ])
}

/// Schema of `passwordSecret`, a `v1.SecretReference`.
pub(in crate::crd) fn secret_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "name": {"description": "Name of the Secret, in the namespace of Herald.", "type": "string"},
            "namespace": {"description": "Ignored, as by MetalLB.", "type": "string"}
        }
    })
}

/// Schema of the `communities` of an advertisement. A text without the form of a community may be a name.
pub(in crate::crd) fn communities(_: &mut SchemaGenerator) -> Schema {
    let standard = "self.matches('^[0-9]+:[0-9]+$')";
    let large = "self.matches('^large:[^:]*:[^:]*:[^:]*$')";
    json_schema!({
        "type": "array",
        "maxItems": MOST_ENTRIES,
        "items": {
            "type": "string",
            "maxLength": LONGEST_NAME,
            "x-kubernetes-validations": [
                rule(
                    &format!("!{standard} || {}", is_standard_community()),
                    "invalid community value: both numbers must be from 0 to 65535, such as 65000:1"
                ),
                rule(
                    &format!("!{large} || {}", is_large_community()),
                    "invalid community value: all three numbers must be from 0 to 4294967295, such as large:65000:1:1"
                ),
            ]
        }
    })
}

/// Schema of the name of a community.
pub(in crate::crd) fn community_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": LONGEST_NAME})
}

/// Schema of the value of a named community.
pub(in crate::crd) fn community_value(_: &mut SchemaGenerator) -> Schema {
    let is_community = format!("{} || {}", is_standard_community(), is_large_community());
    text(vec![rule(
        &is_community,
        "must be a community, such as 65000:1 (numbers from 0 to 65535) or large:65000:1:1 (numbers from 0 to 4294967295)",
    )])
}

/// The rule's text for a community of RFC 1997. Leading zeros do not count.
fn is_standard_community() -> String {
    let number = "0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    format!("self.matches('^{number}:{number}$')")
}

/// The rule's text for a community of RFC 8092. Leading zeros do not count.
fn is_large_community() -> String {
    let number = "0*([0-9]{1,9}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}\
        |429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])";
    format!("self.matches('^large(:{number}){{3}}$')")
}

fn text(rules: Vec<Value>) -> Schema {
    with_rules(json_schema!({"type": "string", "maxLength": LONGEST_TEXT}), rules)
}

fn is_duration() -> Value {
    rule(
        &format!("self.matches('{DURATION}')"),
        "invalid duration; write for example 90s or 1m30s",
    )
}

/// A rule that only durations can break.
fn of_durations(text: &str, message: &str) -> Value {
    rule(&format!("!self.matches('{DURATION}') || ({text})"), message)
}

/// The rule's text for a field that is there and not empty: to MetalLB an empty text is absent.
fn is_set(field: &str) -> String {
    format!("(has(self.{field}) && self.{field} != '')")
}

fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

fn with_rules(mut schema: Schema, rules: Vec<Value>) -> Schema {
    schema.insert("x-kubernetes-validations".to_owned(), rules.into());
    schema
}
