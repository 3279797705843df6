//! Frames that are about to be sent on one socket, with their addresses.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use herald_netio::frames::BATCH;
use herald_netio::{Frames, PacketSocket, packet};

use super::metrics::WireMetrics;

/// A batch of frames, each about one address.
pub(super) struct Outgoing {
    frames: Frames,
    addresses: [IpAddr; BATCH],
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            frames: Frames::default(),
            addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); BATCH],
        }
    }

    /// Lets `write` fill the next buffer. `write` returns the address and the length of the frame, or why there is none.
    pub(super) fn push<E>(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<(IpAddr, usize), E>,
    ) -> Result<IpAddr, E> {
        let place = self.frames.len();
        let address = self.frames.push(write)?;
        self.addresses[place] = address;
        Ok(address)
    }

    /// Adds a frame about an address. There must be room.
    pub(super) fn add(&mut self, address: IpAddr, frame: &[u8]) {
        let Ok(_) = self.push(|buffer| {
            buffer[..frame.len()].copy_from_slice(frame);
            Ok::<_, Infallible>((address, frame.len()))
        });
    }

    /// Whether there is no room for another frame.
    pub(super) const fn is_full(&self) -> bool {
        self.frames.is_full()
    }

    /// Sends all frames and removes them. Calls `sent` for each with its address and whether it was sent.
    ///
    /// # Errors
    /// When the socket's interface is down or gone.
    pub(super) fn send(
        &mut self,
        socket: &PacketSocket,
        metrics: &WireMetrics,
        sent: impl Fn(IpAddr, bool),
    ) -> io::Result<()> {
        let mut refused = [false; BATCH];
        let mut dead = Ok(());
        socket.send(&self.frames, |place, error| {
            refused[place] = true;
            metrics.send_errors.inc();
            tracing::debug!(address = %self.addresses[place], %error, "cannot send");
            if packet::is_dead(&error) {
                dead = Err(error);
            }
        });
        let frames = self.addresses.iter().zip(refused).take(self.frames.len());
        for (address, refused) in frames {
            sent(*address, !refused);
        }
        self.frames.clear();
        dead
    }

    /// Removes all frames without sending them.
    pub(super) fn discard(&mut self) {
        self.frames.clear();
    }
}
