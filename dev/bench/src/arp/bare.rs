//! The limit of user space: a loop around a packet socket, with no logic.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use herald_l2::wire::arp::FRAME_LENGTH;
use socket2::{Domain, Protocol, Socket, Type};

use super::OWNER;
use super::asker::DEADLINE;

/// The best that user space can do: receive, swap, send, one frame at a time, without any check.
pub(crate) struct Bare {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bare {
    /// Answers on `eth0` of the calling thread's namespace.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let protocol = Protocol::from(i32::from(0x0806_u16.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        let mut interfaces = nix::ifaddrs::getifaddrs()?;
        let address = interfaces.find_map(|entry| {
            let link = entry.address?.as_link_addr().copied()?;
            (entry.interface_name == "eth0").then_some(link)
        });
        nix::sys::socket::bind(socket.as_raw_fd(), &address.context("the link is gone")?)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || answer_everything(socket, &stopped);
        let thread = std::thread::Builder::new().name("bare".into()).spawn(run);
        Ok(Self {
            stop,
            thread: Some(thread.context("cannot start a thread")?),
        })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic shows as a missing answer.
            let _ = thread.join();
        }
    }
}

fn answer_everything(mut socket: Socket, stop: &AtomicBool) {
    let mut frame = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        if !socket.read(&mut frame).is_ok_and(|length| length >= 42) || frame[21] != 1 {
            continue;
        }
        let asked: [u8; 4] = [frame[38], frame[39], frame[40], frame[41]];
        frame.copy_within(22..32, 32);
        frame.copy_within(6..12, 0);
        frame[6..12].copy_from_slice(&OWNER.0);
        frame[21] = 2;
        frame[22..28].copy_from_slice(&OWNER.0);
        frame[28..32].copy_from_slice(&asked);
        // A refused frame shows as a missing answer.
        let _ = socket.write(&frame[..FRAME_LENGTH]);
    }
}
