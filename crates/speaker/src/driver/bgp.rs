//! BGP: hands the agent's peers and routes to the BGP thread, and publishes what becomes of the sessions.

mod identifier;
mod session;
mod state;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use anyhow::Context;
use herald_api::{BGPSessionState, ServiceBGPStatus};
use herald_bgp::wire::BgpIdentifier;
use herald_core::Time;
use herald_core::announce::Protocol;
use herald_core::announce::bgp::{BgpStatus, BgpStatusChange, PeerChange, PrefixCounts, RouteChange};
use herald_netio::Interface;
use herald_runtime::event::Severity;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Driver;
use super::notice::{self, Notice};
use crate::bgp::{Bgp, BgpCommand, BgpReport, PeerEvent, PeerSettings};
use crate::input::Awaiting;
use crate::status::{SessionKey, Statuses};
use session::PeerSession;

/// The BGP thread, and what is known of its sessions.
pub(crate) struct BgpSessions {
    thread: Bgp,
    reports: mpsc::UnboundedReceiver<BgpReport>,
    /// The `ServiceBGPStatus` objects of this node.
    services: Statuses<ServiceBGPStatus>,
    /// The `BGPSessionState` objects of this node.
    states: Statuses<BGPSessionState>,
    /// The identifier of this node, once a peer needs it. It stays as it is: another one would end all sessions.
    identifier: Option<BgpIdentifier>,
    sessions: BTreeMap<Arc<str>, PeerSession>,
    /// Whether peers may have another number of prefixes than published.
    are_prefixes_stale: bool,
}

impl BgpSessions {
    pub(crate) fn new(
        mut thread: Bgp,
        services: Statuses<ServiceBGPStatus>,
        states: Statuses<BGPSessionState>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            reports: thread.take_reports().context("reports are taken once")?,
            thread,
            services,
            states,
            identifier: None,
            sessions: BTreeMap::new(),
            are_prefixes_stale: false,
        })
    }

    /// Stops writing objects, or writes again all that differ.
    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.services.set_paused(is_paused);
        self.states.set_paused(is_paused);
    }

    /// Takes that the agent decides from now on.
    pub(super) fn handle_start(&self) {
        self.services.handle_start();
        self.states.handle_start();
    }

    pub(super) fn set_interfaces(&self, interfaces: &[Interface]) {
        self.thread.set_interfaces(interfaces.to_vec());
    }

    /// Takes a peer whose session begins, changes or ends. Returns what the thread is to do.
    fn set_peer(
        &mut self,
        change: PeerChange,
        node: impl FnOnce() -> BgpIdentifier,
        follows_metallb: bool,
    ) -> BgpCommand {
        let PeerChange { name, peer } = change;
        let Some(peer) = peer else {
            info!(peer = %name, "no session with this peer any more");
            self.sessions.remove(&name);
            self.states.set(SessionKey(Arc::clone(&name)), None);
            return BgpCommand::RemovePeer(name);
        };
        let node = *self.identifier.get_or_insert_with(node);
        let session = self.sessions.entry(Arc::clone(&name));
        let session = session
            .and_modify(|session| session.set_peer(&peer))
            .or_insert_with(|| PeerSession::new(&peer));
        let settings = Box::new(PeerSettings::of(&peer, node, follows_metallb));
        self.states
            .set(SessionKey(Arc::clone(&name)), Some(session.status()));
        BgpCommand::SetPeer(name, settings)
    }

    /// Hands over a decision as one: a new session gets End-of-RIB only when all of its routes are there.
    fn send(&mut self, peers: Vec<BgpCommand>, routes: impl Iterator<Item = RouteChange>) {
        let is_stale = &mut self.are_prefixes_stale;
        let routes = routes.inspect(|_| *is_stale = true).map(BgpCommand::SetRoute);
        self.thread.send_all(peers.into_iter().chain(routes));
    }

    /// Publishes how many prefixes each peer is to have, where that has settled. Returns what users should know of it.
    fn update_prefixes(&mut self, count: impl Fn(&str) -> PrefixCounts, now: Time) -> Vec<Notice> {
        let are_stale = std::mem::take(&mut self.are_prefixes_stale);
        let mut notices = Vec::new();
        for (name, session) in &mut self.sessions {
            if are_stale {
                session.set_prefixes(count(name), now);
            }
            if session.publish_prefixes(now) {
                notices.extend(session.poll_prefix_notice(name));
                self.states
                    .set(SessionKey(Arc::clone(name)), Some(session.status()));
            }
        }
        notices
    }

    /// Takes what happened to a session. Returns what users should know of it.
    fn handle_event(
        &mut self,
        peer: Arc<str>,
        event: PeerEvent,
        count: impl Fn(&str) -> PrefixCounts,
    ) -> Vec<Notice> {
        // Of a peer that was removed meanwhile nothing is to be said.
        let Some(session) = self.sessions.get_mut(&peer) else {
            return Vec::new();
        };
        let notice = session.handle_event(&peer, event, count(&peer));
        let notices = notice
            .into_iter()
            .chain(session.poll_prefix_notice(&peer))
            .collect();
        self.states.set(SessionKey(peer), Some(session.status()));
        notices
    }
}

/// Returns the next report; never without BGP.
///
/// # Cancel safety
/// No report is lost when the future is dropped.
pub(super) async fn next_report(sessions: &mut Option<BgpSessions>) -> Option<BgpReport> {
    match sessions {
        Some(sessions) => sessions.reports.recv().await,
        None => pending().await,
    }
}

/// Resolves when the BGP thread has ended: end the program.
pub(super) fn failed(sessions: Option<&BgpSessions>) -> impl Future<Output = anyhow::Error> + Send + use<> {
    let failed = sessions.map(|sessions| sessions.thread.failed());
    async move {
        match failed {
            Some(failed) => failed.await,
            None => pending().await,
        }
    }
}

impl Driver {
    /// Hands over what the agent has decided about BGP: peers before their routes.
    pub(super) fn carry_out_bgp(&mut self) {
        let Some(sessions) = &mut self.handles.bgp else {
            return;
        };
        let follows_metallb = self.beside.is_some();
        let mut peers = Vec::new();
        while let Some(change) = self.agent.poll_bgp_peer() {
            let identifier = || identifier::of_node(self.agent.node(), self.cluster.internal_ipv4());
            peers.push(sessions.set_peer(change, identifier, follows_metallb));
        }
        sessions.send(peers, std::iter::from_fn(|| self.agent.poll_route()));
        while let Some(change) = self.agent.poll_bgp_status() {
            self.handle_bgp_status(change);
        }
        while let Some(clash) = self.agent.poll_local_pref_clash() {
            warn!(reason = "ConflictingAdvertisements", "{clash}");
            self.emit(notice::local_pref_clash(&clash));
        }
    }

    /// Publishes, logs and counts that this node announces a Service by BGP otherwise than before.
    fn handle_bgp_status(&mut self, change: BgpStatusChange) {
        let BgpStatusChange {
            service,
            before,
            after,
        } = change;
        let addresses =
            |status: Option<&BgpStatus>| status.map_or_else(Vec::new, |one| one.addresses.clone());
        let (old, new) = (addresses(before.as_ref()), addresses(after.as_ref()));
        for address in old.iter().filter(|address| !new.contains(address)) {
            info!(%service, %address, "no longer announcing by BGP");
            self.metrics.withdrawn(&service, *address, Protocol::Bgp);
        }
        for address in new.iter().filter(|address| !old.contains(address)) {
            info!(%service, %address, "announcing by BGP");
            self.metrics.announced(&service, *address, Protocol::Bgp);
        }
        if before.is_none() && after.is_some() {
            self.emit([notice::node_assigned(&service, &self.node, Protocol::Bgp)]);
        }
        if let Some(sessions) = &self.handles.bgp {
            sessions.services.set(service, after);
        }
    }

    /// Takes the time while kinds of BGP are awaited that others are listed before. Returns whether the configuration is to be applied
    /// because of it.
    pub(super) fn handle_bgp_time(&mut self) -> bool {
        let now = self.now();
        let is_listed =
            !self.awaited.contains(Awaiting::Pools) && !self.awaited.contains(Awaiting::Advertisements);
        self.handles.bgp.is_some() && is_listed && self.cluster.handle_time(now)
    }

    /// Publishes how many prefixes each peer is to have, which may change all the time.
    pub(super) fn update_bgp_prefixes(&mut self) {
        let (bgp, now) = (self.agent.bgp(), self.now());
        if let Some(sessions) = &mut self.handles.bgp {
            let notices = sessions.update_prefixes(|peer| bgp.prefix_counts(peer), now);
            self.emit_logged(notices);
        }
    }

    /// Takes what happened to a session: what it cannot have of its routes, or something that is published and logged.
    pub(super) fn handle_bgp_report(&mut self, report: BgpReport) {
        let BgpReport { peer, event } = report;
        let Some(sessions) = &mut self.handles.bgp else {
            return;
        };
        if let PeerEvent::Limited(limits) = event {
            self.agent.set_bgp_limits(&peer, limits);
            sessions.are_prefixes_stale = true;
            return;
        }
        let bgp = self.agent.bgp();
        let notices = sessions.handle_event(peer, event, |peer| bgp.prefix_counts(peer));
        self.emit_logged(notices);
    }

    /// Emits notices about sessions, and logs them.
    fn emit_logged(&self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            match notice.severity {
                Severity::Normal => info!("{}", notice.message),
                Severity::Warning => warn!("{}", notice.message),
            }
            self.emit([notice]);
        }
    }
}
