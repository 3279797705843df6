//! Waits for several sockets and for messages of other threads at once (epoll(7), eventfd(2)).

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Descriptors reported by one wait; others are reported by the next.
const EVENTS: usize = 32;

/// The token of a wake-up; descriptors must have other tokens.
const WAKE: u64 = u64::MAX;

/// Waits until a descriptor is readable, or writable where that is asked for. The kernel removes a closed descriptor.
pub struct Poller {
    epoll: Epoll,
    wake: Arc<EventFd>,
    events: [EpollEvent; EVENTS],
}

/// The sending half of a bounded channel to the thread that waits at a [`Poller`]. Dropping it disconnects the receiver and
/// wakes the thread.
pub struct Mailbox<T> {
    sender: Option<SyncSender<T>>,
    wake: Arc<EventFd>,
}

impl Poller {
    /// Creates a poller that waits for its mailboxes only.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Self {
            epoll,
            wake: Arc::new(wake),
            events: [EpollEvent::empty(); EVENTS],
        })
    }

    /// Creates a channel to the thread that waits here. One wake-up may stand for several messages, so the thread reads all
    /// of them after each wake-up. [`Mailbox::send`] blocks while `bound` messages (at least one) are unread.
    pub fn mailbox<T>(&self, bound: usize) -> (Mailbox<T>, Receiver<T>) {
        let (sender, receiver) = sync_channel(bound.max(1));
        let mailbox = Mailbox {
            sender: Some(sender),
            wake: Arc::clone(&self.wake),
        };
        (mailbox, receiver)
    }

    /// Reports `descriptor` as `token` from now on, as long as it is readable.
    ///
    /// # Errors
    /// When `descriptor` is registered already or epoll does not support it.
    pub fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        Ok(self.epoll.add(descriptor, event)?)
    }

    /// Reports `descriptor`, which is registered as `token`, also while it is writable, or no longer.
    ///
    /// # Errors
    /// When `descriptor` is not registered.
    pub fn set_awaits_writable(&self, descriptor: impl AsFd, token: u64, is_awaited: bool) -> io::Result<()> {
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, is_awaited);
        let mut event = EpollEvent::new(flags, token);
        Ok(self.epoll.modify(descriptor, &mut event)?)
    }

    /// Waits until a descriptor is ready, a mailbox is used or `timeout` has passed (`None` is never; rounded
    /// up to milliseconds), and returns the tokens of the ready ones. One whose connection is lost is ready, too.
    ///
    /// # Errors
    /// Those of epoll_wait(2) except `EINTR`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = u64>> {
        let timeout = timeout.map_or(EpollTimeout::NONE, round_up);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let ready = &self.events[..count];
        if ready.iter().any(|event| event.data() == WAKE) {
            // Only resets the counter; the number of wake-ups does not matter.
            let _ = self.wake.read();
        }
        Ok(ready.iter().map(EpollEvent::data).filter(|token| *token != WAKE))
    }
}

impl<T> Mailbox<T> {
    /// Sends `message` and ends the current or next wait of the poller. Blocks the calling thread while the channel is full.
    /// Drops the message when the receiver is gone.
    pub fn send(&self, message: T) {
        if let Some(sender) = &self.sender {
            let _sent = sender.send(message);
            self.wake();
        }
    }

    /// Sends messages as [`Self::send`] does, and ends a wait of the poller once for all of them, where they fit the channel.
    pub fn send_all(&self, messages: impl IntoIterator<Item = T>) {
        let Some(sender) = &self.sender else {
            return;
        };
        let mut is_sent = false;
        for message in messages {
            is_sent = true;
            if let Err(TrySendError::Full(message)) = sender.try_send(message) {
                self.wake();
                let _sent = sender.send(message);
            }
        }
        if is_sent {
            self.wake();
        }
    }

    /// Disconnects the receiver and wakes the thread. Later messages are dropped.
    pub fn close(&mut self) {
        self.sender = None;
        self.wake();
    }

    fn wake(&self) {
        // Fails only when 2^64 - 2 wake-ups are pending, and then the poller wakes up anyway.
        let _ = self.wake.write(1);
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.close();
    }
}

fn round_up(timeout: Duration) -> EpollTimeout {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::TryRecvError;

    use super::*;

    #[test]
    fn a_readable_descriptor_is_reported_as_its_token_until_it_is_read() {
        let mut poller = Poller::new().expect("poller");
        let (mut near, far) = UnixStream::pair().expect("pair");
        poller.add(&far, 7).expect("added");
        assert_eq!(poller.wait(Some(Duration::ZERO)).expect("waited").count(), 0);
        near.write_all(b"x").expect("written");
        for _ in 0..2 {
            assert_eq!(poller.wait(None).expect("waited").collect::<Vec<_>>(), [7]);
        }
        drop(far);
        assert_eq!(poller.wait(Some(Duration::ZERO)).expect("waited").count(), 0);
    }

    #[test]
    fn a_writable_descriptor_is_reported_while_that_is_awaited() {
        let mut poller = Poller::new().expect("poller");
        let (near, _far) = UnixStream::pair().expect("pair");
        poller.add(&near, 7).expect("added");
        for is_awaited in [true, false] {
            poller
                .set_awaits_writable(&near, 7, is_awaited)
                .expect("registered");
            let ready = poller.wait(Some(Duration::ZERO)).expect("waited");
            assert_eq!(ready.count(), usize::from(is_awaited));
        }
    }

    #[test]
    fn messages_end_one_wait() {
        let mut poller = Poller::new().expect("poller");
        let (mailbox, receiver) = poller.mailbox(2);
        mailbox.send(1);
        mailbox.send(2);
        assert_eq!(poller.wait(None).expect("waited").count(), 0);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(poller.wait(Some(Duration::ZERO)).expect("waited").count(), 0);
        drop(receiver);
        // Without a receiver, a full channel does not block.
        (3..6).for_each(|message| mailbox.send(message));
    }

    #[test]
    fn many_messages_end_one_wait_and_none_ends_no_wait() {
        let poller = Poller::new().expect("poller");
        let (mailbox, receiver) = poller.mailbox(2);
        mailbox.send_all([]);
        assert_eq!(poller.wake.read(), Err(nix::Error::EAGAIN));
        mailbox.send_all([1, 2]);
        assert_eq!(poller.wake.read(), Ok(1));
        // A full channel does not keep the messages that follow.
        let sender = std::thread::spawn(move || mailbox.send_all(3..6));
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        sender.join().expect("joined");
    }

    #[test]
    fn a_waiting_thread_receives_a_message_and_sees_the_disconnection() {
        let mut poller = Poller::new().expect("poller");
        let (mailbox, receiver) = poller.mailbox(0);
        let waiting = std::thread::spawn(move || {
            let mut received = 0;
            loop {
                let _woken = poller.wait(None).map(Iterator::count);
                received += receiver.try_iter().count();
                if receiver.try_recv() == Err(TryRecvError::Disconnected) {
                    return received;
                }
            }
        });
        mailbox.send(());
        drop(mailbox);
        assert_eq!(waiting.join().expect("joined"), 1);
    }

    #[test]
    fn time_outs_are_rounded_up() {
        assert_eq!(round_up(Duration::from_micros(1)), EpollTimeout::from(1_u8));
        assert_eq!(round_up(Duration::from_millis(2)), EpollTimeout::from(2_u8));
        assert_eq!(round_up(Duration::ZERO), EpollTimeout::ZERO);
        assert_eq!(round_up(Duration::MAX), EpollTimeout::MAX);
    }
}
