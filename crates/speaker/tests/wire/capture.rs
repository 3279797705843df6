//! All frames that a host sees, and any frame that it sends.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::host::Host;

pub(crate) struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Captures on `interface`, which the host's own frames pass too.
    pub(crate) fn start(host: &Host, interface: &'static str) -> Self {
        host.run(move |_| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
            let socket = socket.expect("packet socket");
            let mut interfaces = nix::ifaddrs::getifaddrs().expect("interfaces can be listed");
            let address = interfaces.find_map(|entry| {
                let link = entry.address?.as_link_addr().copied()?;
                (entry.interface_name == interface).then_some(link)
            });
            bind(socket.as_raw_fd(), &address.expect("the interface is there")).expect("bound");
            Self { socket }
        })
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        assert_eq!(sent.expect("sent"), frame.len());
    }

    /// The next frame that `wanted` makes something of, if it comes in time.
    pub(crate) fn next<T>(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let left = left.max(Duration::from_millis(1));
            let left = TimeVal::new(left.as_secs() as i64, left.subsec_micros().into());
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &left).expect("time-out");
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
            if let Some(found) = wanted(&buffer[..length]) {
                return Some(found);
            }
        }
    }
}
