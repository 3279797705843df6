//! What could not be read is unknown, and passes no check.

use super::*;
use crate::cluster::Absence;

#[test]
fn frr_configurations_are_those_of_metallb_by_the_names_of_the_nodes() {
    let mut objects = metallb(&[]);
    objects.frr_configurations = vec![
        "metallb-system/metallb-node-0".to_owned(),
        "metallb-system/metallb-receive-routes".to_owned(),
    ];
    let findings = checked(cluster(&world()), &objects, None);
    let foreign = "1 that MetalLB did not write: metallb-system/metallb-receive-routes";
    let own = "1 of MetalLB, which may stay in force without it: metallb-system/metallb-node-0";
    assert_eq!(
        not_passed(&findings, MigrationCheck::FrrConfigurations),
        [(Outcome::Warn, own), (Outcome::Warn, foreign)]
    );
}

#[test]
fn frr_configurations_that_may_not_be_listed_are_not_none() {
    let check = MigrationCheck::FrrConfigurations;
    let mut objects = metallb(&[]);
    objects.unknown = vec![(check, "forbidden".to_owned())];
    let findings = checked(cluster(&world()), &objects, None);
    let of_check: Vec<_> = findings.iter().filter(|finding| finding.check == check).collect();
    assert!(
        matches!(of_check.as_slice(), [one] if one.outcome == Outcome::Unknown),
        "{of_check:?}"
    );
}

#[test]
fn without_the_class_nothing_is_said_of_services() {
    let mut objects = MetalLbObjects::default();
    objects.no_pods = Some(Absence::Forbidden("pods".to_owned()));
    let outcomes = |values: Option<&Value>| -> Vec<Outcome> {
        let findings = checked(cluster(&world()), &objects, values);
        let of_services = findings
            .iter()
            .filter(|finding| [MigrationCheck::Services, MigrationCheck::Elections].contains(&finding.check));
        of_services.map(|finding| finding.outcome).collect()
    };
    assert_eq!(outcomes(None), [Outcome::Unknown, Outcome::Unknown]);
    assert!(!outcomes(Some(&json!({}))).contains(&Outcome::Unknown));
}

#[test]
fn a_flag_and_its_value_may_be_two_arguments() {
    assert_eq!(
        metallb(&["--lb-class", "metal"]).class().as_deref(),
        Some("metal")
    );
    assert_eq!(metallb(&["--lb-class=metal"]).class().as_deref(), Some("metal"));
}
