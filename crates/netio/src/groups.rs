//! Multicast groups of an interface.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

/// The IPv6 multicast groups that are joined on one interface. Dropping it leaves them all.
///
/// They are joined through sockets that never receive anything: that makes the kernel send MLD reports, without
/// which switches that snoop would not forward solicitations. A socket takes as many groups as fit into
/// `net.core.optmem_max`, some 2 300 today and 365 on older kernels, so there may be several.
pub struct Groups {
    interface: u32,
    sockets: Vec<Member>,
    joined: BTreeMap<Ipv6Addr, usize>,
}

struct Member {
    socket: Socket,
    full: bool,
}

impl Groups {
    /// No groups yet, on the interface with this index.
    pub const fn new(interface: u32) -> Self {
        Self {
            interface,
            sockets: Vec::new(),
            joined: BTreeMap::new(),
        }
    }

    /// How many groups are joined.
    pub fn len(&self) -> usize {
        self.joined.len()
    }

    /// Whether no group is joined.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// Joins a group; joining it again changes nothing.
    ///
    /// # Errors
    /// When the interface is gone or the kernel is out of memory.
    pub fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        if self.joined.contains_key(&group) {
            return Ok(());
        }
        for (index, member) in self.sockets.iter_mut().enumerate().filter(|(_, m)| !m.full) {
            match member.socket.join_multicast_v6(&group, self.interface) {
                Ok(()) => {
                    self.joined.insert(group, index);
                    return Ok(());
                }
                Err(error) if is_full(&error) => member.full = true,
                Err(error) => return Err(error),
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None)?;
        socket.join_multicast_v6(&group, self.interface)?;
        self.joined.insert(group, self.sockets.len());
        self.sockets.push(Member { socket, full: false });
        Ok(())
    }

    /// Leaves a group; leaving one that is not joined changes nothing.
    ///
    /// # Errors
    /// When the kernel has forgotten the membership, because the interface is gone.
    pub fn leave(&mut self, group: Ipv6Addr) -> io::Result<()> {
        let Some(index) = self.joined.remove(&group) else {
            return Ok(());
        };
        let member = &mut self.sockets[index];
        member.full = false;
        member.socket.leave_multicast_v6(&group, self.interface)
    }
}

/// The memory for socket options is used up.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS))
}
