//! Peers that do what no router should.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use herald_bgp::session::SessionEnd;
use herald_bgp::wire::{AfiSafi, Asn, BgpIdentifier, Capability, HoldTime, Open, emit_keepalive};
use herald_core::Family;
use herald_speaker::bgp::PeerEvent;

/// What a peer does with each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPeer {
    /// Sends bytes that are no message.
    Garbage,
    /// Closes the connection at once.
    Closing,
    /// Opens a session and sends KEEPALIVE messages without a pause.
    Flooding,
    /// Opens a session and reads nothing.
    Deaf,
}

impl BadPeer {
    pub(crate) const ALL: [Self; 4] = [Self::Garbage, Self::Closing, Self::Flooding, Self::Deaf];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Closing => "closing",
            Self::Flooding => "flooding",
            Self::Deaf => "deaf",
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
                open(&mut connection);
                let mut reader = connection.try_clone().expect("it can be shared");
                std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
                std::thread::spawn(move || {
                    let mut many = Vec::new();
                    (0..1000).for_each(|_| emit_keepalive(&mut many));
                    while connection.write_all(&many).is_ok() {}
                });
                None
            }
            Self::Deaf => {
                open(&mut connection);
                Some(connection)
            }
        }
    }

    /// Returns whether an event is what comes of it.
    pub(crate) fn has_shown(self, event: &PeerEvent) -> bool {
        match (self, event) {
            (Self::Flooding | Self::Deaf, PeerEvent::Up(_)) => true,
            (Self::Garbage, PeerEvent::Ended { end, .. }) => matches!(end, SessionEnd::BadMessage(_)),
            (Self::Closing, PeerEvent::Ended { end, .. }) => matches!(end, SessionEnd::ConnectionClosed(_)),
            (_, event) => panic!("{} should not cause {event:?}", self.name()),
        }
    }
}

/// Sends OPEN and KEEPALIVE, and reads the OPEN of the other side.
fn open(connection: &mut TcpStream) {
    let families = [Family::V4, Family::V6].map(|family| Capability::Multiprotocol(AfiSafi::unicast(family)));
    let identifier = BgpIdentifier::new([10, 0, 0, 9].into()).expect("not zero");
    let hold_time = HoldTime::new(90).expect("long enough");
    let open = Open::new(Asn(65_009), hold_time, identifier, families.into());
    let mut bytes = Vec::new();
    open.emit(&mut bytes).expect("short");
    emit_keepalive(&mut bytes);
    let _sent = connection.write_all(&bytes);
    let _read = connection.read(&mut [0; 19]);
}
