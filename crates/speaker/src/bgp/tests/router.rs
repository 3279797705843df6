//! The other end of a connection: a router that sends and reads what a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use herald_bgp::session::SessionConfig;
use herald_bgp::wire::notification::{CeaseSubcode, ErrorCode};
use herald_bgp::wire::{
    AfiSafi, BgpIdentifier, BgpMessage, Capability, EXTENDED_MAX_LENGTH, HoldTime, MAX_LENGTH, Notification,
    Open, UpdateFormat, emit_keepalive, frame,
};
use herald_core::Family;
use herald_core::bgp::{Asn, ExpectedAs};
use herald_netio::DialOptions;
use socket2::SockRef;

use crate::bgp::PeerSettings;

/// How long a condition may take. It measures nothing.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

const OWN: Asn = Asn(65_001);
const ROUTER: Asn = Asn(65_000);

pub(super) struct Router {
    listener: TcpListener,
    address: SocketAddr,
}

impl Router {
    pub(super) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        Self { listener, address }
    }

    /// Returns how to have a session with it.
    pub(super) fn settings(&self) -> PeerSettings {
        PeerSettings {
            dial: DialOptions {
                peer: self.address,
                source: None,
                device: None,
                key: None,
                least_ttl: 0,
            },
            interface: None,
            session: SessionConfig {
                local_asn: OWN,
                peer_asn: ExpectedAs::Exactly(ROUTER),
                identifier: BgpIdentifier::new([10, 0, 0, 2].into()).expect("not zero"),
                hold_time: HoldTime::new(90).expect("long enough"),
                keepalive: None,
                connect_retry: None,
                families: vec![Family::V4, Family::V6],
                extended_next_hop: false,
                restart_time: None,
                forwarding: true,
            },
        }
    }

    /// Waits for the next connection.
    pub(super) fn accept(&self) -> Connection {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        Connection {
            stream,
            received: Vec::new(),
            routes: BTreeSet::new(),
            at_end: BTreeMap::new(),
        }
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    routes: BTreeSet<String>,
    /// How many routes it had at the first End-of-RIB of each family.
    at_end: BTreeMap<AfiSafi, usize>,
}

impl Connection {
    /// Sends OPEN and KEEPALIVE.
    pub(super) fn open(&mut self, hold_time: u16) {
        let families =
            [Family::V4, Family::V6].map(|family| Capability::Multiprotocol(AfiSafi::unicast(family)));
        let identifier = BgpIdentifier::new([10, 0, 0, 1].into()).expect("not zero");
        let hold_time = HoldTime::new(hold_time).expect("long enough");
        let open = Open::new(ROUTER, hold_time, identifier, families.into());
        let mut bytes = Vec::new();
        open.emit(&mut bytes).expect("short");
        emit_keepalive(&mut bytes);
        self.stream.write_all(&bytes).expect("it is open");
    }

    pub(super) fn send_keepalive(&mut self) {
        let mut bytes = Vec::new();
        emit_keepalive(&mut bytes);
        self.stream.write_all(&bytes).expect("it is open");
    }

    /// Sends a NOTIFICATION, and ends the connection with a reset.
    pub(super) fn notify_and_reset(mut self) {
        let error = ErrorCode::Cease(CeaseSubcode::AdministrativeShutdown);
        let notification = Notification {
            error,
            data: Vec::new(),
        };
        let mut bytes = Vec::new();
        notification.emit(&mut bytes).expect("short");
        self.stream.write_all(&bytes).expect("it is open");
        let socket = SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("it can be set");
    }

    /// Opens the session and sends KEEPALIVE messages without a pause, for as long as the connection lasts.
    pub(super) fn flood(mut self) {
        self.open(90);
        let mut reader = self.stream.try_clone().expect("it can be shared");
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        std::thread::spawn(move || {
            let mut many = Vec::new();
            (0..1_000).for_each(|_| emit_keepalive(&mut many));
            while self.stream.write_all(&many).is_ok() {}
        });
    }

    /// Opens the session and reads a little at a time, for as long as the connection lasts.
    pub(super) fn read_slowly(mut self) {
        self.open(90);
        std::thread::spawn(move || {
            while matches!(self.stream.read(&mut [0; 512]), Ok(1..)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    /// Returns the next message if one has arrived.
    pub(super) fn poll(&mut self) -> Option<BgpMessage> {
        self.set_nonblocking(true);
        let message = self.next();
        self.set_nonblocking(false);
        message
    }

    fn set_nonblocking(&self, is_nonblocking: bool) {
        let set = self.stream.set_nonblocking(is_nonblocking);
        set.expect("it can be set");
    }

    /// Returns the next message; nothing if there is none yet, or the connection has ended.
    fn next(&mut self) -> Option<BgpMessage> {
        loop {
            let whole = frame(&self.received, EXTENDED_MAX_LENGTH);
            if let Some(raw) = whole.unwrap_or_else(|error| panic!("{error}")) {
                let format = UpdateFormat {
                    four_octet_as: true,
                    max_length: MAX_LENGTH,
                    internal: false,
                };
                let length = raw.length();
                let message = BgpMessage::parse(raw, &format);
                let message = message.unwrap_or_else(|error| panic!("{error}"));
                self.received.drain(..length);
                self.note(&message);
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn note(&mut self, message: &BgpMessage) {
        if let BgpMessage::Update(update) = message {
            for nlri in &update.withdrawn {
                self.routes.remove(&nlri.to_string());
            }
            let reachable = update.reachable.iter().flat_map(|reachable| &reachable.nlri);
            self.routes.extend(reachable.map(ToString::to_string));
            if let Some(family) = update.end_of_rib {
                self.at_end.entry(family).or_insert(self.routes.len());
            }
        }
    }

    /// Reads until the End-of-RIB of both families were there, and returns how many routes it had at each.
    pub(super) fn wait_for_end_of_rib(&mut self) -> Vec<usize> {
        while self.at_end.len() < 2 {
            assert!(self.next().is_some(), "the session stands");
        }
        self.at_end.values().copied().collect()
    }

    /// Reads until it has so many routes, and returns them.
    pub(super) fn wait_for_routes(&mut self, count: usize) -> Vec<String> {
        while self.routes.len() != count {
            assert!(self.next().is_some(), "{:?}", self.routes);
        }
        self.routes.iter().cloned().collect()
    }

    /// Reads until the connection has ended.
    pub(super) fn wait_for_end(&mut self) {
        while self.next().is_some() {}
    }
}
