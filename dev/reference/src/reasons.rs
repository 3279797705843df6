//! Events and conditions with their reasons.

use std::collections::BTreeSet;

use herald_api::crd::{ALLOCATED, ANNOUNCED, EFFECTIVE, READY};
use herald_core::Family;
use herald_core::announce::bgp::PeerExclusion;
use herald_core::announce::layer2::takeover::AddressEvent;

use crate::page::{Page, code};
use crate::source::{self, Reason};

const REFUSALS: &str = "crates/core/src/ipam/refusal.rs";
const NOTES: &str = "crates/core/src/ipam/decision.rs";
const EXCLUSIONS: &str = "crates/core/src/announce/eligibility.rs";
const ROUTE_EXCLUSIONS: &str = "crates/core/src/announce/bgp/exclusion.rs";
const ADDRESS_EVENTS: &str = "crates/core/src/announce/layer2/takeover/event.rs";
const EFFECTS: &str = "crates/core/src/config/catalog/effect.rs";
const BGP_EFFECTS: &str = "crates/core/src/config/bgp/effect.rs";
const REASONS: &str = "crates/api/src/reason.rs";

/// Returns the page of the Kubernetes events.
pub(crate) fn events() -> anyhow::Result<String> {
    let mut page = Page::new("Events");
    page.paragraph(
        "`kubectl describe` shows the events of an object. Their message names addresses, pools and nodes; here is what each \
         reason means. [Troubleshooting](../troubleshooting/index.md) says what to do.",
    );
    page.heading("On Services, from the controller");
    let notes = source::reasons(NOTES, "Note", &[REFUSALS, "crates/core/src/ipam/external.rs"])?;
    table(&mut page, notes);
    page.heading("On Services, from a speaker");
    let of_addresses = source::reasons(ADDRESS_EVENTS, "AddressEvent", &[])?;
    let (of_users, of_operators): (Vec<Reason>, _) = of_addresses.into_iter().partition(|reason| {
        let mut examples = AddressEvent::examples().into_iter();
        examples.any(|event| event.reason() == reason.word && event.concerns_users())
    });
    table(&mut page, of_users);
    page.paragraph("Only in the log of the speaker, and in the metric `herald_wire_reports_total`:");
    table(&mut page, of_operators);
    page.heading("On BGPPeers and BGPAdvertisements, from the controller");
    table(&mut page, source::reasons(BGP_EFFECTS, "BgpIneffective", &[])?);
    page.heading("Other events");
    page.paragraph("The first words name the object.");
    table(&mut page, source::reasons(REASONS, "EventReason", &[])?);
    Ok(page.finish())
}

/// Returns the page of the conditions.
pub(crate) fn conditions() -> anyhow::Result<String> {
    let mut page = Page::new("Conditions");
    page.paragraph(
        "Conditions are in `status.conditions` of an object. `kubectl wait --for=condition=TYPE` waits for one. The message has \
         names and addresses; here is what each reason means.",
    );
    let own = source::reasons(REASONS, "ConditionReason", &[])?;
    let of = |condition: &str| {
        let reasons = own.iter().filter_map(|reason| {
            let (types, meaning) = reason.meaning.split_once(": ")?;
            types.contains(condition).then(|| Reason {
                word: reason.word.clone(),
                meaning: capital(meaning),
            })
        });
        reasons.collect::<Vec<_>>()
    };
    page.heading(&format!("{ALLOCATED} of a Service"));
    page.paragraph("Whether the Service has the addresses that it asks for.");
    table(&mut page, of(ALLOCATED));
    page.paragraph(
        "The status is True as well with the reason of an [event](events.md#on-services-from-the-controller) that says what is \
         missing (`RequestNotMet`, `AddressUsedElsewhere` and others). It is False with:",
    );
    table(
        &mut page,
        source::reasons(REFUSALS, "Refusal", &["crates/core/src/service.rs"])?,
    );
    page.heading(&format!("{ANNOUNCED} of a Service"));
    page.paragraph(
        "Whether a node announces the addresses of the Service. `ServiceL2Status` has the same condition; a `ServiceBGPStatus` exists only \
         where a node announces the Service.",
    );
    table(&mut page, of(ANNOUNCED));
    page.paragraph("False, because the network shows an obstacle:");
    let obstacles = source::reasons(ADDRESS_EVENTS, "AddressEvent", &[])?;
    table(&mut page, obstacles.into_iter().filter(is_obstacle).collect());
    page.paragraph("False, because no node may announce the Service:");
    let exclusions = source::reasons(EXCLUSIONS, "Exclusion", &[])?;
    let words: BTreeSet<String> = exclusions.iter().map(|reason| reason.word.clone()).collect();
    table(&mut page, exclusions);
    page.paragraph(
        "By BGP, a node may have these reasons as well, which the message of `NoCandidate` names:",
    );
    let mut of_routes = source::reasons(ROUTE_EXCLUSIONS, "RouteExclusion", &[])?;
    of_routes.extend(of_sessions()?);
    of_routes.retain(|reason| !words.contains(&reason.word));
    table(&mut page, of_routes);
    page.heading(&format!("{READY} of IPAddressPool and L2Advertisement"));
    page.paragraph(
        "Whether the resource, as it is written (`observedGeneration`, also in the status itself), is in force. Tools such as Flux \
         and Helm 4 (`--wait`) wait for it.",
    );
    table(&mut page, of(READY));
    page.heading(&format!("{EFFECTIVE} of IPAddressPool and L2Advertisement"));
    page.paragraph("Whether the resource, as it is written (`observedGeneration`), has the effect that it is written for.");
    table(&mut page, of(EFFECTIVE));
    page.paragraph("False with:");
    table(&mut page, source::reasons(EFFECTS, "Ineffective", &[])?);
    page.heading("Of ConfigurationState");
    page.paragraph(
        "`poolReconcilerValid` is that of the controller, `configReconcilerValid` that of a speaker:",
    );
    table(&mut page, of("poolReconcilerValid"));
    page.paragraph("`herald.io/GossipReachable`, of a speaker:");
    table(&mut page, of("GossipReachable"));
    page.heading("Of BGPSessionState");
    page.paragraph(
        "It has no conditions. `status.unsendableReason` has the message of one of these reasons. A node that announces a Service to no peer \
         because of them has the reason in the message of `NoCandidate`.",
    );
    table(&mut page, of_sessions()?);
    Ok(page.finish())
}

/// Returns the reasons why a session cannot have a route. The others are of peers that are not to have it.
fn of_sessions() -> anyhow::Result<Vec<Reason>> {
    let others = [
        PeerExclusion::NotSelected,
        PeerExclusion::FamilyNotCarried(Family::V4),
    ];
    let mut reasons = source::reasons(ROUTE_EXCLUSIONS, "PeerExclusion", &[])?;
    reasons.retain(|reason| others.iter().all(|other| other.reason() != reason.word));
    Ok(reasons)
}

/// Returns whether the reason is one of the condition as well.
fn is_obstacle(reason: &Reason) -> bool {
    let mut examples = AddressEvent::examples().into_iter();
    examples.any(|event| event.reason() == reason.word && event.is_obstacle())
}

fn table(page: &mut Page, reasons: Vec<Reason>) {
    let rows = reasons
        .into_iter()
        .map(|reason| [code(&reason.word), reason.meaning]);
    page.table(["reason", "meaning"], rows);
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}
