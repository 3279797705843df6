//! Multicast groups of an interface.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

/// The IPv6 multicast groups that are joined on one interface. Dropping the value leaves them all.
///
/// The sockets that join them never receive anything. They make the kernel send MLD reports, without which a switch with
/// MLD snooping (RFC 4541) would not forward solicitations. A socket takes as many groups as fit into
/// `net.core.optmem_max`, some 2 300 today and 365 on older kernels, so there may be several sockets.
pub struct Groups {
    interface: u32,
    sockets: Vec<GroupSocket>,
    joined: BTreeMap<Ipv6Addr, usize>,
}

struct GroupSocket {
    socket: Socket,
    full: bool,
}

impl Groups {
    /// Creates an empty set of groups for the interface with this index.
    pub const fn new(interface: u32) -> Self {
        Self {
            interface,
            sockets: Vec::new(),
            joined: BTreeMap::new(),
        }
    }

    /// Returns the number of joined groups.
    pub fn len(&self) -> usize {
        self.joined.len()
    }

    /// Returns whether no group is joined.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// Joins a group. Does nothing when it is joined already.
    ///
    /// # Errors
    /// When the interface is gone or the kernel is out of memory.
    pub fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        if self.joined.contains_key(&group) {
            return Ok(());
        }
        for (index, group_socket) in self
            .sockets
            .iter_mut()
            .enumerate()
            .filter(|(_, socket)| !socket.full)
        {
            match group_socket.socket.join_multicast_v6(&group, self.interface) {
                Ok(()) => {
                    self.joined.insert(group, index);
                    return Ok(());
                }
                Err(error) if is_full(&error) => group_socket.full = true,
                Err(error) => return Err(error),
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None)?;
        socket.join_multicast_v6(&group, self.interface)?;
        self.joined.insert(group, self.sockets.len());
        self.sockets.push(GroupSocket { socket, full: false });
        Ok(())
    }

    /// Leaves a group. Does nothing when it is not joined.
    ///
    /// # Errors
    /// When the kernel has removed the group, because the interface is gone.
    pub fn leave(&mut self, group: Ipv6Addr) -> io::Result<()> {
        let Some(index) = self.joined.remove(&group) else {
            return Ok(());
        };
        let group_socket = &mut self.sockets[index];
        group_socket.full = false;
        group_socket.socket.leave_multicast_v6(&group, self.interface)
    }
}

/// Returns whether the memory for socket options is used up.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS))
}
