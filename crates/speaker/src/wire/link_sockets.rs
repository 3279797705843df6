//! The sockets of one link.

use std::io;
use std::net::IpAddr;

use anyhow::Context;
use herald_core::Family;
use herald_l2::{GroupChange, Link, LinkIndex};
use herald_netio::{Groups, PacketSocket, Poller, Traffic};

/// Packet sockets for the families that a link resolves, and the link's multicast groups.
pub(super) struct LinkSockets {
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
    groups: Groups,
}

impl LinkSockets {
    pub(super) const fn new(link: LinkIndex) -> Self {
        Self {
            arp: None,
            ndp: None,
            groups: Groups::new(link.0),
        }
    }

    /// Opens the sockets that `link` needs and closes others. Groups stay joined.
    pub(super) fn adjust(&mut self, link: &Link, poller: &Poller) -> anyhow::Result<()> {
        adjust(&mut self.arp, link.arp, link.index, Family::V4, poller)?;
        adjust(&mut self.ndp, link.ndp, link.index, Family::V6, poller)
    }

    pub(super) const fn socket(&self, family: Family) -> Option<&PacketSocket> {
        match family {
            Family::V4 => self.arp.as_ref(),
            Family::V6 => self.ndp.as_ref(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PacketSocket> {
        self.arp.iter().chain(&self.ndp)
    }

    /// Makes the filter of the address's family let through frames about `address`. Returns whether it now lets through
    /// frames about all addresses.
    pub(super) fn admit(&mut self, address: IpAddr) -> io::Result<bool> {
        match Family::of(address) {
            Family::V4 => self.arp.as_mut(),
            Family::V6 => self.ndp.as_mut(),
        }
        .map_or(Ok(false), |socket| socket.admit(address))
    }

    /// Makes the filters let through frames about all addresses.
    pub(super) fn clear_filters(&mut self) -> io::Result<()> {
        let mut sockets = self.arp.iter_mut().chain(&mut self.ndp);
        sockets.try_for_each(PacketSocket::clear_filter)
    }

    /// Makes the filters hold back frames about other addresses than these, as far as the kernel can.
    pub(super) fn set_filters(&mut self, addresses: impl Iterator<Item = IpAddr> + Clone) -> io::Result<()> {
        for (socket, family) in [(&mut self.arp, Family::V4), (&mut self.ndp, Family::V6)] {
            let of_family = addresses.clone().filter(|address| Family::of(*address) == family);
            socket
                .as_mut()
                .map_or(Ok(()), |socket| socket.set_filter(of_family))?;
        }
        Ok(())
    }

    pub(super) fn change_group(&mut self, change: GroupChange) -> io::Result<()> {
        if change.member {
            self.groups.join(change.group)
        } else {
            self.groups.leave(change.group)
        }
    }
}

fn adjust(
    socket: &mut Option<PacketSocket>,
    is_needed: bool,
    link: LinkIndex,
    family: Family,
    poller: &Poller,
) -> anyhow::Result<()> {
    if !is_needed {
        *socket = None;
    } else if socket.is_none() {
        let opened = PacketSocket::open(link.0, traffic(family))?;
        poller
            .add(&opened, token(link, family))
            .context("cannot wait for its packets")?;
        *socket = Some(opened);
    }
    Ok(())
}

/// The protocol that resolves addresses of a family.
const fn traffic(family: Family) -> Traffic {
    match family {
        Family::V4 => Traffic::Arp,
        Family::V6 => Traffic::Ndp,
    }
}

/// The token of a socket in the poller.
fn token(link: LinkIndex, family: Family) -> u64 {
    u64::from(link.0) << 1 | u64::from(family == Family::V6)
}

/// The link and the family of the socket that has this token.
pub(super) const fn socket_of(token: u64) -> (LinkIndex, Family) {
    let family = if token & 1 == 1 { Family::V6 } else { Family::V4 };
    (LinkIndex((token >> 1) as u32), family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_socket() {
        for link in [1, 2, u32::MAX].map(LinkIndex) {
            for family in [Family::V4, Family::V6] {
                assert_eq!(socket_of(token(link, family)), (link, family));
            }
        }
    }
}
