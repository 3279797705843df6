//! Packet sockets that receive address resolution messages only (packet(7)).

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, getsockopt, recvmmsg, sendmmsg};
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use crate::filter::{self, MOST_RANGES};
use crate::frames::{BATCH, FRAME_LENGTH, Frames};
use crate::ranges::FilterRanges;
use crate::traffic::Traffic;

/// Room for a burst of requests while the thread waits for the processor; the kernel caps it at `rmem_max`.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How many frames a packet socket received, and how many of these it lost, since the option was read last.
#[derive(Clone, Copy)]
struct Statistics;

nix::getsockopt_impl!(
    Statistics,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    [u32; 2],
    nix::sys::socket::sockopt::GetStruct<[u32; 2]>
);

thread_local! {
    /// The message headers of a system call, allocated once for each thread. They have raw pointers, so a socket or a batch
    /// that owned them could not move to another thread.
    static HEADERS: RefCell<MultiHeaders<()>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
}

/// The reason why a packet socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The process lacks the capability.
    #[error(
        "cannot open a packet socket: needs CAP_NET_RAW: run as root or add NET_RAW to the container's capabilities"
    )]
    MissingCapability,
    /// Another error of the kernel.
    #[error("cannot open a packet socket: {0}")]
    Io(#[from] io::Error),
}

/// A socket that receives one kind of traffic on one interface, and sends any frame on it.
///
/// The socket is bound to an EtherType, so the kernel offers it neither other traffic nor frames that this host sends. A
/// filter in the kernel drops other unwanted frames before they cost a wake-up.
pub struct PacketSocket {
    socket: Socket,
    traffic: Traffic,
    /// The addresses whose frames pass; `None` is all.
    passing: Option<FilterRanges>,
}

/// Checks that packet sockets are permitted.
///
/// # Errors
/// [`PacketError::MissingCapability`] names the remedy.
pub fn check_permission() -> Result<(), PacketError> {
    unbound().map(drop)
}

fn unbound() -> Result<Socket, PacketError> {
    // Without a protocol, the socket receives nothing until it is bound: no frame of another interface gets in.
    Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            PacketError::MissingCapability
        } else {
            PacketError::Io(error)
        }
    })
}

impl PacketSocket {
    /// Opens a socket for `traffic` about all addresses on the interface with this index.
    ///
    /// # Errors
    /// When packet sockets are not permitted or the interface is gone.
    pub fn open(interface: u32, traffic: Traffic) -> Result<Self, PacketError> {
        let socket = unbound()?;
        let opened = Self {
            socket,
            traffic,
            passing: None,
        };
        // The filter is attached before the first frame can arrive.
        opened.attach(None)?;
        opened.socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        opened.socket.bind(&address(interface, traffic)?)?;
        Ok(opened)
    }

    /// Ensures that frames about `address` pass: clears the filter if it drops them. Returns whether frames about all addresses
    /// pass now.
    ///
    /// # Errors
    /// When the kernel fails; open another socket then.
    pub fn admit(&mut self, address: IpAddr) -> io::Result<bool> {
        if self
            .passing
            .as_ref()
            .is_some_and(|passing| !passing.contains(address))
        {
            self.clear_filter()?;
        }
        Ok(self.passing.is_none())
    }

    /// Lets frames about all addresses pass.
    ///
    /// # Errors
    /// When the kernel fails; open another socket then.
    pub fn clear_filter(&mut self) -> io::Result<()> {
        if self.passing.is_some() {
            // The memory of the old filter is charged until the new one is attached, so the new one may not fit. Without any
            // filter, the socket would also receive frames of other VLANs, which look like any others.
            self.attach(None)?;
            self.passing = None;
        }
        Ok(())
    }

    /// Lets frames about `addresses` pass, and about as few others as the size of a filter allows. Frames that wait in the
    /// socket already are kept.
    ///
    /// # Errors
    /// When the kernel is out of memory; the old filter stays then.
    pub fn set_filter(&mut self, addresses: impl IntoIterator<Item = IpAddr> + Clone) -> io::Result<()> {
        let mut most = MOST_RANGES;
        loop {
            let passing = FilterRanges::covering(addresses.clone(), most);
            if self.passing.as_ref() == Some(&passing) {
                return Ok(());
            }
            match self.attach(Some(&passing)) {
                Ok(()) => {
                    self.passing = Some(passing);
                    return Ok(());
                }
                // A filter is charged as a socket option, for which older kernels allow 20 kB (`net.core.optmem_max`).
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && most > 1 => most /= 2,
                Err(error) => return Err(error),
            }
        }
    }

    /// Replaces the filter. The kernel does so at once: no frame is checked with a part of a program.
    fn attach(&self, passing: Option<&FilterRanges>) -> io::Result<()> {
        let program = filter::program(self.traffic, passing).into_iter();
        let program: Vec<SockFilter> = program
            .map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k))
            .collect();
        self.socket.attach_filter(&program)
    }

    /// Receives the frames that have arrived into `frames`, up to a full batch, without waiting. Returns their number.
    ///
    /// # Errors
    /// `ENETDOWN` once after the interface went down or vanished, and other errors of recvmmsg(2). Open another socket then:
    /// this one may be unbound for ever.
    pub fn receive(&self, frames: &mut Frames) -> io::Result<usize> {
        frames.clear();
        HEADERS.with_borrow_mut(|headers| {
            let mut slices = frames.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            let fd = self.socket.as_raw_fd();
            let received = match recvmmsg(fd, headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
                Ok(received) => received,
                Err(nix::Error::EWOULDBLOCK | nix::Error::EINTR) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
            for (length, message) in frames.lengths.iter_mut().zip(received) {
                *length = FRAME_LENGTH.min(message.bytes);
                frames.count += 1;
            }
            Ok(frames.count)
        })
    }

    /// Returns how many frames were lost since the last call, because too many waited.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn poll_losses(&self) -> io::Result<u32> {
        let [_received, lost] = getsockopt(&self.socket, Statistics)?;
        Ok(lost)
    }

    /// Sends all frames and calls `failed` for each frame that the kernel refused, with its place in the batch. No frame
    /// is tried again: hosts repeat their requests, and announcements repeat. When there is no room or no interface, the
    /// rest of the batch fails without being tried.
    pub fn send(&self, frames: &Frames, mut failed: impl FnMut(usize, io::Error)) {
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

    /// Sends frames from the `first` on, as many as the kernel takes, and returns their number; an error concerns the `first`.
    fn send_from(&self, frames: &Frames, first: usize) -> io::Result<usize> {
        if frames.count - first == 1 {
            // The common case on a quiet network, and the one where latency counts.
            return self
                .socket
                .send(&frames.buffers[first][..frames.lengths[first]])
                .map(|_| 1);
        }
        HEADERS.with_borrow_mut(|headers| {
            let slices: [_; BATCH] =
                std::array::from_fn(|place| [IoSlice::new(&frames.buffers[place][..frames.lengths[place]])]);
            let pending = &slices[first..frames.count];
            let fd = self.socket.as_raw_fd();
            let sent = sendmmsg(fd, headers, pending, [None; BATCH], [], MsgFlags::MSG_DONTWAIT)?;
            Ok(sent.count())
        })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns whether an error of [`PacketSocket::send`] means that the interface is down or gone, and the socket may be unbound.
pub fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV)
    )
}

/// Returns whether the send buffer or the queue of the interface is full.
fn is_congestion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// Copies an error of the kernel, since [`io::Error`] has no `Clone`.
fn same(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The address that a socket binds to: an interface and an EtherType.
fn address(interface: u32, traffic: Traffic) -> io::Result<SockAddr> {
    let ethertype = match traffic {
        Traffic::Arp | Traffic::ArpReplies => libc::ETH_P_ARP,
        Traffic::Ndp => libc::ETH_P_IPV6,
    };
    let interface = i32::try_from(interface).map_err(io::Error::other)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    let mut storage = SockAddrStorage::zeroed();
    #[expect(
        unsafe_code,
        reason = "neither socket2 nor nix builds a sockaddr_ll. The storage is zeroed and has room for every kind of address; \
            the length is that of a sockaddr_ll, whose fields the kernel reads"
    )]
    let address = unsafe {
        let link = storage.view_as::<libc::sockaddr_ll>();
        link.sll_family = libc::AF_PACKET as u16;
        link.sll_protocol = (ethertype as u16).to_be();
        link.sll_ifindex = interface;
        SockAddr::new(storage, length)
    };
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A socket pair fills up as a send buffer does, and the test can empty it.
    #[test]
    fn without_room_for_a_frame_the_rest_of_the_batch_is_not_tried() {
        let (near, far) = UnixDatagram::pair().expect("pair");
        near.set_nonblocking(true).expect("set");
        far.set_nonblocking(true).expect("set");
        while near.send(&[0; 60]).is_ok() {}
        far.recv(&mut [0; 60]).expect("received");
        let socket = PacketSocket {
            socket: near.into(),
            traffic: Traffic::Arp,
            passing: None,
        };
        let mut frames = Frames::default();
        while !frames.is_full() {
            frames.push(|_| Ok::<_, ()>(((), 60))).expect("pushed");
        }
        let mut failed = Vec::new();
        socket.send(&frames, |place, error| {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            // Makes room for the rest of the batch, which must not be tried.
            while far.recv(&mut [0; 60]).is_ok() {}
            failed.push(place);
        });
        assert_eq!(failed, (1..BATCH).collect::<Vec<_>>());
        assert!(far.recv(&mut [0; 60]).is_err());
    }

    /// Every kind of socket takes a filter, and a socket pair needs no permission.
    #[test]
    fn the_kernel_accepts_the_largest_filter_and_runs_it_correctly() {
        let (near, far) = UnixDatagram::pair().expect("pair");
        far.set_nonblocking(true).expect("set");
        let mut socket = PacketSocket {
            socket: far.into(),
            traffic: Traffic::Arp,
            passing: None,
        };
        let frame = |key: u32| {
            let mut frame = [0; 60];
            frame[21] = 1;
            frame[38..42].copy_from_slice(&key.to_be_bytes());
            frame
        };
        let passing = |number: u32| Ipv4Addr::from_bits(0xc000_0200 + number * 3);
        let mut frames = Frames::default();
        let mut receives = |socket: &PacketSocket, address: Ipv4Addr| {
            near.send(&frame(address.to_bits())).expect("sent");
            socket.receive(&mut frames).expect("received") == 1
        };
        let all = (0..MOST_RANGES as u32).map(|number| IpAddr::V4(passing(number)));
        for round in 0..3 {
            socket.set_filter(all.clone()).expect("the kernel takes it");
            for number in 0..MOST_RANGES as u32 {
                assert!(receives(&socket, passing(number)), "{number} in round {round}");
            }
            let other = Ipv4Addr::from_bits(passing(7).to_bits() + 1);
            assert!(!receives(&socket, other), "round {round}");
            socket.admit(other.into()).expect("the kernel takes it");
            assert!(receives(&socket, other), "round {round}");
        }
    }

    #[test]
    fn errors_of_a_full_queue_differ_from_those_of_a_lost_interface() {
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
