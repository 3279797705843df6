//! Checks that the speakers make: what answers on the segments, and which peers gossip reaches.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::checks::{CheckFinding, CheckResult, MachineSeen, NetworkCheck};
use herald_core::announce::network_check::NetworkFault;

use super::{DoctorCheck, DoctorFinding, Outcome, names};
use crate::cluster::{NetworkReports, by_reason};

pub(super) fn findings(reports: &NetworkReports) -> Vec<DoctorFinding> {
    NetworkCheck::ALL
        .into_iter()
        .flat_map(|check| findings_of(reports, check))
        .collect()
}

const fn doctor_check(check: NetworkCheck) -> DoctorCheck {
    match check {
        NetworkCheck::PoolAddresses => DoctorCheck::FreeAddresses,
        NetworkCheck::AnnouncedAddresses => DoctorCheck::AnnouncedAddresses,
        NetworkCheck::NodeAddresses => DoctorCheck::NodeAddresses,
        NetworkCheck::GossipPort => DoctorCheck::GossipPort,
    }
}

fn findings_of(reports: &NetworkReports, check: NetworkCheck) -> Vec<DoctorFinding> {
    let results = reports.reports.iter().flat_map(|report| {
        let results = report.results.iter().filter(move |result| result.check == check);
        results.map(|result| (report.node.as_str(), result))
    });
    let results: Vec<(&str, &CheckResult)> = results.collect();
    let mut by_fault: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (asker, result) in &results {
        for finding in &result.findings {
            let texts = by_fault.entry(&finding.reason).or_default();
            texts.insert(text(asker, finding));
        }
    }
    let mut findings: Vec<DoctorFinding> = by_fault
        .iter()
        .map(|(reason, texts)| {
            let (outcome, remedy) = remedy(reason);
            let found = names(texts.iter().map(String::as_str));
            DoctorFinding::new(doctor_check(check), outcome, found, remedy)
        })
        .collect();
    if let Some(unknown) = reports.unknown.get(&check) {
        let reasons = by_reason(unknown).into_iter();
        let texts = reasons
            .map(|(reason, nodes)| format!("{} checked nothing: {reason}", names(nodes.iter().copied())));
        findings.extend(texts.map(|text| DoctorFinding::unknown(doctor_check(check), text)));
    }
    let asked: usize = results
        .iter()
        .map(|(_, result)| result.asked)
        .max()
        .unwrap_or_default();
    if findings.is_empty() && asked > 0 {
        findings.push(DoctorFinding::pass(
            doctor_check(check),
            passed(check, asked, &results),
        ));
    }
    findings
}

/// Says what was looked at.
fn passed(check: NetworkCheck, asked: usize, results: &[(&str, &CheckResult)]) -> String {
    let askers = names(
        results
            .iter()
            .filter(|(_, result)| result.asked > 0)
            .map(|(node, _)| *node),
    );
    let of_more = results.iter().any(|(_, result)| result.are_more);
    let some = if of_more { ", of more" } else { "" };
    match check {
        NetworkCheck::PoolAddresses => {
            format!("no machine answers for {asked} free addresses{some}; asked by {askers}")
        }
        NetworkCheck::AnnouncedAddresses => {
            format!("the owners alone answer for {asked} addresses{some}; asked by {askers}")
        }
        NetworkCheck::NodeAddresses => {
            format!("no two machines answer for {asked} addresses of nodes{some}; asked by {askers}")
        }
        NetworkCheck::GossipPort => format!(
            "each of {} speakers gets an answer from all others{some}",
            results.len()
        ),
    }
}

/// Returns the fault that a speaker names; `None` if it is of a later version.
fn fault_of(reason: &str) -> Option<NetworkFault> {
    NetworkFault::ALL
        .into_iter()
        .find(|fault| fault.reason() == reason)
}

fn text(asker: &str, finding: &CheckFinding) -> String {
    let address = finding.address.as_deref().unwrap_or("an address");
    let node = finding.node.as_deref().unwrap_or("a node");
    let pool = finding.pool.as_deref().unwrap_or("a pool");
    let machine = |machine: &MachineSeen| match &machine.node {
        Some(node) => format!("{} ({node})", machine.mac),
        None => machine.mac.clone(),
    };
    let machines: Vec<String> = finding.machines.iter().map(machine).collect();
    let machines = names(machines.iter().map(String::as_str));
    match fault_of(&finding.reason) {
        Some(NetworkFault::FreeAddressAnswered) => {
            format!("{machines} answers for {address}, which is free in {pool}")
        }
        Some(NetworkFault::ProxyAnswers) => {
            format!("{machines} answers for most free addresses of {pool}, such as {address}")
        }
        Some(NetworkFault::OtherNodeAnswers | NetworkFault::ForeignHostAnswers) => {
            format!("{machines} answers for {address}, which {node} owns")
        }
        Some(NetworkFault::OwnerSilent) => {
            format!("nothing answers {asker} for {address}, which {node} owns")
        }
        Some(NetworkFault::NodeAddressTaken) => {
            format!("{machines} answers for {address}, an address of {node}")
        }
        Some(NetworkFault::PeerSilent) => format!("{asker} gets no answer from {node}"),
        None => format!("{asker} reports {} of {address}", finding.reason),
    }
}

fn remedy(reason: &str) -> (Outcome, &'static str) {
    match fault_of(reason) {
        Some(NetworkFault::FreeAddressAnswered) => (
            Outcome::Warn,
            "take the address from the machine, or out of the pool; a Service that gets it is not announced while the machine answers",
        ),
        Some(NetworkFault::ProxyAnswers) => (
            Outcome::Fail,
            "switch off proxy ARP on this machine (Linux: net.ipv4.conf.*.proxy_arp, proxy_arp_pvlan; routers: proxy ARP of the interface): \
             clients reach it instead of Services with addresses of the pool",
        ),
        Some(NetworkFault::OtherNodeAnswers) => (
            Outcome::Fail,
            "the kernels of these nodes answer for addresses of Services: with kube-proxy in IPVS mode set ipvs.strictARP: true, otherwise \
             net.ipv4.conf.all.arp_ignore=1 and arp_announce=2; remove addresses of Services from their interfaces",
        ),
        Some(NetworkFault::ForeignHostAnswers) => (
            Outcome::Fail,
            "find the machine with this MAC address, and take the address from it: clients reach it instead of the Service",
        ),
        Some(NetworkFault::OwnerSilent) => (
            Outcome::Fail,
            "heraldctl explain address shows who should answer; check the link of the owner, and whether the switch passes broadcasts",
        ),
        Some(NetworkFault::NodeAddressTaken) => (Outcome::Fail, "give each machine addresses of its own"),
        Some(NetworkFault::PeerSilent) => (
            Outcome::Fail,
            "let UDP port 7946 (speaker.memberlist.mlBindPort) pass between these nodes in both directions, and check that both have the \
             same gossip key",
        ),
        None => (
            Outcome::Warn,
            "use the heraldctl of the speakers' version, which knows this fault",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use herald_api::checks::{ChecksReport, VERSION};

    use super::*;

    fn report(node: &str, check: NetworkCheck, findings: Vec<CheckFinding>) -> ChecksReport {
        ChecksReport {
            version: VERSION,
            node: node.to_owned(),
            results: vec![CheckResult {
                check,
                asked: 7,
                are_more: false,
                findings,
            }],
        }
    }

    fn fault(fault: NetworkFault, node: Option<&str>) -> CheckFinding {
        CheckFinding {
            reason: Cow::Borrowed(fault.reason()),
            address: Some("192.0.2.1".to_owned()),
            pool: Some("first".to_owned()),
            node: node.map(str::to_owned),
            machines: vec![MachineSeen {
                mac: "02:00:00:00:00:09".to_owned(),
                node: Some("node-2".to_owned()),
            }],
        }
    }

    fn of(reports: Vec<ChecksReport>) -> Vec<DoctorFinding> {
        findings(&NetworkReports {
            reports,
            ..NetworkReports::default()
        })
    }

    #[test]
    fn each_fault_has_its_check_its_text_and_a_remedy_and_two_speakers_that_see_it_are_one_finding() {
        use NetworkFault as Fault;
        let table = [
            (
                Fault::FreeAddressAnswered,
                NetworkCheck::PoolAddresses,
                Outcome::Warn,
                "free in first",
                "pool",
            ),
            (
                Fault::ProxyAnswers,
                NetworkCheck::PoolAddresses,
                Outcome::Fail,
                "most free addresses of first",
                "proxy",
            ),
            (
                Fault::OtherNodeAnswers,
                NetworkCheck::AnnouncedAddresses,
                Outcome::Fail,
                "(node-2)",
                "strictARP",
            ),
            (
                Fault::ForeignHostAnswers,
                NetworkCheck::AnnouncedAddresses,
                Outcome::Fail,
                "which node-1 owns",
                "MAC",
            ),
            (
                Fault::OwnerSilent,
                NetworkCheck::AnnouncedAddresses,
                Outcome::Fail,
                "nothing answers",
                "link",
            ),
            (
                Fault::NodeAddressTaken,
                NetworkCheck::NodeAddresses,
                Outcome::Fail,
                "an address of node-1",
                "addresses of its own",
            ),
            (
                Fault::PeerSilent,
                NetworkCheck::GossipPort,
                Outcome::Fail,
                "no answer from node-1",
                "7946",
            ),
        ];
        for (reason, check, outcome, found, remedy) in table {
            let seen = || vec![fault(reason, Some("node-1"))];
            let findings = of(vec![
                report("node-0", check, seen()),
                report("node-0", check, seen()),
            ]);
            assert_eq!(findings.len(), 1, "{findings:#?}");
            let finding = &findings[0];
            assert_eq!((finding.check, finding.outcome), (doctor_check(check), outcome));
            assert!(finding.found.contains(found), "{finding:#?}");
            assert!(finding.remedy.contains(remedy), "{finding:#?}");
        }
    }

    #[test]
    fn a_check_without_faults_passes_and_one_that_was_not_made_is_unknown() {
        let reports = NetworkCheck::ALL.map(|check| report("node-0", check, Vec::new()));
        let passed = of(reports.to_vec());
        assert_eq!(passed.len(), 4);
        assert!(
            passed.iter().all(|finding| finding.outcome == Outcome::Pass),
            "{passed:#?}"
        );
        let unknown = [("node-1".to_owned(), "status 403: no right".to_owned())];
        let reports = NetworkReports {
            reports: vec![report("node-0", NetworkCheck::GossipPort, Vec::new())],
            unknown: BTreeMap::from([(NetworkCheck::GossipPort, unknown.to_vec())]),
        };
        let findings = findings(&reports);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].outcome, Outcome::Unknown);
        assert_eq!(findings[0].found, "node-1 checked nothing: status 403: no right");
        assert_eq!(of(Vec::new()), []);
    }
}
