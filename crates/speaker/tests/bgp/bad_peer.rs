//! Peers that do what no router should.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use herald_bgp::session::{SessionEnd, SessionState};
use herald_bgp::wire::{AfiSafi, Asn, BgpIdentifier, Capability, HoldTime, Open, emit_keepalive};
use herald_core::Family;
use herald_speaker::bgp::PeerEvent;
use socket2::SockRef;

/// What a peer does with each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPeer {
    /// Sends bytes that are no message.
    Garbage,
    /// Closes the connection at once.
    Closing,
    /// Opens a session and sends KEEPALIVE messages without a pause.
    Flooding,
    /// Opens a session and sends the same route without a pause.
    Updating,
    /// Opens a session and reads nothing.
    Deaf,
    /// Resets the connection when the other side is in this state.
    ResetInOpenSent,
    ResetInOpenConfirm,
    ResetInEstablished,
}

/// The types of messages (RFC 4271 section 4.1).
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;
/// 203.0.113.0/24 by 10.0.0.9: ORIGIN, an empty `AS_PATH`, `NEXT_HOP`, prefix.
const ROUTE: [u8; 22] = [
    0, 0, 0, 14, 0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 9, 24, 203, 0, 113,
];

impl BadPeer {
    pub(crate) const ALL: [Self; 8] = [
        Self::Garbage,
        Self::Closing,
        Self::Flooding,
        Self::Updating,
        Self::Deaf,
        Self::ResetInOpenSent,
        Self::ResetInOpenConfirm,
        Self::ResetInEstablished,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Closing => "closing",
            Self::Flooding => "flooding",
            Self::Updating => "updating",
            Self::Deaf => "deaf",
            Self::ResetInOpenSent => "reset-in-open-sent",
            Self::ResetInOpenConfirm => "reset-in-open-confirm",
            Self::ResetInEstablished => "reset-in-established",
        }
    }

    /// Listens in the namespace of the caller, and returns the port.
    pub(crate) fn listen(self) -> u16 {
        let listener = TcpListener::bind("10.0.0.9:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        // The thread ends with the program.
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for connection in listener.incoming().flatten() {
                kept.extend(self.serve(connection));
            }
        });
        port
    }

    /// Returns the connection if it is to stay open.
    fn serve(self, mut connection: TcpStream) -> Option<TcpStream> {
        match self {
            Self::Garbage => {
                let _sent = connection.write_all(&[0x5a; 4096]);
                Some(connection)
            }
            Self::Closing => None,
            Self::Flooding => {
                let mut many = Vec::new();
                (0..1000).for_each(|_| emit_keepalive(&mut many));
                flood(connection, many);
                None
            }
            Self::Updating => {
                let length = 19 + u16::try_from(ROUTE.len()).expect("short");
                let header = [&[0xff; 16][..], &length.to_be_bytes(), &[UPDATE]].concat();
                flood(connection, [&header[..], &ROUTE].concat().repeat(1000));
                None
            }
            Self::Deaf => {
                open(&mut connection);
                Some(connection)
            }
            Self::ResetInOpenSent => reset_after(connection, &[], OPEN),
            Self::ResetInOpenConfirm => reset_after(connection, &open_message(), KEEPALIVE),
            // It is sent routes.
            Self::ResetInEstablished => {
                let mut bytes = open_message();
                emit_keepalive(&mut bytes);
                reset_after(connection, &bytes, UPDATE)
            }
        }
    }

    /// Returns whether an event is what comes of it.
    pub(crate) fn has_shown(self, event: &PeerEvent) -> bool {
        match (self, event) {
            (Self::Flooding | Self::Updating | Self::Deaf, PeerEvent::Up(_)) => true,
            (Self::ResetInEstablished, PeerEvent::Up(_)) => false,
            (Self::ResetInOpenSent, event) => is_closed_in(SessionState::OpenSent, event),
            (Self::ResetInOpenConfirm, event) => is_closed_in(SessionState::OpenConfirm, event),
            (Self::ResetInEstablished, event) => is_closed_in(SessionState::Established, event),
            (Self::Garbage, PeerEvent::Ended { end, .. }) => matches!(end, SessionEnd::BadMessage(_)),
            (Self::Closing, PeerEvent::Ended { end, .. }) => matches!(end, SessionEnd::ConnectionClosed(_)),
            (_, event) => panic!("{} should not cause {event:?}", self.name()),
        }
    }
}

fn is_closed_in(state: SessionState, event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Ended { end: SessionEnd::ConnectionClosed(closed), .. } if *closed == state)
}

/// Opens a session, and sends these messages until the connection ends.
fn flood(mut connection: TcpStream, messages: Vec<u8>) {
    open(&mut connection);
    let mut reader = connection.try_clone().expect("it can be shared");
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    std::thread::spawn(move || while connection.write_all(&messages).is_ok() {});
}

/// Sends these messages, and resets the connection when a message of this type has arrived.
fn reset_after(mut connection: TcpStream, messages: &[u8], kind: u8) -> Option<TcpStream> {
    let _sent = connection.write_all(messages);
    let mut header = [0; 19];
    while header[18] != kind && connection.read_exact(&mut header).is_ok() {
        let length = u16::from_be_bytes([header[16], header[17]]);
        let mut body = vec![0; usize::from(length) - header.len()];
        let _read = connection.read_exact(&mut body);
    }
    let linger = SockRef::from(&connection).set_linger(Some(std::time::Duration::ZERO));
    linger.expect("it can be set");
    None
}

/// Sends OPEN and KEEPALIVE, and reads the OPEN of the other side.
fn open(connection: &mut TcpStream) {
    let mut bytes = open_message();
    emit_keepalive(&mut bytes);
    let _sent = connection.write_all(&bytes);
    let _read = connection.read(&mut [0; 19]);
}

fn open_message() -> Vec<u8> {
    let families = [Family::V4, Family::V6].map(|family| Capability::Multiprotocol(AfiSafi::unicast(family)));
    let identifier = BgpIdentifier::new([10, 0, 0, 9].into()).expect("not zero");
    let hold_time = HoldTime::new(90).expect("long enough");
    let open = Open::new(Asn(65_009), hold_time, identifier, families.into());
    let mut bytes = Vec::new();
    open.emit(&mut bytes).expect("short");
    bytes
}
