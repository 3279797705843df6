//! Network checks: which addresses and peers a run asks for, and what it reports. The agent decides nothing by it.

use std::collections::BTreeSet;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use herald_api::checks::{CheckFinding, CheckResult, ChecksReport, MachineSeen, NetworkCheck, VERSION};
use herald_core::NodeName;
use herald_core::announce::network_check::{
    CheckTarget, CheckTargets, NetworkFault, NetworkFinding, PeerQuestions, judge,
};
use herald_l2::{SurveyAnswers, SurveyLink, SurveyQuestion, vantage};
use herald_netio::Interface;
use tokio::sync::oneshot;

use super::Driver;
use crate::gossip::PeerMessage;
use crate::{sleep_until, wire};

/// The address that peers are asked for by gossip: none of them announces it, and the answer says that they hear this node.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A request for a run of checks. Dropping the receiver of the answer cancels the run.
pub(crate) struct CheckRequest {
    pub(crate) checks: BTreeSet<NetworkCheck>,
    pub(crate) answer: oneshot::Sender<ChecksReport>,
}

/// The run of network checks, if there is one, and what a run needs to know.
#[derive(Default)]
pub(super) struct NetworkChecks {
    interfaces: Vec<Interface>,
    run: Option<CheckRun>,
}

/// A run of network checks.
struct CheckRun {
    answer: oneshot::Sender<ChecksReport>,
    targets: Vec<(NetworkCheck, CheckTargets)>,
    survey: SurveyProgress,
    peers: Option<PeerQuestions>,
}

/// The part of a run that the wire thread does.
enum SurveyProgress {
    Awaited(oneshot::Receiver<SurveyAnswers>),
    /// The answers; none if another survey took its place.
    Ended(SurveyAnswers),
}

impl NetworkChecks {
    pub(super) fn set_interfaces(&mut self, interfaces: Vec<Interface>) {
        self.interfaces = interfaces;
    }

    /// Resolves when the run may go on. Never without a run.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn progressed(&mut self, zero: Instant) {
        let Some(run) = &mut self.run else {
            return pending().await;
        };
        let due = run.peers.as_ref().and_then(PeerQuestions::poll_timeout);
        let answers = async {
            match &mut run.survey {
                SurveyProgress::Awaited(answers) => answers.await.unwrap_or_default(),
                SurveyProgress::Ended(_) => pending().await,
            }
        };
        tokio::select! {
            answers = answers => run.survey = SurveyProgress::Ended(answers),
            () = sleep_until(due.map(|due| zero + due.elapsed())) => {}
            () = run.answer.closed() => {}
        }
    }
}

impl CheckRun {
    /// Whether all answers are there, or count as missing.
    fn is_over(&self) -> bool {
        let peers = self.peers.as_ref();
        matches!(self.survey, SurveyProgress::Ended(_))
            && peers.is_none_or(|peers| peers.poll_timeout().is_none())
    }
}

impl Driver {
    /// Begins a run. It takes the place of one that nothing awaits any more: the server has one client at a time.
    pub(super) fn begin_checks(&mut self, request: CheckRequest) {
        let CheckRequest { checks, answer } = request;
        let links = self.survey_links();
        let can_ask = |address| vantage(address, &links).is_some();
        let targets_of = |check| match check {
            NetworkCheck::PoolAddresses => Some(self.agent.free_targets(self.cluster.pools(), can_ask)),
            NetworkCheck::AnnouncedAddresses => Some(self.agent.announced_targets(can_ask)),
            NetworkCheck::NodeAddresses => Some(self.agent.node_targets(can_ask)),
            NetworkCheck::GossipPort => None,
        };
        let targets = checks
            .iter()
            .filter_map(|check| Some((*check, targets_of(*check)?)));
        let targets: Vec<(NetworkCheck, CheckTargets)> = targets.collect();
        let all = targets.iter().flat_map(|(_, targets)| &targets.targets);
        let questions: Vec<SurveyQuestion> = all.filter_map(|target| question(target, &links)).collect();
        let survey = if questions.is_empty() {
            SurveyProgress::Ended(SurveyAnswers::new())
        } else {
            SurveyProgress::Awaited(self.handles.wire.survey(questions))
        };
        let peers = self
            .handles
            .gossip
            .as_ref()
            .map(|_| self.cluster.ready_peers(&self.node));
        let peers = peers.filter(|_| checks.contains(&NetworkCheck::GossipPort));
        let peers = peers.map(|peers| PeerQuestions::new(peers, self.now()));
        self.checks.run = Some(CheckRun {
            answer,
            targets,
            survey,
            peers,
        });
    }

    /// Asks the next peers, and reports when the run is over.
    pub(super) fn advance_checks(&mut self) {
        let now = self.now();
        let Some(run) = &mut self.checks.run else {
            return;
        };
        if run.answer.is_closed() {
            self.checks.run = None;
            return;
        }
        if let (Some(peers), Some(gossip)) = (&mut run.peers, &self.handles.gossip) {
            while let Some(peer) = peers.poll_question(now) {
                gossip.query(peer, NO_ADDRESS);
            }
        }
        if let Some(run) = self.checks.run.take_if(|run| run.is_over()) {
            let report = self.report_checks(&run);
            // Fails only when the client is gone.
            let _gone = run.answer.send(report);
        }
    }

    /// Takes the answer of a peer to a question of a run. Returns a message that is something else.
    pub(super) fn take_check_answer(&mut self, message: PeerMessage) -> Option<PeerMessage> {
        match message {
            PeerMessage::Answered { peer, address, .. } if address == NO_ADDRESS => {
                let run = self.checks.run.as_mut();
                if let Some(peers) = run.and_then(|run| run.peers.as_mut()) {
                    peers.handle_answer(&peer);
                }
                self.advance_checks();
                None
            }
            message @ (PeerMessage::Answered { .. } | PeerMessage::Queried { .. }) => Some(message),
        }
    }

    fn survey_links(&self) -> Vec<SurveyLink> {
        let pools = self.cluster.pools();
        let is_own = |address| !pools.iter().any(|pool| pool.contains(address));
        wire::survey_links(&self.checks.interfaces, &self.handles.exclude, is_own)
    }

    fn report_checks(&self, run: &CheckRun) -> ChecksReport {
        let no_answers = SurveyAnswers::new();
        let answers = match &run.survey {
            SurveyProgress::Ended(answers) => answers,
            SurveyProgress::Awaited(_) => &no_answers,
        };
        let on_the_wire = run.targets.iter().map(|(check, targets)| {
            // What has become another node's meanwhile says nothing.
            let still = targets
                .targets
                .iter()
                .filter(|target| self.agent.is_still(target));
            let asked = still
                .clone()
                .filter(|target| answers.contains_key(&target.address));
            CheckResult {
                check: *check,
                asked: asked.count(),
                are_more: targets.are_more,
                findings: judge(still, answers, &self.node, self.agent.members())
                    .iter()
                    .map(finding)
                    .collect(),
            }
        });
        let by_gossip = run.peers.iter().map(|peers| CheckResult {
            check: NetworkCheck::GossipPort,
            asked: peers.asked(),
            are_more: peers.are_more(),
            findings: peers.silent().map(silent_peer).collect(),
        });
        ChecksReport {
            version: VERSION,
            node: self.node.to_string(),
            results: on_the_wire.chain(by_gossip).collect(),
        }
    }
}

fn question(target: &CheckTarget, links: &[SurveyLink]) -> Option<SurveyQuestion> {
    let (link, source) = vantage(target.address, links)?;
    Some(SurveyQuestion {
        address: target.address,
        link,
        source,
        rounds: target.rounds(),
    })
}

fn finding(found: &NetworkFinding) -> CheckFinding {
    let machines = found.machines.iter().map(|(mac, node)| MachineSeen {
        mac: mac.to_string(),
        node: node.as_ref().map(ToString::to_string),
    });
    CheckFinding {
        reason: found.fault.reason().into(),
        address: found.address.map(|address| address.to_string()),
        pool: found.pool.as_ref().map(ToString::to_string),
        node: found.node.as_ref().map(ToString::to_string),
        machines: machines.collect(),
    }
}

fn silent_peer(peer: &NodeName) -> CheckFinding {
    CheckFinding {
        reason: NetworkFault::PeerSilent.reason().into(),
        address: None,
        pool: None,
        node: Some(peer.to_string()),
        machines: Vec::new(),
    }
}
