//! Packet sockets that hear address resolution, and nothing else (packet(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use crate::filter::{self, MOST_RANGES};
use crate::frames::{BATCH, FRAME_LENGTH, Frames};
use crate::ranges::Ranges;

/// Room for a burst of requests while the thread waits for the processor; the kernel caps it at `rmem_max`.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What a socket hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// ARP requests and replies (RFC 826), probes and announcements included.
    Arp,
    /// ARP replies, announcements in reply form included: for whoever only asks.
    ArpReplies,
    /// Neighbour solicitations and advertisements (RFC 4861 §4.3 and §4.4), multicast and unicast.
    Ndp,
}

/// Why no packet socket can be had.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The process lacks the capability.
    #[error(
        "cannot open a packet socket: needs CAP_NET_RAW: run as root or add NET_RAW to the container's capabilities"
    )]
    MissingCapability,
    /// Anything else.
    #[error("cannot open a packet socket: {0}")]
    Io(#[from] io::Error),
}

/// A socket that hears one kind of traffic on one interface, and sends any frame on it.
///
/// It is bound to an EtherType, so the kernel offers it neither other traffic nor frames that this host sends. A filter
/// in the kernel drops what else is not wanted, before it costs a wake-up.
pub struct PacketSocket {
    socket: Socket,
    traffic: Traffic,
    /// What it hears about; `None` is all.
    about: Option<Ranges>,
}

/// Checks that packet sockets are permitted.
///
/// # Errors
/// [`PacketError::MissingCapability`] says what to do.
pub fn check_permission() -> Result<(), PacketError> {
    unbound().map(drop)
}

fn unbound() -> Result<Socket, PacketError> {
    // Without a protocol it hears nothing until it is bound, so nothing leaks in from other interfaces.
    Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            PacketError::MissingCapability
        } else {
            PacketError::Io(error)
        }
    })
}

impl PacketSocket {
    /// Hears `traffic` on the interface with this index, about all addresses.
    ///
    /// # Errors
    /// When packet sockets are not permitted or the interface is gone.
    pub fn open(interface: u32, traffic: Traffic) -> Result<Self, PacketError> {
        let socket = unbound()?;
        let about = None;
        let opened = Self {
            socket,
            traffic,
            about,
        };
        // The filter is there before the first frame can be.
        opened.attach(None)?;
        opened.socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        opened.socket.bind(&address(interface, traffic)?)?;
        Ok(opened)
    }

    /// Hears about `address` from now on: when the filter holds that back, everything is let through. Tells whether it is
    /// now.
    ///
    /// # Errors
    /// When the kernel fails; open another socket then.
    pub fn admit(&mut self, address: IpAddr) -> io::Result<bool> {
        if self.about.as_ref().is_some_and(|about| !about.contains(address)) {
            self.clear_filter()?;
        }
        Ok(self.about.is_none())
    }

    /// Hears about all addresses from now on.
    ///
    /// # Errors
    /// When the kernel fails; open another socket then.
    pub fn clear_filter(&mut self) -> io::Result<()> {
        if self.about.is_some() {
            // The old filter counts until the new one is there, and may have used the memory up. With no filter at all
            // it hears what is none of its traffic, too, which costs time and nothing else.
            self.attach(None).or_else(|_| self.socket.detach_filter())?;
            self.about = None;
        }
        Ok(())
    }

    /// Hears about these addresses and as few others as a filter can do without. Nothing that waits already is lost.
    ///
    /// # Errors
    /// When the kernel is out of memory; the socket hears what it heard before then.
    pub fn set_filter(&mut self, addresses: impl IntoIterator<Item = IpAddr> + Clone) -> io::Result<()> {
        let mut most = MOST_RANGES;
        loop {
            let about = Ranges::covering(addresses.clone(), most);
            if self.about.as_ref() == Some(&about) {
                return Ok(());
            }
            match self.attach(Some(&about)) {
                Ok(()) => {
                    self.about = Some(about);
                    return Ok(());
                }
                // A filter counts as a socket option, for which older kernels have 20 kB (`net.core.optmem_max`).
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && most > 1 => most /= 2,
                Err(error) => return Err(error),
            }
        }
    }

    /// The kernel replaces the filter at once, and checks no frame with half of one.
    fn attach(&self, about: Option<&Ranges>) -> io::Result<()> {
        let program = filter::program(self.traffic, about).into_iter();
        let program: Vec<SockFilter> = program
            .map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k))
            .collect();
        self.socket.attach_filter(&program)
    }

    /// Receives what has arrived into `frames`, up to a full batch, without waiting; zero is nothing.
    ///
    /// # Errors
    /// `ENETDOWN` once after the interface went down or vanished; whatever recvmmsg(2) says else. Open another
    /// socket then: this one may be unbound for ever.
    pub fn receive(&self, frames: &mut Frames) -> io::Result<usize> {
        frames.clear();
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: frames.buffers[i].as_mut_ptr().cast(),
            iov_len: FRAME_LENGTH,
        });
        let mut headers = headers(&mut vectors);
        let fd = self.socket.as_raw_fd();
        #[expect(
            unsafe_code,
            reason = "recvmmsg has no safe wrapper; headers, vectors and buffers outlive the call"
        )]
        let received = unsafe {
            let timeout = std::ptr::null_mut();
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                timeout,
            )
        };
        let Ok(count) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            let nothing = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind());
            return if nothing { Ok(0) } else { Err(error) };
        };
        for (length, header) in frames.lengths.iter_mut().zip(&headers).take(count) {
            *length = FRAME_LENGTH.min(header.msg_len as usize);
        }
        frames.count = count;
        Ok(count)
    }

    /// Sends all frames and tells `failed` about each that the kernel refused, with its place in the batch. None
    /// is tried again: whoever asked will ask again, and announcements repeat. When there is no room or no
    /// interface, neither is there for the rest of the batch, which fails without being tried.
    pub fn send(&self, frames: &mut Frames, mut failed: impl FnMut(usize, io::Error)) {
        let mut next = 0;
        while next < frames.count {
            match self.send_from(frames, next) {
                Ok(sent) => next += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_congestion(&error) || is_dead(&error) => {
                    for place in next..frames.count {
                        failed(place, same(&error));
                    }
                    return;
                }
                Err(error) => {
                    failed(next, error);
                    next += 1;
                }
            }
        }
    }

    /// Sends frames from the `first` on, as many as the kernel takes; an error concerns the `first`.
    fn send_from(&self, frames: &mut Frames, first: usize) -> io::Result<usize> {
        if frames.count - first == 1 {
            // The common case on a quiet network, and the one where latency counts.
            return self
                .socket
                .send(&frames.buffers[first][..frames.lengths[first]])
                .map(|_| 1);
        }
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: frames.buffers[i].as_mut_ptr().cast(),
            iov_len: frames.lengths[i],
        });
        let mut headers = headers(&mut vectors);
        let pending = &mut headers[first..frames.count];
        let fd = self.socket.as_raw_fd();
        #[expect(
            unsafe_code,
            reason = "sendmmsg has no safe wrapper; headers, vectors and buffers outlive the call"
        )]
        let sent =
            unsafe { libc::sendmmsg(fd, pending.as_mut_ptr(), pending.len() as u32, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an error of [`PacketSocket::send`] means that the interface is down or gone, and the socket may be unbound.
pub fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV)
    )
}

/// The send buffer or the interface's queue is full.
fn is_congestion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// Errors cannot be cloned.
fn same(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Headers that point at `vectors`, one each.
fn headers(vectors: &mut [libc::iovec; BATCH]) -> [libc::mmsghdr; BATCH] {
    std::array::from_fn(|i| {
        #[expect(
            unsafe_code,
            reason = "msghdr has private padding on some targets; all zeroes is a valid one"
        )]
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = &raw mut vectors[i];
        header.msg_hdr.msg_iovlen = 1;
        header
    })
}

/// The socket's address: an interface and an EtherType.
fn address(interface: u32, traffic: Traffic) -> io::Result<SockAddr> {
    let ethertype = match traffic {
        Traffic::Arp | Traffic::ArpReplies => libc::ETH_P_ARP,
        Traffic::Ndp => libc::ETH_P_IPV6,
    };
    let mut storage = SockAddrStorage::zeroed();
    #[expect(
        unsafe_code,
        reason = "a sockaddr_ll fits into the storage that is declared to be one"
    )]
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_protocol = (ethertype as u16).to_be();
    link.sll_ifindex = i32::try_from(interface).map_err(io::Error::other)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "the storage was filled in above and has this length")]
    let address = unsafe { SockAddr::new(storage, length) };
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A socket pair fills up like a send buffer does, and can be emptied at will.
    #[test]
    fn without_room_for_a_frame_the_rest_of_the_batch_is_not_tried() {
        let (near, far) = UnixDatagram::pair().expect("pair");
        near.set_nonblocking(true).expect("set");
        far.set_nonblocking(true).expect("set");
        while near.send(&[0; 60]).is_ok() {}
        far.recv(&mut [0; 60]).expect("one makes room");
        let socket = PacketSocket {
            socket: near.into(),
            traffic: Traffic::Arp,
            about: None,
        };
        let mut frames = Frames::default();
        while !frames.is_full() {
            frames.push(|_| Ok::<_, ()>(((), 60))).expect("pushed");
        }
        let mut failed = Vec::new();
        socket.send(&mut frames, |place, error| {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            // Room for all that follow, were they tried.
            while far.recv(&mut [0; 60]).is_ok() {}
            failed.push(place);
        });
        assert_eq!(failed, (1..BATCH).collect::<Vec<_>>());
        assert!(far.recv(&mut [0; 60]).is_err());
    }

    /// Any socket takes a filter, and a pair needs no permission.
    #[test]
    fn the_kernel_runs_the_largest_filter_as_it_is_meant() {
        let (near, far) = UnixDatagram::pair().expect("pair");
        far.set_nonblocking(true).expect("set");
        let mut socket = PacketSocket {
            socket: far.into(),
            traffic: Traffic::Arp,
            about: None,
        };
        let frame = |key: u32| {
            let mut frame = [0; 60];
            frame[21] = 1;
            frame[38..42].copy_from_slice(&key.to_be_bytes());
            frame
        };
        let held = |number: u32| Ipv4Addr::from_bits(0xc000_0200 + number * 3);
        let mut frames = Frames::default();
        let mut hears = |socket: &PacketSocket, address: Ipv4Addr| {
            near.send(&frame(address.to_bits())).expect("sent");
            socket.receive(&mut frames).expect("received") == 1
        };
        let all = (0..MOST_RANGES as u32).map(|number| IpAddr::V4(held(number)));
        for round in 0..3 {
            socket.set_filter(all.clone()).expect("the kernel takes it");
            for number in 0..MOST_RANGES as u32 {
                assert!(hears(&socket, held(number)), "{number} in round {round}");
            }
            let other = Ipv4Addr::from_bits(held(7).to_bits() + 1);
            assert!(!hears(&socket, other), "round {round}");
            socket.admit(other.into()).expect("the kernel takes it");
            assert!(hears(&socket, other), "round {round}");
        }
    }

    #[test]
    fn errors_tell_a_full_queue_from_a_lost_interface() {
        let of = io::Error::from_raw_os_error;
        for code in [libc::EAGAIN, libc::ENOBUFS] {
            assert!(is_congestion(&of(code)) && !is_dead(&of(code)));
        }
        for code in [libc::ENETDOWN, libc::ENXIO, libc::ENODEV] {
            assert!(is_dead(&of(code)) && !is_congestion(&of(code)));
        }
        assert!(!is_dead(&of(libc::EMSGSIZE)) && !is_congestion(&of(libc::EMSGSIZE)));
    }
}
