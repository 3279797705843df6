//! The connection of a session.

use std::net::IpAddr;

use herald_netio::TcpConnection;

/// The connection of a session, made or about to be.
pub(super) struct PeerConnection {
    pub(super) tcp: TcpConnection,
    /// The address of the peer.
    pub(super) peer: IpAddr,
    /// The own address, once the connection is made.
    pub(super) local: Option<IpAddr>,
    /// Whether nothing is sent before the connection is reported writable.
    pub(super) is_full: bool,
    pub(super) awaits_writable: bool,
}
