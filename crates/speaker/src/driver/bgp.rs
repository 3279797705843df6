//! BGP: hands the agent's peers and routes to the BGP thread, and publishes what becomes of the sessions.

mod identifier;
mod session;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use anyhow::Context;
use herald_api::{BGPSessionState, ServiceBGPStatus};
use herald_bgp::wire::BgpIdentifier;
use herald_core::announce::Protocol;
use herald_core::announce::bgp::{BgpStatus, BgpStatusChange, PeerChange, RouteChange};
use herald_netio::Interface;
use herald_runtime::event::Severity;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Driver;
use super::notice::{self, Notice};
use crate::bgp::{Bgp, BgpCommand, BgpReport, PeerSettings};
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

    /// Begins, changes or ends the session with a peer.
    fn set_peer(&mut self, change: PeerChange, node: impl FnOnce() -> BgpIdentifier) {
        let PeerChange { name, peer } = change;
        let Some(peer) = peer else {
            info!(peer = %name, "no session with this peer any more");
            self.sessions.remove(&name);
            self.states.set(SessionKey(Arc::clone(&name)), None);
            self.thread.send(BgpCommand::RemovePeer(name));
            return;
        };
        let node = *self.identifier.get_or_insert_with(node);
        let session = self.sessions.entry(Arc::clone(&name));
        let session = session
            .and_modify(|session| session.set_peer(&peer))
            .or_insert_with(|| PeerSession::new(&peer));
        let settings = Box::new(PeerSettings::of(&peer, node));
        self.states
            .set(SessionKey(Arc::clone(&name)), Some(session.status()));
        self.thread.send(BgpCommand::SetPeer(name, settings));
    }

    fn set_routes(&mut self, routes: impl Iterator<Item = RouteChange>) {
        let is_stale = &mut self.are_prefixes_stale;
        let routes = routes.inspect(|_| *is_stale = true);
        self.thread.send_all(routes.map(BgpCommand::SetRoute));
    }

    /// Publishes how many prefixes each peer has, if that may have changed.
    fn update_prefixes(&mut self, count: impl Fn(&str) -> usize) {
        if !std::mem::take(&mut self.are_prefixes_stale) {
            return;
        }
        for (name, session) in &mut self.sessions {
            if session.set_prefixes(count(name)) {
                self.states
                    .set(SessionKey(Arc::clone(name)), Some(session.status()));
            }
        }
    }

    /// Takes a report. Returns what users should know of it.
    fn handle_report(&mut self, report: BgpReport, count: impl Fn(&str) -> usize) -> Option<Notice> {
        let BgpReport { peer, event } = report;
        // Of a peer that was removed meanwhile nothing is to be said.
        let session = self.sessions.get_mut(&peer)?;
        let notice = session.handle_event(&peer, event);
        session.set_prefixes(count(&peer));
        self.states.set(SessionKey(peer), Some(session.status()));
        notice
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
        while let Some(change) = self.agent.poll_bgp_peer() {
            let identifier = || identifier::of_node(self.agent.node(), self.agent.node_addresses());
            sessions.set_peer(change, identifier);
        }
        sessions.set_routes(std::iter::from_fn(|| self.agent.poll_route()));
        while let Some(change) = self.agent.poll_bgp_status() {
            self.handle_bgp_status(change);
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

    /// Publishes how many prefixes each peer has, which may change all the time.
    pub(super) fn update_bgp_prefixes(&mut self) {
        let bgp = self.agent.bgp();
        if let Some(sessions) = &mut self.handles.bgp {
            sessions.update_prefixes(|peer| bgp.prefix_count(peer));
        }
    }

    /// Publishes and logs what happened to a session.
    pub(super) fn handle_bgp_report(&mut self, report: BgpReport) {
        let Some(sessions) = &mut self.handles.bgp else {
            return;
        };
        let bgp = self.agent.bgp();
        let Some(notice) = sessions.handle_report(report, |peer| bgp.prefix_count(peer)) else {
            return;
        };
        match notice.severity {
            Severity::Normal => info!("{}", notice.message),
            Severity::Warning => warn!("{}", notice.message),
        }
        self.emit([notice]);
    }
}
