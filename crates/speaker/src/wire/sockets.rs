//! The sockets of all links, their filters and their multicast groups.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use herald_core::{Family, Time};
use herald_l2::{GroupChange, Link, LinkIndex};
use herald_netio::{PacketSocket, Poller};

use super::delayed_action::DelayedAction;
use super::link_sockets::LinkSockets;
use super::pending_joins::PendingJoins;

/// Delay before what failed is tried again: descriptors or memory may be free by then, an interface up. A socket that
/// is bound to an interface which is down fails at once, so there must be a delay.
const RETRY: Duration = Duration::from_secs(1);

/// From a change of the addresses until the filters hold back frames about other addresses again. A filter of thousands
/// of addresses takes some milliseconds to make, so at five a second no more than a percent of the time goes into it,
/// however many addresses move.
const FILTER_DELAY: Duration = Duration::from_millis(200);

/// The sockets of the links that can carry announcements.
pub(super) struct Sockets {
    /// All links, also those whose sockets cannot be opened.
    links: Vec<Link>,
    by_link: BTreeMap<LinkIndex, LinkSockets>,
    pending_joins: PendingJoins,
    /// Opens sockets that could not be opened or were lost, and joins groups that could not be joined.
    retry: DelayedAction,
    /// Makes the filters hold back frames about other addresses.
    filter: DelayedAction,
}

/// Whether every link still has its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    All,
    /// Sockets of at least one link were closed, see [`Sockets::take_usable`].
    NotAll,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self {
            links: Vec::new(),
            by_link: BTreeMap::new(),
            pending_joins: PendingJoins::default(),
            retry: DelayedAction::new(RETRY),
            filter: DelayedAction::new(FILTER_DELAY),
        }
    }

    /// Replaces the links, and returns whether that changes anything. [`Sockets::open`] has to follow then.
    pub(super) fn set_links(&mut self, links: Vec<Link>) -> bool {
        let is_changed = links != self.links;
        self.links = links;
        is_changed
    }

    /// Whether sockets are to be opened again that could not be opened before.
    pub(super) fn poll_retry(&mut self, now: Time) -> bool {
        self.retry.poll(now)
    }

    /// Opens and closes sockets as the links need, and lets failed joins be tried again.
    pub(super) fn open(&mut self, poller: &Poller, now: Time) {
        self.retry.cancel();
        self.pending_joins.try_again();
        let links = &self.links;
        self.by_link
            .retain(|index, _| links.iter().any(|link| link.index == *index));
        for link in links {
            let sockets = self
                .by_link
                .entry(link.index)
                .or_insert_with(|| LinkSockets::new(link.index));
            if let Err(error) = sockets.adjust(link, poller) {
                tracing::warn!(interface = %link.name, "cannot use interface: {error:#}");
                self.by_link.remove(&link.index);
                self.retry.request(now);
            }
        }
    }

    /// Returns the links that have sockets, with filters that let everything through: addresses may move to links that
    /// did not have them.
    pub(super) fn take_usable(&mut self, now: Time) -> Vec<Link> {
        self.change_filters(now, |sockets| sockets.clear_filters().map(|()| true));
        let links = self.links.iter();
        let usable = links.filter(|link| self.by_link.contains_key(&link.index));
        usable.cloned().collect()
    }

    /// Lets frames about `address` through on all links.
    pub(super) fn admit(&mut self, address: IpAddr, now: Time) -> Remaining {
        self.change_filters(now, |sockets| sockets.admit(address))
    }

    /// Closes the sockets whose filter cannot be changed: a socket that is opened again lets everything through.
    /// `change` returns whether the filter lets everything through now.
    fn change_filters(
        &mut self,
        now: Time,
        change: impl Fn(&mut LinkSockets) -> io::Result<bool>,
    ) -> Remaining {
        let before = self.by_link.len();
        let mut is_open = false;
        self.by_link.retain(|link, sockets| {
            let changed = change(sockets);
            if let Err(error) = &changed {
                tracing::warn!(%link, %error, "cannot widen the filter of an interface");
            }
            is_open |= changed.as_ref().is_ok_and(|is_open| *is_open);
            changed.is_ok()
        });
        if is_open {
            self.filter.request(now);
        }
        if self.by_link.len() == before {
            return Remaining::All;
        }
        // What did not fit was the new filter beside the old one; a new socket has none.
        self.retry.request_at_once(now);
        Remaining::NotAll
    }

    /// Requests that filters hold back frames about addresses that do not matter any more.
    pub(super) fn request_filters(&mut self, now: Time) {
        self.filter.request(now);
    }

    /// Sets the filters if that was requested a while ago. `addresses_on` returns the addresses that matter on a link.
    pub(super) fn set_filters<I: Iterator<Item = IpAddr> + Clone>(
        &mut self,
        addresses_on: impl Fn(LinkIndex) -> I,
        now: Time,
    ) {
        if !self.filter.poll(now) {
            return;
        }
        for (link, sockets) in &mut self.by_link {
            if let Err(error) = sockets.set_filters(addresses_on(*link)) {
                // Frames that pass without need cost time, and nothing else.
                tracing::warn!(%link, %error, "cannot narrow the filter of an interface");
            }
        }
    }

    /// Closes the sockets of a link after an error. The kernel unbinds them for ever when the interface is gone, and an
    /// interface with the same index may take its place without a notification, so they are never trusted again.
    pub(super) fn close(&mut self, link: LinkIndex, error: &io::Error, now: Time) {
        tracing::warn!(%link, %error, "lost the sockets of an interface, opening them again");
        self.by_link.remove(&link);
        self.retry.request(now);
    }

    /// Returns the links and families that have a socket.
    pub(super) fn list(&self) -> Vec<(LinkIndex, Family)> {
        let links = self.by_link.keys();
        let all = links.flat_map(|link| [(*link, Family::V4), (*link, Family::V6)]);
        all.filter(|(link, family)| self.socket(*link, *family).is_some())
            .collect()
    }

    /// Whether frames were lost at any socket since the last call. A socket that cannot tell has lost some.
    pub(super) fn poll_losses(&self) -> bool {
        let sockets = self.by_link.values().flat_map(LinkSockets::iter);
        let losses = sockets.map(|socket| socket.poll_losses().unwrap_or(1));
        losses.sum::<u32>() > 0
    }

    pub(super) fn socket(&self, link: LinkIndex, family: Family) -> Option<&PacketSocket> {
        self.by_link.get(&link)?.socket(family)
    }

    /// Joins or leaves a group; a join that fails is tried again later.
    pub(super) fn change_group(&mut self, change: GroupChange, now: Time) {
        self.pending_joins.remove(change);
        let Some(sockets) = self.by_link.get_mut(&change.link) else {
            return;
        };
        if let Err(error) = sockets.change_group(change) {
            let (link, group) = (change.link, change.group);
            tracing::warn!(%link, %group, member = change.member, %error, "cannot change group membership");
            if change.member {
                self.pending_joins.insert(change);
                self.retry.request(now);
            }
        }
    }

    /// Returns the next join that is to be tried again.
    pub(super) fn poll_join(&mut self) -> Option<GroupChange> {
        self.pending_joins.pop()
    }

    /// How many groups could not be joined.
    pub(super) fn pending_joins(&self) -> usize {
        self.pending_joins.len()
    }

    /// When sockets or filters have to be looked at next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let due = [self.retry.poll_timeout(), self.filter.poll_timeout()];
        due.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32) -> Link {
        Link {
            index: LinkIndex(index),
            name: format!("eth{index}"),
            mac: herald_l2::MacAddr([2, 0, 0, 0, 0, 1]),
            prefixes: Vec::new(),
            arp: true,
            ndp: true,
        }
    }

    #[test]
    fn links_without_sockets_are_not_usable() {
        let mut sockets = Sockets::new();
        assert!(sockets.set_links(vec![link(2)]));
        assert!(!sockets.set_links(vec![link(2)]));
        assert_eq!(sockets.take_usable(Time::ZERO), []);
        assert_eq!(sockets.poll_timeout(), None);
    }

    #[test]
    fn lost_sockets_are_opened_again_after_a_second() {
        let mut sockets = Sockets::new();
        let gone = io::Error::from(io::ErrorKind::NetworkDown);
        sockets.close(LinkIndex(2), &gone, Time::ZERO);
        sockets.close(LinkIndex(3), &gone, Time::ZERO + RETRY / 2);
        let due = Time::ZERO + RETRY;
        assert_eq!(sockets.poll_timeout(), Some(due));
        assert!(!sockets.poll_retry(Time::ZERO + RETRY / 2));
        assert!(sockets.poll_retry(due));
        assert!(!sockets.poll_retry(due));
    }

    #[test]
    fn filters_are_set_once_for_all_changes_within_a_moment() {
        let mut sockets = Sockets::new();
        sockets
            .by_link
            .insert(LinkIndex(2), LinkSockets::new(LinkIndex(2)));
        sockets.request_filters(Time::ZERO);
        sockets.request_filters(Time::ZERO + FILTER_DELAY / 2);
        let due = Time::ZERO + FILTER_DELAY;
        assert_eq!(sockets.poll_timeout(), Some(due));
        let set = std::cell::Cell::new(0);
        let addresses_on = |_| {
            set.set(set.get() + 1);
            std::iter::empty()
        };
        sockets.set_filters(addresses_on, Time::ZERO + FILTER_DELAY / 2);
        assert_eq!(set.get(), 0);
        sockets.set_filters(addresses_on, due);
        sockets.set_filters(addresses_on, due);
        assert_eq!(set.get(), 1);
    }

    #[test]
    fn a_group_of_a_link_without_sockets_is_not_tried_again() {
        let mut sockets = Sockets::new();
        let group = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
        let member = true;
        sockets.change_group(
            GroupChange {
                link: LinkIndex(2),
                group,
                member,
            },
            Time::ZERO,
        );
        assert_eq!(sockets.pending_joins(), 0);
        assert_eq!(sockets.poll_timeout(), None);
    }
}
