//! All frames that pass an interface, whatever their destination.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, send};
use socket2::{Domain, Protocol, Socket, Type};

/// `ETH_P_ALL` (packet(7)): every protocol, sent frames included.
const EVERY_PROTOCOL: u16 = 3;

/// A packet socket that sees frames for other machines, too, and can send any frame.
pub struct Capture {
    socket: Socket,
}

impl Capture {
    /// Captures all that passes `interface` in the calling thread's namespace, sent frames included.
    ///
    /// # Errors
    /// When the interface does not exist or `CAP_NET_RAW` is missing.
    pub fn on(interface: &str) -> anyhow::Result<Self> {
        let capture = Self::everywhere(EVERY_PROTOCOL)?;
        let address = nix::ifaddrs::getifaddrs()?.find_map(|entry| {
            let link = entry.address?.as_link_addr().copied()?;
            (entry.interface_name == interface).then_some(link)
        });
        let address = address.with_context(|| format!("there is no link {interface}"))?;
        bind(capture.socket.as_raw_fd(), &address).with_context(|| format!("cannot bind to {interface}"))?;
        Ok(capture)
    }

    /// Captures the frames of one protocol (EtherType) on all interfaces of the calling thread's namespace. The ports of a
    /// bridge are not among them, because their frames belong to the bridge.
    ///
    /// # Errors
    /// When `CAP_NET_RAW` is missing.
    pub fn everywhere(ethertype: u16) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec(), Some(protocol))?;
        Ok(Self { socket })
    }

    /// Limits the time that [`Self::receive`] waits; without it there is no limit.
    ///
    /// # Errors
    /// When the kernel refuses, as it does zero.
    pub fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(limit))
    }

    /// Receives one frame. Returns the index of its interface and how many bytes of it `buffer` has; `None` after the
    /// time-out or a signal.
    ///
    /// # Errors
    /// When the interface is gone or down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, usize)>> {
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
            Ok((length, from)) => Ok(Some((from.map_or(0, |from| from.ifindex()), length))),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns what `wanted` makes of the first frame that it wants, if there is one within `limit`.
    ///
    /// # Panics
    /// When the kernel refuses the time-out.
    pub fn next<T>(&self, limit: Duration, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let left = left.max(Duration::from_millis(1));
            self.set_timeout(left).expect("a time-out can be set");
            let (_, length) = self.receive(&mut buffer).ok()??;
            if let Some(found) = wanted(&buffer[..length]) {
                return Some(found);
            }
        }
    }

    /// Sends a frame from the interface that the capture is on.
    ///
    /// # Panics
    /// When it is not sent whole.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        assert_eq!(sent.expect("the frame is sent"), frame.len());
    }
}
