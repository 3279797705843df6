//! Sockets for router discovery on one interface (RFC 4861, ICMPv6).

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::sockopt::{Ipv6RecvHopLimit, SetStruct};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SetSockOpt, SockaddrIn6, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// RFC 4861 section 6.1: receivers discard messages with another hop limit, which may have crossed a router.
const HOP_LIMIT: u32 = 255;
/// `ICMP6_FILTER` of `linux/icmpv6.h`.
const ICMPV6_FILTER: libc::c_int = 1;
/// ICMPv6 types of router solicitations and advertisements.
const TYPES: [u8; 2] = [133, 134];
/// The longest message that is read. One with more options is cut, and the options do not matter.
const LONGEST: usize = 256;

/// The ICMPv6 types that a socket does not receive: one bit each (RFC 3542 section 3.2).
#[derive(Clone, Copy)]
struct BlockedTypes;
nix::setsockopt_impl!(
    BlockedTypes,
    libc::IPPROTO_ICMPV6,
    ICMPV6_FILTER,
    [u32; 8],
    SetStruct<'_, [u32; 8]>
);

/// A socket that sends and receives router solicitations and advertisements on one interface.
#[derive(Debug)]
pub struct RouterDiscoverySocket {
    socket: Socket,
    interface: u32,
}

/// A message that was received: its bytes, of which the kernel has checked the checksum, its sender and its hop limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterDiscoveryMessage {
    /// The ICMPv6 message.
    pub bytes: Vec<u8>,
    /// The sender.
    pub source: Ipv6Addr,
    /// The hop limit of its packet.
    pub hop_limit: u8,
}

impl RouterDiscoverySocket {
    /// Opens a socket for the interface with this index and name, which receives what is sent to `group` as well.
    ///
    /// # Errors
    /// When raw sockets are not permitted (CAP_NET_RAW) or the interface is gone.
    pub fn open(interface: u32, name: &str, group: Ipv6Addr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::IPV6,
            Type::RAW.nonblocking().cloexec(),
            Some(Protocol::ICMPV6),
        )?;
        let mut blocked = [u32::MAX; 8];
        for kind in TYPES {
            blocked[usize::from(kind / 32)] &= !(1 << (kind % 32));
        }
        // The filter comes first: no other message gets in.
        BlockedTypes.set(&socket, &blocked)?;
        socket.bind_device(Some(name.as_bytes()))?;
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
        socket.set_multicast_hops_v6(HOP_LIMIT)?;
        socket.set_multicast_if_v6(interface)?;
        // What this node sends is not its router's.
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&group, interface)?;
        Ok(Self { socket, interface })
    }

    /// Sends an ICMPv6 message, whose checksum the kernel fills in, to a multicast group of the link.
    ///
    /// # Errors
    /// When the interface is down or gone, or has no link-local address yet.
    pub fn send(&self, group: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(group, 0, 0, self.interface);
        self.socket.send_to(message, &to.into()).map(drop)
    }

    /// Receives a message; `None` if none waits.
    ///
    /// # Errors
    /// Those of recvmsg(2), such as `ENETDOWN` once after the interface went down.
    pub fn receive(&self) -> io::Result<Option<RouterDiscoveryMessage>> {
        let mut bytes = [0; LONGEST];
        let mut control = nix::cmsg_space!(libc::c_int);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let fd = self.socket.as_raw_fd();
        let received =
            match recvmsg::<SockaddrIn6>(fd, &mut buffers, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(received) => received,
                Err(nix::Error::EWOULDBLOCK | nix::Error::EINTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        let limit = |message| {
            if let ControlMessageOwned::Ipv6HopLimit(limit) = message {
                return u8::try_from(limit).ok();
            }
            None
        };
        // Without these, the message is one that no reader accepts.
        let hop_limit = received.cmsgs()?.find_map(limit).unwrap_or_default();
        let source = received
            .address
            .map_or(Ipv6Addr::UNSPECIFIED, |address| address.ip());
        let length = received.bytes;
        Ok(Some(RouterDiscoveryMessage {
            bytes: bytes[..length].to_vec(),
            source,
            hop_limit,
        }))
    }
}

impl AsFd for RouterDiscoverySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
