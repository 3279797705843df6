//! The sockets of one link.

use anyhow::Context;
use herald_l2::{GroupChange, Link};
use herald_netio::{Groups, PacketSocket, Poller, Requests};

/// Packet sockets for the families that a link resolves, and its multicast groups.
pub(super) struct Ports {
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
    groups: Groups,
}

impl Ports {
    pub(super) const fn new(link: u32) -> Self {
        Self {
            arp: None,
            ndp: None,
            groups: Groups::new(link),
        }
    }

    /// Opens the sockets that `link` needs and closes others. Groups stay joined.
    pub(super) fn adjust(&mut self, link: &Link, poller: &Poller) -> anyhow::Result<()> {
        adjust(&mut self.arp, link.arp, link.index, Requests::Arp, poller)?;
        adjust(&mut self.ndp, link.ndp, link.index, Requests::Ndp, poller)
    }

    pub(super) const fn socket(&self, requests: Requests) -> Option<&PacketSocket> {
        match requests {
            Requests::Arp => self.arp.as_ref(),
            Requests::Ndp => self.ndp.as_ref(),
        }
    }

    pub(super) fn change_group(&mut self, change: GroupChange) -> std::io::Result<()> {
        if change.member {
            self.groups.join(change.group)
        } else {
            self.groups.leave(change.group)
        }
    }
}

fn adjust(
    socket: &mut Option<PacketSocket>,
    wanted: bool,
    link: u32,
    requests: Requests,
    poller: &Poller,
) -> anyhow::Result<()> {
    if !wanted {
        *socket = None;
    } else if socket.is_none() {
        let opened = PacketSocket::open(link, requests)?;
        poller
            .add(&opened, token(link, requests))
            .context("cannot wait for its packets")?;
        *socket = Some(opened);
    }
    Ok(())
}

/// A socket's token in the poller.
fn token(link: u32, requests: Requests) -> u64 {
    u64::from(link) << 1 | u64::from(requests == Requests::Ndp)
}

/// What a token stands for.
pub(super) const fn port(token: u64) -> (u32, Requests) {
    let requests = if token & 1 == 1 {
        Requests::Ndp
    } else {
        Requests::Arp
    };
    ((token >> 1) as u32, requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_socket() {
        for link in [1, 2, u32::MAX] {
            for requests in [Requests::Arp, Requests::Ndp] {
                assert_eq!(port(token(link, requests)), (link, requests));
            }
        }
    }
}
