//! The Pods of MetalLB, which Herald can run beside.

use std::collections::BTreeMap;

/// A program of MetalLB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetalLbProgram {
    /// Gives addresses to Services.
    Controller,
    /// Announces the addresses.
    Speaker,
}

/// Returns the program of MetalLB that a Pod runs, by the labels that MetalLB's chart and its manifests give to Pods; `None` for
/// other Pods.
pub fn metallb_program(labels: &BTreeMap<String, String>) -> Option<MetalLbProgram> {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let component = match (label("app.kubernetes.io/name"), label("app")) {
        (Some("metallb"), _) => label("app.kubernetes.io/component"),
        (_, Some("metallb")) => label("component"),
        _ => None,
    };
    match component? {
        "controller" => Some(MetalLbProgram::Controller),
        "speaker" => Some(MetalLbProgram::Speaker),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_metallb_are_recognized_by_the_labels_of_its_chart_and_of_its_manifests() {
        let program = |labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()));
            metallb_program(&labels.collect())
        };
        let (name, component) = ("app.kubernetes.io/name", "app.kubernetes.io/component");
        let speaker = Some(MetalLbProgram::Speaker);
        let controller = Some(MetalLbProgram::Controller);
        assert_eq!(program(&[(name, "metallb"), (component, "speaker")]), speaker);
        assert_eq!(
            program(&[(name, "metallb"), (component, "controller")]),
            controller
        );
        assert_eq!(program(&[("app", "metallb"), ("component", "speaker")]), speaker);
        assert_eq!(
            program(&[("app", "metallb"), ("component", "controller")]),
            controller
        );
        assert_eq!(program(&[("app", "metallb"), (component, "speaker")]), None);
        assert_eq!(program(&[(name, "metallb"), (component, "frr-k8s")]), None);
        assert_eq!(program(&[(name, "herald"), (component, "speaker")]), None);
        assert_eq!(program(&[]), None);
    }
}
