//! Problems in manifests are named, and disturb no other resource.

use anyhow::ensure;
use herald_lab::Lab;
use herald_lab::manifest;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::in_lab;
use herald_lab::{DEADLINE, QUICKSTART};

/// Broken manifests: what the error must name.
const BROKEN: [(&str, &str, &[&str]); 5] = [
    (
        "bare-address.yaml",
        include_str!("../data/broken/bare-address.yaml"),
        &[
            "document 1",
            "IPAddressPool \"bare\"",
            "spec.addresses[0]",
            "192.168.67.210",
            "/32",
        ],
    ),
    (
        "overlap.yaml",
        include_str!("../data/broken/overlap.yaml"),
        &[
            "document 1",
            "IPAddressPool \"overlapping\"",
            "spec.addresses[0]",
            "overlaps",
            "first-pool",
        ],
    ),
    (
        "reversed-range.yaml",
        include_str!("../data/broken/reversed-range.yaml"),
        &[
            "document 1",
            "IPAddressPool \"reversed\"",
            "spec.addresses[0]",
            "192.168.67.120-192.168.67.200",
        ],
    ),
    (
        "typo-kind.yaml",
        include_str!("../data/broken/typo-kind.yaml"),
        &[
            "document 1",
            "in line 3 write a space after the colon: \"kind: IPAddressPool\"",
            "document 2",
            "\"Kind\" is spelt \"kind\"",
        ],
    ),
    (
        "typo-list-item.yaml",
        include_str!("../data/broken/typo-list-item.yaml"),
        &[
            "document 1",
            "line 9",
            "in line 9 write a space after the dash: \"- first-pool\"",
        ],
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_lab(
            "a_mistake_is_named_by_file_document_and_field",
            mistakes_are_named,
        ),
        in_lab(
            "a_bad_pool_in_the_cluster_is_set_aside_and_reported",
            bad_pools_are_set_aside,
        ),
    ]
}

async fn mistakes_are_named(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    for (file, yaml, expected) in BROKEN {
        let (_, errors) = lab.cluster().apply(file, yaml).await;
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = text.join("\n");
        ensure!(text.starts_with(file), "{file} is not named: {text:?}");
        for part in expected {
            ensure!(text.contains(part), "{file}: {part:?} is not in: {text}");
        }
    }
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    Ok(())
}

/// Pools that get past admission while no controller answers the webhook: those whose mistake a schema cannot see.
async fn bad_pools_are_set_aside(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let hello = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    lab.kill_controller().await?;
    for (file, yaml, _) in &BROKEN[..3] {
        for document in manifest::split(file, yaml) {
            let object = serde_json::to_value(document.parse()?)?;
            let created = lab.cluster().create(&object).await;
            let seen_by_the_schema = object["metadata"]["name"] == "bare";
            ensure!(created.is_err() == seen_by_the_schema, "{file}: {created:?}");
        }
    }
    lab.start_controller().await?;
    for (pool, part) in [("overlapping", "overlaps"), ("reversed", "192.168.67.200")] {
        wait_for(
            &format!("an event says what is wrong with pool {pool}"),
            DEADLINE,
            async || {
                let events = lab.cluster().events(NAMESPACE).await?;
                let about = format!("Warning IPAddressPool/{pool} ");
                Ok(events
                    .iter()
                    .any(|event| event.starts_with(&about) && event.contains(part))
                    .then_some(()))
            },
        )
        .await?;
    }
    let dual = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    ensure!(
        lab.cluster().addresses("hello").await? == hello,
        "hello lost {hello:?}"
    );
    ensure!(!dual.contains(&hello[0]), "{dual:?}");
    Ok(())
}
