//! Connections over the loopback interface.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::{Duration, Instant};

use super::*;
use crate::Poller;

const DEADLINE: Duration = Duration::from_secs(30);

fn listener(address: IpAddr) -> (Socket, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    (listener.into(), at)
}

fn options(peer: SocketAddr) -> DialOptions {
    DialOptions {
        peer,
        source: None,
        device: None,
        key: None,
        least_ttl: 0,
    }
}

fn registered(connection: &TcpConnection) -> Poller {
    let poller = Poller::new().expect("poller");
    poller.add(connection, 1).expect("added");
    poller
        .set_awaits_writable(connection, 1, true)
        .expect("registered");
    poller
}

/// Waits for the end of the attempt.
fn connected(connection: &TcpConnection) -> io::Result<()> {
    let mut poller = registered(connection);
    let deadline = Instant::now() + DEADLINE;
    while !connection.poll_connected()? {
        assert!(Instant::now() < deadline, "the attempt ends");
        let _ready = poller.wait(Some(DEADLINE))?.count();
    }
    Ok(())
}

/// A counter of `/proc/net/netstat`.
fn counter(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").expect("it can be read");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(known, _)| *known == name);
    found.expect("the counter exists").1.parse().expect("a number")
}

/// Waits until the kernel has dropped a segment of the attempt, and checks that there is no connection then.
fn is_dropped(connection: &TcpConnection, name: &str, before: u64) {
    let deadline = Instant::now() + DEADLINE;
    while counter(name) == before {
        assert!(Instant::now() < deadline, "{name} counts");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!connection.poll_connected().expect("the attempt goes on"));
}

#[test]
fn bytes_go_both_ways_from_the_source_address() {
    let (listener, at) = listener(Ipv4Addr::LOCALHOST.into());
    let source = IpAddr::from([127, 0, 0, 7]);
    let mut options = options(at);
    (options.source, options.device) = (Some(source), Some("lo".into()));
    let connection = TcpConnection::dial(&options).expect("dialled");
    connected(&connection).expect("connected");
    assert_eq!(connection.local_address().expect("connected"), source);
    let (peer, from) = listener.accept().expect("accepted");
    assert_eq!(from.as_socket().map(|from| from.ip()), Some(source));
    let mut buffer = [0; 16];
    assert_eq!(connection.receive(&mut buffer).expect("open"), None);
    assert_eq!(connection.send(b"to").expect("open"), Some(2));
    let mut poller = Poller::new().expect("poller");
    poller.add(&connection, 1).expect("added");
    assert_eq!(peer.send(b"back").expect("open"), 4);
    assert_eq!(poller.wait(Some(DEADLINE)).expect("waited").count(), 1);
    assert_eq!(connection.receive(&mut buffer).expect("open"), Some(4));
    assert_eq!(buffer[..4], *b"back");
    let mut received = [std::mem::MaybeUninit::uninit(); 16];
    assert_eq!(peer.recv(&mut received).expect("open"), 2);
    drop(peer);
    assert_eq!(poller.wait(Some(DEADLINE)).expect("waited").count(), 1);
    assert_eq!(connection.receive(&mut buffer).expect("closed in order"), Some(0));
}

#[test]
fn a_connection_takes_what_the_peer_has_room_for() {
    let (listener, at) = listener(Ipv6Addr::LOCALHOST.into());
    let connection = TcpConnection::dial(&options(at)).expect("dialled");
    connected(&connection).expect("connected");
    let (peer, _) = listener.accept().expect("accepted");
    let mut sent = 0;
    while let Some(count) = connection.send(&[7; 65_536]).expect("open") {
        sent += count;
    }
    assert!(sent > 0);
    let mut poller = registered(&connection);
    let mut received = vec![std::mem::MaybeUninit::uninit(); sent];
    let mut left = sent;
    while left > 0 {
        left -= peer.recv(&mut received).expect("open");
    }
    assert_eq!(poller.wait(Some(DEADLINE)).expect("waited").count(), 1);
    assert!(connection.send(b"more").expect("open").is_some());
}

#[test]
fn little_waits_in_the_kernel_for_a_peer_that_does_not_read() {
    let (listener, at) = listener(Ipv4Addr::LOCALHOST.into());
    listener
        .set_recv_buffer_size(16 * 1024)
        .expect("it can be smaller");
    let connection = TcpConnection::dial(&options(at)).expect("dialled");
    connected(&connection).expect("connected");
    let (_peer, _) = listener.accept().expect("accepted");
    let mut sent = 0;
    while let Some(count) = connection.send(&[7; 16 * 1024]).expect("open") {
        sent += count;
    }
    // What the peer has room for, what waits, and the last piece.
    assert!(sent <= 160 * 1024, "{sent}");
    assert_eq!(connection.socket.tcp_notsent_lowat().expect("it is set"), UNSENT);
}

#[test]
fn the_kernel_notices_a_peer_that_is_gone() {
    let (_listener, at) = listener(Ipv4Addr::LOCALHOST.into());
    let connection = TcpConnection::dial(&options(at)).expect("dialled");
    let socket = &connection.socket;
    assert!(socket.keepalive().expect("it is set"));
    assert_eq!(socket.tcp_keepalive_time().expect("it is set"), PROBE_AFTER);
    assert_eq!(socket.tcp_keepalive_interval().expect("it is set"), PROBE_PAUSE);
    assert_eq!(socket.tcp_keepalive_retries().expect("it is set"), PROBES);
}

#[test]
fn the_last_bytes_arrive_although_some_were_not_read() {
    let (listener, at) = listener(Ipv4Addr::LOCALHOST.into());
    let connection = TcpConnection::dial(&options(at)).expect("dialled");
    connected(&connection).expect("connected");
    let (peer, _) = listener.accept().expect("accepted");
    assert_eq!(peer.send(b"unread").expect("open"), 6);
    connection.close(b"last");
    let mut received = [std::mem::MaybeUninit::uninit(); 16];
    assert_eq!(peer.recv(&mut received).expect("no reset"), 4);
    assert_eq!(peer.recv(&mut received).expect("closed in order"), 0);
}

#[test]
fn an_attempt_that_fails_says_why() {
    let (listener, at) = listener(Ipv4Addr::LOCALHOST.into());
    drop(listener);
    // The kernel may know it at once.
    let refused = match TcpConnection::dial(&options(at)) {
        Ok(connection) => connected(&connection).expect_err("refused"),
        Err(DialError::Io(error)) => error,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let failure = |change: fn(&mut DialOptions)| {
        let mut options = options(at);
        change(&mut options);
        TcpConnection::dial(&options)
            .expect_err("it cannot succeed")
            .to_string()
    };
    assert_eq!(
        failure(|options| options.source = Some([192, 0, 2, 1].into())),
        "this node does not have the source address 192.0.2.1"
    );
    assert_eq!(
        failure(|options| options.device = Some("no-such0".into())),
        "this node has no interface no-such0"
    );
    assert_eq!(
        failure(|options| options.key = Some(vec![b'x'; 81])),
        "the password has 81 bytes, and TCP MD5 allows 80"
    );
}

#[test]
fn the_key_decides_and_can_be_replaced() {
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let (listener, at) = listener(address);
        set_key(&listener, address, Some(b"right")).expect("TCP MD5 is supported");
        let mut options = options(at);
        options.key = Some(b"wrong".to_vec());
        let before = counter("TCPMD5Failure");
        let connection = TcpConnection::dial(&options).expect("dialled");
        is_dropped(&connection, "TCPMD5Failure", before);
        // The kernel repeats the segment, signed with the key of then.
        connection.set_key(Some(b"right")).expect("the attempt goes on");
        connected(&connection).expect("connected");
        let (peer, _) = listener.accept().expect("accepted");
        // A new key of both sides on the live connection.
        set_key(&peer, address, Some(b"new")).expect("open");
        connection.set_key(Some(b"new")).expect("open");
        connection.send(b"x").expect("open");
        let mut received = [std::mem::MaybeUninit::uninit(); 1];
        assert_eq!(peer.recv(&mut received).expect("open"), 1);
        connection.set_key(None).expect("open");
        connection.set_key(None).expect("there is none any more");
    }
}

#[test]
fn packets_have_the_greatest_ttl_and_lower_ones_are_dropped_on_request() {
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let (listener, at) = listener(address);
        set_least_ttl(&listener, at.is_ipv4(), 255).expect("it can be set");
        connected(&TcpConnection::dial(&options(at)).expect("dialled")).expect("connected");
        let mut options = options(at);
        options.least_ttl = 255;
        let before = counter("TCPMinTTLDrop");
        let connection = TcpConnection::dial(&options).expect("dialled");
        is_dropped(&connection, "TCPMinTTLDrop", before);
        // From now on the listener answers with what the connection asks for.
        if at.is_ipv4() {
            listener.set_ttl_v4(255).expect("it can be set");
        } else {
            listener.set_unicast_hops_v6(255).expect("it can be set");
        }
        connected(&connection).expect("connected");
    }
}

#[test]
fn the_key_is_not_shown() {
    let mut options = options((Ipv4Addr::LOCALHOST, 179).into());
    options.key = Some(b"secret".to_vec());
    let text = format!("{options:?}");
    assert!(
        text.contains("has_key: true") && !text.contains("secret"),
        "{text}"
    );
    assert!(!text.contains(&format!("{:?}", b"secret")), "{text}");
}
