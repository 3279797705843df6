//! Packet sockets that hear address resolution, and nothing else (packet(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use crate::frames::{BATCH, FRAME_LENGTH, Frames};

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
/// It is bound to an EtherType, so the kernel offers it neither other traffic nor frames that this host sends.
pub struct PacketSocket {
    socket: Socket,
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
    /// Hears `traffic` on the interface with this index.
    ///
    /// # Errors
    /// When packet sockets are not permitted or the interface is gone.
    pub fn open(interface: u32, traffic: Traffic) -> Result<Self, PacketError> {
        let socket = unbound()?;
        // The filter is there before the first frame can be.
        socket.attach_filter(&filter(traffic))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&address(interface, traffic)?)?;
        Ok(Self { socket })
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

/// Classic BPF: loads, comparisons and returns (socket filter documentation of the kernel).
mod bpf {
    use socket2::SockFilter;

    const fn instruction(code: u32, jump_true: u8, jump_false: u8, operand: u32) -> SockFilter {
        SockFilter::new(code as u16, jump_true, jump_false, operand)
    }

    pub(super) const fn load_packet_type() -> SockFilter {
        let offset = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    pub(super) const fn load_half(offset: u32) -> SockFilter {
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, offset)
    }

    pub(super) const fn load_byte(offset: u32) -> SockFilter {
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, offset)
    }

    /// Skips `jump_true` instructions when the loaded value is `value`, else `jump_false`.
    pub(super) const fn compare(value: u32, jump_true: u8, jump_false: u8) -> SockFilter {
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            jump_true,
            jump_false,
            value,
        )
    }

    /// Accepts the first `bytes` of the frame; none is to drop it.
    pub(super) const fn accept(bytes: u32) -> SockFilter {
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, bytes)
    }
}

/// What the socket hears. Frames to other hosts, which a promiscuous or VLAN-filtering interface shows too, are
/// `PACKET_OTHERHOST`. The kernel strips VLAN tags before, so offsets are those of an untagged frame.
fn filter(traffic: Traffic) -> Vec<SockFilter> {
    match traffic {
        Traffic::Arp => arp_filter(ARP_REQUEST),
        Traffic::ArpReplies => arp_filter(ARP_REPLY),
        Traffic::Ndp => ndp_filter(),
    }
}

const ARP_REQUEST: u32 = 1;
const ARP_REPLY: u32 = 2;
const OTHER_HOST: u32 = libc::PACKET_OTHERHOST as u32;

/// Replies, and requests too if `least` says so.
fn arp_filter(least: u32) -> Vec<SockFilter> {
    const ARP_OPERATION: u32 = 14 + 6;
    vec![
        bpf::load_packet_type(),
        bpf::compare(OTHER_HOST, 4, 0),
        bpf::load_half(ARP_OPERATION),
        bpf::compare(least, 1, 0),
        bpf::compare(ARP_REPLY, 0, 1),
        bpf::accept(FRAME_LENGTH as u32),
        bpf::accept(0),
    ]
}

fn ndp_filter() -> Vec<SockFilter> {
    const IPV6_NEXT_HEADER: u32 = 14 + 6;
    const ICMPV6_TYPE: u32 = 14 + 40;
    const NEIGHBOR_SOLICITATION: u32 = 135;
    const NEIGHBOR_ADVERTISEMENT: u32 = 136;
    vec![
        bpf::load_packet_type(),
        bpf::compare(OTHER_HOST, 6, 0),
        bpf::load_byte(IPV6_NEXT_HEADER),
        bpf::compare(libc::IPPROTO_ICMPV6 as u32, 0, 4),
        bpf::load_byte(ICMPV6_TYPE),
        bpf::compare(NEIGHBOR_SOLICITATION, 1, 0),
        bpf::compare(NEIGHBOR_ADVERTISEMENT, 0, 1),
        bpf::accept(FRAME_LENGTH as u32),
        bpf::accept(0),
    ]
}

#[cfg(test)]
mod tests {
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
        let socket = PacketSocket { socket: near.into() };
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
