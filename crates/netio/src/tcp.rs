//! Connections to routers for BGP: non-blocking, from an address or a device of choice, signed on request (RFC 2385).

use std::fmt;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::SetSockOpt;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// The TTL of all packets: GTSM at the peer asks for it (RFC 5082 section 3), and it also reaches peers behind other routers.
const TTL: u32 = 255;
/// Internetwork Control (RFC 791 section 3.1), so that routers forward the packets also where they drop others.
const CONTROL: u32 = 0xc0;
/// `TCP_MD5SIG_MAXKEYLEN` of Linux.
const LONGEST_KEY: usize = 80;
/// Bytes that the kernel takes and has not sent: what waits longer is not encoded yet, so that the peer gets the newest routes.
const UNSENT: u32 = 64 * 1024;
/// When the kernel asks whether a peer that sends nothing is there, how often in a row, and how long apart.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_PAUSE: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
/// Reads before a connection is closed: as much as a receive buffer has in the default settings.
const UNREAD: usize = 64;

/// Where a connection goes, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct DialOptions {
    /// The peer.
    pub peer: SocketAddr,
    /// The own address; without one, the kernel chooses it.
    pub source: Option<IpAddr>,
    /// The interface, or the VRF device, that packets leave and enter by; without one, the routes decide.
    pub device: Option<String>,
    /// The key that signs each segment (RFC 2385).
    pub key: Option<Vec<u8>>,
    /// Packets with a lower TTL are dropped (GTSM, RFC 5082 section 3); zero is none.
    pub least_ttl: u8,
}

impl fmt::Debug for DialOptions {
    /// Does not show the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialOptions")
            .field("peer", &self.peer)
            .field("source", &self.source)
            .field("device", &self.device)
            .field("has_key", &self.key.is_some())
            .field("least_ttl", &self.least_ttl)
            .finish()
    }
}

/// Why no connection was made, or can be.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The node has no such address.
    #[error("this node does not have the source address {0}")]
    Source(IpAddr),
    /// The node has no such interface or VRF device.
    #[error("this node has no interface {0}")]
    Device(String),
    /// The address of an unnumbered peer is not known.
    #[error(
        "no router has advertised itself on interface {0}, which has to be up and to have a link-local address"
    )]
    NoRouter(String),
    /// The kernel lacks CONFIG_TCP_MD5SIG.
    #[error("this kernel does not support TCP MD5 (CONFIG_TCP_MD5SIG), which the password needs")]
    Md5Unsupported,
    /// The key is too long.
    #[error("the password has {0} bytes, and TCP MD5 allows 80")]
    KeyTooLong(usize),
    /// Another error of the kernel: the peer refuses the connection, or no route leads to it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection to a peer, which may still be about to be made.
#[derive(Debug)]
pub struct TcpConnection {
    socket: Socket,
    peer: IpAddr,
}

impl TcpConnection {
    /// Starts to connect. The socket is writable once that succeeded or failed: [`TcpConnection::poll_connected`].
    ///
    /// # Errors
    /// If it is clear at once that there will be no connection.
    pub fn dial(options: &DialOptions) -> Result<Self, DialError> {
        let domain = Domain::for_address(options.peer);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        let is_v4 = options.peer.is_ipv4();
        if is_v4 {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(CONTROL)?;
        } else {
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(CONTROL)?;
        }
        // Messages are put together before they are sent.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
        // Without a hold time (RFC 4271 section 4.2), nothing else shows that a peer is gone.
        let probes = TcpKeepalive::new().with_time(PROBE_AFTER);
        socket.set_tcp_keepalive(&probes.with_interval(PROBE_PAUSE).with_retries(PROBES))?;
        if options.least_ttl > 0 {
            set_least_ttl(&socket, is_v4, options.least_ttl)?;
        }
        if let Some(device) = &options.device {
            let bound = socket.bind_device(Some(device.as_bytes()));
            bound.map_err(|error| match error.raw_os_error() {
                Some(libc::ENODEV) => DialError::Device(device.clone()),
                _ => error.into(),
            })?;
        }
        let connection = Self {
            socket,
            peer: options.peer.ip(),
        };
        if options.key.is_some() {
            connection.set_key(options.key.as_deref())?;
        }
        if let Some(source) = options.source {
            let bound = connection.socket.bind(&SocketAddr::new(source, 0).into());
            bound.map_err(|error| match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL) => DialError::Source(source),
                _ => error.into(),
            })?;
        }
        match connection.socket.connect(&options.peer.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error.into()),
            _ => Ok(connection),
        }
    }

    /// Returns whether the connection is made.
    ///
    /// # Errors
    /// If it failed.
    pub fn poll_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces the key of the live connection, or removes it.
    ///
    /// # Errors
    /// If the kernel does not support keys, or the key is too long.
    pub fn set_key(&self, key: Option<&[u8]>) -> Result<(), DialError> {
        set_key(&self.socket, self.peer, key)
    }

    /// Returns the own address of a connection that is made.
    ///
    /// # Errors
    /// If it is not made.
    pub fn local_address(&self) -> io::Result<IpAddr> {
        let address = self.socket.local_addr()?.as_socket();
        address
            .map(|address| address.ip())
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Receives bytes: `None` if none wait, and zero bytes if the peer has closed the connection.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        use std::io::Read;
        would_block((&self.socket).read(buffer))
    }

    /// Sends bytes, and returns how many the connection took; `None` if it takes none now.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn send(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        // The Rust runtime ignores SIGPIPE; a program in another language that links this one may not.
        let sent = self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL);
        would_block(sent)
    }

    /// Sends last bytes as far as the connection takes them now, and closes it.
    pub fn close(self, last: &[u8]) {
        // Whether the peer gets them does not matter any more.
        let _sent = self.send(last);
        let _shut = self.socket.shutdown(Shutdown::Write);
        // What waits unread would turn the end into a reset, upon which the peer drops what it has not read itself.
        let mut unread = [0; 4096];
        for _ in 0..UNREAD {
            if !matches!(self.receive(&mut unread), Ok(Some(1..))) {
                break;
            }
        }
    }
}

impl AsFd for TcpConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The least TTL of received packets.
#[derive(Clone, Copy)]
struct LeastTtl;
nix::setsockopt_impl!(
    LeastTtl,
    libc::IPPROTO_IP,
    libc::IP_MINTTL,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

/// The least hop limit of received packets.
#[derive(Clone, Copy)]
struct LeastHopLimit;
nix::setsockopt_impl!(
    LeastHopLimit,
    libc::IPPROTO_IPV6,
    libc::IPV6_MINHOPCOUNT,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

fn set_least_ttl(socket: &Socket, is_v4: bool, least: u8) -> io::Result<()> {
    let least = libc::c_int::from(least);
    let set = if is_v4 {
        LeastTtl.set(socket, &least)
    } else {
        LeastHopLimit.set(socket, &least)
    };
    Ok(set?)
}

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[derive(Clone)]
#[repr(C, align(8))]
struct Md5Signature {
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: u32,
    key: [u8; LONGEST_KEY],
}

#[derive(Clone, Copy)]
struct Md5Key;
nix::setsockopt_impl!(
    Md5Key,
    libc::IPPROTO_TCP,
    libc::TCP_MD5SIG,
    Md5Signature,
    nix::sys::socket::sockopt::SetStruct<'_, Md5Signature>
);

fn set_key(socket: &Socket, peer: IpAddr, key: Option<&[u8]>) -> Result<(), DialError> {
    let key = key.unwrap_or_default();
    let mut signature = Md5Signature {
        address: socket_address(peer),
        flags: 0,
        prefix_length: 0,
        key_length: u16::try_from(key.len()).unwrap_or(u16::MAX),
        interface: 0,
        key: [0; LONGEST_KEY],
    };
    let room = signature.key.get_mut(..key.len());
    room.ok_or(DialError::KeyTooLong(key.len()))?.copy_from_slice(key);
    match Md5Key.set(socket, &signature) {
        Err(nix::Error::ENOPROTOOPT) => Err(DialError::Md5Unsupported),
        // There was none to remove.
        Err(nix::Error::ENOENT) if key.is_empty() => Ok(()),
        set => Ok(set.map_err(io::Error::from)?),
    }
}

/// Returns the bytes of a `struct sockaddr_storage`. The port does not matter.
fn socket_address(address: IpAddr) -> [u8; 128] {
    let mut bytes = [0; 128];
    let (family, at, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, 4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, 8, v6.octets().to_vec()),
    };
    let family = libc::sa_family_t::try_from(family).unwrap_or(libc::sa_family_t::MAX);
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[at..at + octets.len()].copy_from_slice(&octets);
    bytes
}

#[cfg(test)]
mod tests;
