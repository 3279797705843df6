//! Peers that read and count what they are sent, and do nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use herald_bgp::wire::{
    AfiSafi, Asn, BgpIdentifier, BgpMessage, Capability, HoldTime, MAX_LENGTH, MessageType, Open,
    UpdateFormat, emit_keepalive, frame,
};
use herald_core::Family;
use herald_netio::Poller;
use herald_netns::blocking::{Host, Segment};

use super::SINK;

/// The AS number of all sinks.
pub(super) const ASN: u32 = 65_009;
/// The longest wait for bytes.
const DEADLINE: Duration = Duration::from_secs(120);

/// Returns the name of a sink.
pub(super) fn name(number: usize) -> Arc<str> {
    format!("sink-{number}").into()
}

/// A sink that waits for its peer.
pub(super) struct Listener {
    number: usize,
    listener: TcpListener,
    address: SocketAddr,
    host: Arc<Host>,
}

impl Listener {
    /// Makes a host with so many sinks, each at a port of its own.
    pub(super) fn many(segment: &Segment, count: usize) -> Vec<Self> {
        let host = Arc::new(host(segment));
        let listen = |number| {
            let (listener, address) = host.run(|| {
                let listener = TcpListener::bind((SINK.1, 0)).expect("a port is free");
                let address = listener.local_addr().expect("it is bound");
                (listener, address)
            });
            let host = Arc::clone(&host);
            Self {
                number,
                listener,
                address,
                host,
            }
        };
        (0..count).map(listen).collect()
    }

    pub(super) fn name(&self) -> Arc<str> {
        name(self.number)
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Makes the host of sinks.
pub(super) fn host(segment: &Segment) -> Host {
    let (mac, address) = SINK;
    segment.host(mac, &[&format!("{address}/24")])
}

/// Sinks with connections, read by one thread.
pub(super) struct Sinks {
    poller: Poller,
    sinks: Vec<Sink>,
    buffer: Vec<u8>,
    /// Keeps the namespace.
    _host: Option<Arc<Host>>,
}

struct Sink {
    stream: TcpStream,
    /// Bytes of a message that is not whole yet.
    rest: Vec<u8>,
    prefixes: usize,
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Sinks {
    /// Takes a connection each, exchanges OPEN messages, and lets the peers wait for the KEEPALIVE then.
    pub(super) fn accept(listeners: Vec<Listener>) -> anyhow::Result<Self> {
        let host = listeners.first().map(|one| Arc::clone(&one.host));
        let mut streams = Vec::new();
        for listener in listeners {
            streams.push(listener.listener.accept().context("no connection")?.0);
        }
        Self::open(streams, host)
    }

    /// Does the same with a connection that this side has made.
    pub(super) fn connected(stream: TcpStream) -> anyhow::Result<Self> {
        Self::open(vec![stream], None)
    }

    fn open(streams: Vec<TcpStream>, host: Option<Arc<Host>>) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        let mut sinks = Vec::new();
        for (token, mut stream) in (0..).zip(streams) {
            stream.set_nodelay(true)?;
            stream.write_all(&open_message())?;
            let rest = read_open(&mut stream)?;
            stream.set_nonblocking(true)?;
            let sink = Sink {
                stream,
                rest,
                prefixes: 0,
            };
            poller.add(&sink, token)?;
            sinks.push(sink);
        }
        Ok(Self {
            poller,
            sinks,
            buffer: vec![0; 1 << 16],
            _host: host,
        })
    }

    /// Sends the KEEPALIVE messages that establish the sessions.
    pub(super) fn establish(&mut self) -> anyhow::Result<()> {
        let mut keepalive = Vec::new();
        emit_keepalive(&mut keepalive);
        for sink in &mut self.sinks {
            sink.stream.write_all(&keepalive)?;
        }
        Ok(())
    }

    /// Reads until each has been sent so many prefixes in all.
    pub(super) fn read_until(&mut self, prefixes: usize) -> anyhow::Result<()> {
        while self.sinks.iter().any(|sink| sink.prefixes < prefixes) {
            let ready: Vec<u64> = self.poller.wait(Some(DEADLINE))?.collect();
            ensure!(!ready.is_empty(), "a peer has not sent all within {DEADLINE:?}");
            for token in ready {
                let sink = self.sinks.get_mut(usize::try_from(token)?);
                sink.context("an unknown token")?.read(&mut self.buffer)?;
            }
        }
        Ok(())
    }
}

impl Sink {
    fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the peer has closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("the connection is lost"),
        };
        self.rest.extend_from_slice(&buffer[..count]);
        let format = UpdateFormat {
            four_octet_as: true,
            max_length: MAX_LENGTH,
            internal: false,
        };
        let mut done = 0;
        while let Some(raw) = frame(&self.rest[done..], MAX_LENGTH)? {
            done += raw.length();
            match BgpMessage::parse(raw, &format)? {
                BgpMessage::Update(update) => {
                    let reachable = update.reachable.iter();
                    self.prefixes += reachable.map(|one| one.nlri.len()).sum::<usize>();
                }
                BgpMessage::Notification(notification) => bail!("the peer ends the session: {notification}"),
                BgpMessage::Open(_) | BgpMessage::Keepalive | BgpMessage::RouteRefresh(_) => {}
            }
        }
        self.rest.drain(..done);
        Ok(())
    }
}

fn open_message() -> Vec<u8> {
    let families = vec![Capability::Multiprotocol(AfiSafi::unicast(Family::V4))];
    let identifier = BgpIdentifier::new([10, 0, 0, 3].into()).expect("not zero");
    let hold_time = HoldTime::new(90).expect("long enough");
    let open = Open::new(Asn(ASN), hold_time, identifier, families);
    let mut bytes = Vec::new();
    open.emit(&mut bytes).expect("short");
    bytes
}

/// Reads until the OPEN of the peer is whole, and returns what came behind it.
fn read_open(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).context("no OPEN arrives")?;
        ensure!(count > 0, "the peer has closed the connection");
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(raw) = frame(&bytes, MAX_LENGTH)? {
            ensure!(
                raw.kind == MessageType::Open,
                "the peer sends {:?} first",
                raw.kind
            );
            let length = raw.length();
            return Ok(bytes.split_off(length));
        }
    }
}
