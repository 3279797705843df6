//! The values that let Herald run beside MetalLB.

use serde_json::Value;

use super::metallb::MetalLbObjects;
use super::{MigrationCheck, MigrationFinding, values};

/// The values that the guide adds to those of the user.
pub(super) const BESIDE: &str = include_str!("beside.yaml");

/// A value that the chart refuses beside MetalLB, or that breaks MetalLB.
struct Condition {
    /// The value, as a JSON pointer.
    pointer: &'static str,
    holds: fn(&Value) -> bool,
    /// What to do.
    instead: &'static str,
}

/// Those of the template `herald.refuse` come after the first two.
const CONDITIONS: [Condition; 9] = [
    Condition {
        pointer: "/migration/besideMetalLB",
        holds: |value| *value == true,
        instead: "set migration.besideMetalLB: true",
    },
    // The release of MetalLB owns the definitions.
    Condition {
        pointer: "/crds/enabled",
        holds: |value| *value == false,
        instead: "set crds.enabled: false",
    },
    Condition {
        pointer: "/nameOverride",
        holds: |value| *value != "metallb",
        instead: "set another nameOverride than metallb",
    },
    Condition {
        pointer: "/speaker/takeoverVerification",
        holds: |value| *value == true,
        instead: "set speaker.takeoverVerification: true",
    },
    Condition {
        pointer: "/speaker/memberlist/enabled",
        holds: |value| *value == true,
        instead: "set speaker.memberlist.enabled: true",
    },
    Condition {
        pointer: "/speaker/memberlist/mlBindPort",
        holds: |value| ![7946, 7473].contains(&integer(value)),
        instead: "set speaker.memberlist.mlBindPort: 7956",
    },
    Condition {
        pointer: "/prometheus/metricsPort",
        holds: |value| ![7472, 9120].contains(&integer(value)),
        instead: "set prometheus.metricsPort: 9130",
    },
    Condition {
        pointer: "/speaker/livenessProbe/port",
        holds: |value| integer(value) != 17472,
        instead: "set speaker.livenessProbe.port: 17482",
    },
    Condition {
        pointer: "/speaker/secretName",
        holds: |value| *value != "memberlist" && *value != "metallb-memberlist",
        instead: "remove speaker.secretName",
    },
];

/// Returns a finding for each value with which Herald cannot run beside the MetalLB of this cluster.
pub(super) fn findings(given: &Value, metallb: &MetalLbObjects) -> Vec<MigrationFinding> {
    if !metallb.runs() {
        return Vec::new();
    }
    let mut values = values::defaults();
    json_patch::merge(&mut values, given);
    let broken = CONDITIONS.iter().filter_map(|condition| {
        let value = values.pointer(condition.pointer).unwrap_or(&Value::Null);
        (!(condition.holds)(value)).then(|| {
            let name = condition.pointer[1..].replace('/', ".");
            MigrationFinding::fail(
                MigrationCheck::Values,
                format!("{name} is {value}, with which Herald cannot run beside MetalLB"),
                condition.instead,
            )
        })
    });
    broken.collect()
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::tests::metallb;

    #[test]
    fn the_guide_has_the_values_that_let_both_run() {
        let guide = include_str!("../../../../docs/install/migrate.md");
        let indented: Vec<String> = BESIDE.lines().map(|line| format!("  {line}\n")).collect();
        let block = format!("  ```yaml\n{}  ```\n", indented.concat());
        assert!(guide.contains(&block), "{block}");
        let values: Value = serde_saphyr::from_str(BESIDE).expect("YAML");
        assert_eq!(findings(&values, &metallb(&[])), []);
    }

    #[test]
    fn each_value_that_the_chart_refuses_beside_metallb_is_known() {
        let template = include_str!("../../../../charts/herald/templates/_helpers.tpl");
        let refusals: Vec<&str> = template
            .lines()
            .filter(|line| line.contains("fail \"migration.besideMetalLB:"))
            .collect();
        let conditions = &CONDITIONS[2..];
        assert_eq!(refusals.len(), conditions.len(), "{refusals:?}");
        for condition in conditions {
            let name = condition.pointer[1..].replace('/', ".");
            assert!(refusals.iter().any(|line| line.contains(&name)), "{name}");
        }
    }

    #[test]
    fn every_value_with_which_both_cannot_run_is_named() {
        let names = |given: &Value| -> Vec<String> {
            let found = findings(given, &metallb(&[])).into_iter();
            found
                .map(|finding| finding.found.split(' ').next().unwrap_or_default().to_owned())
                .collect()
        };
        let of_defaults = [
            "migration.besideMetalLB",
            "crds.enabled",
            "speaker.memberlist.mlBindPort",
            "prometheus.metricsPort",
            "speaker.livenessProbe.port",
        ];
        assert_eq!(names(&serde_json::json!({})), of_defaults);
        let mut values: Value = serde_saphyr::from_str(BESIDE).expect("YAML");
        let given = serde_json::json!({
            "nameOverride": "metallb", "prometheus": {"metricsPort": 7472},
            "speaker": {"takeoverVerification": false, "secretName": "memberlist", "memberlist": {"enabled": false, "mlBindPort": 7473}},
        });
        json_patch::merge(&mut values, &given);
        let expected = [
            "nameOverride",
            "speaker.takeoverVerification",
            "speaker.memberlist.enabled",
            "speaker.memberlist.mlBindPort",
            "prometheus.metricsPort",
            "speaker.secretName",
        ];
        assert_eq!(names(&values), expected);
        assert_eq!(findings(&values, &MetalLbObjects::default()), []);
    }
}
