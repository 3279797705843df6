//! The thread, and the shell of a peer, with routers on the loopback interface that do what a test says.

mod router;

use std::sync::Arc;
use std::time::{Duration, Instant};

use herald_bgp::ribs_out::RibsOut;
use herald_bgp::session::SessionEnd;
use herald_bgp::wire::notification::{CeaseSubcode, ErrorCode};
use herald_bgp::wire::{BgpMessage, HoldTime};
use herald_core::announce::bgp::{FamilyLimit, RouteAttributes, RouteChange};
use herald_core::bgp::Community;
use herald_core::{Prefix, Time};
use herald_netio::{Interface, Poller};
use herald_runtime::health::Beat;
use prometheus::Registry;
use tokio::sync::mpsc::UnboundedReceiver;

use self::router::{Connection, DEADLINE, Router};
use super::context::PeerContext;
use super::metrics::BgpMetrics;
use super::peer::PeerShell;
use super::*;

fn name() -> Arc<str> {
    "router".into()
}

fn change(peer: &str, address: &str, med: Option<u32>) -> RouteChange {
    let address = address.parse().expect("an address");
    RouteChange {
        peer: peer.into(),
        prefix: Prefix {
            address,
            length: if address.is_ipv4() { 32 } else { 128 },
        },
        attributes: med.map(|med| RouteAttributes {
            med: Some(med),
            ..RouteAttributes::default()
        }),
    }
}

/// The shell of a peer whose clock the test sets.
struct Shell {
    shell: PeerShell,
    context: PeerContext,
    reports: UnboundedReceiver<BgpReport>,
    now: Time,
}

impl Shell {
    #[expect(clippy::disallowed_methods, reason = "each test has a few reports")]
    fn start(router: &Router) -> Self {
        let metrics = BgpMetrics::register(&Registry::new()).expect("registered");
        let settings = router.settings();
        let of_peer = metrics.add(&name(), settings.label(), None);
        let (sender, reports) = mpsc::unbounded_channel();
        let mut shell = Self {
            shell: PeerShell::new(name(), settings, of_peer, 0, 1, Time::ZERO),
            context: PeerContext {
                poller: Poller::new().expect("a poller"),
                reports: sender,
                routes: RibsOut::default(),
                metrics,
                interfaces: Vec::new(),
                buffer: vec![0; 1 << 16],
            },
            reports,
            now: Time::ZERO,
        };
        shell.drive();
        shell
    }

    fn drive(&mut self) {
        self.shell.drive(&mut self.context, self.now);
    }

    /// Waits until the connection is ready, and handles that.
    fn wait(&mut self) {
        let ready = self.context.poller.wait(Some(DEADLINE)).expect("waited");
        assert_eq!(ready.count(), 1, "the connection is ready");
        self.shell.handle_ready(&mut self.context, self.now);
        self.drive();
    }

    /// Returns the next report of a session that begins or ends.
    fn poll_report(&mut self) -> Option<PeerEvent> {
        let events = std::iter::from_fn(|| self.reports.try_recv().ok().map(|report| report.event));
        let mut others = events.filter(|event| !matches!(event, PeerEvent::Limited(_)));
        others.next()
    }

    /// Returns one whose session with the router is established, and the router's end of the connection.
    fn established(router: &Router) -> (Self, Connection) {
        let mut shell = Self::start(router);
        let mut connection = router.accept();
        connection.open(90);
        loop {
            shell.wait();
            match shell.poll_report() {
                Some(PeerEvent::Up(_)) => return (shell, connection),
                other => assert!(other.is_none(), "{other:?}"),
            }
        }
    }
}

#[test]
fn a_keepalive_that_waits_keeps_the_session_of_a_thread_that_is_late() {
    let router = Router::listen();
    let (mut shell, mut connection) = Shell::established(&router);
    connection.send_keepalive();
    let ready = shell.context.poller.wait(Some(DEADLINE)).expect("waited");
    assert_eq!(ready.count(), 1, "it has arrived");
    shell.now = Time::ZERO + Duration::from_secs(91);
    shell.shell.handle_timeout(&mut shell.context, shell.now);
    shell.drive();
    assert!(shell.poll_report().is_none(), "the session stands");
    // A peer that was silent is lost.
    shell.now = shell.now + Duration::from_secs(91);
    shell.shell.handle_timeout(&mut shell.context, shell.now);
    shell.drive();
    let report = shell.poll_report();
    assert!(
        matches!(
            &report,
            Some(PeerEvent::Ended {
                end: SessionEnd::HoldTimerExpired,
                ..
            })
        ),
        "{report:?}"
    );
}

#[test]
fn the_reason_that_a_peer_gave_last_is_known_although_sending_fails() {
    let router = Router::listen();
    let (mut shell, connection) = Shell::established(&router);
    connection.notify_and_reset();
    let ready = shell.context.poller.wait(Some(DEADLINE)).expect("waited");
    assert_eq!(ready.count(), 1, "it has arrived");
    // A route is sent before anything is read.
    let change = change("router", "198.51.100.1", Some(1));
    shell.context.routes.set_route(change, shell.now);
    shell.drive();
    let report = shell.poll_report();
    let Some(PeerEvent::Ended {
        end: SessionEnd::Received(notification),
        cause,
        ..
    }) = report
    else {
        panic!("{report:?}");
    };
    let expected = ErrorCode::Cease(CeaseSubcode::AdministrativeShutdown);
    assert_eq!((notification.error, cause.is_none()), (expected, true));
}

fn start() -> (Bgp, UnboundedReceiver<BgpReport>, Registry) {
    let registry = Registry::new();
    let mut bgp = Bgp::start(Beat::default(), &registry).expect("the thread starts");
    let reports = bgp.take_reports().expect("the first call");
    (bgp, reports, registry)
}

fn set_peer(bgp: &Bgp, name: &str, settings: PeerSettings) {
    bgp.send(BgpCommand::SetPeer(name.into(), Box::new(settings)));
}

fn wait_for(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_peer_has_the_routes_of_before_it_was_known_and_of_before_it_was_removed() {
    let router = Router::listen();
    let (bgp, _reports, registry) = start();
    bgp.send(BgpCommand::SetRoute(change("router", "198.51.100.1", Some(1))));
    bgp.send(BgpCommand::SetRoute(change("other", "198.51.100.2", Some(1))));
    set_peer(&bgp, "router", router.settings());
    let mut connection = router.accept();
    connection.open(90);
    assert_eq!(connection.wait_for_routes(1), ["198.51.100.1/32"]);
    bgp.send(BgpCommand::RemovePeer(name()));
    connection.wait_for_end();
    set_peer(&bgp, "router", router.settings());
    let mut connection = router.accept();
    connection.open(90);
    assert_eq!(connection.wait_for_routes(1), ["198.51.100.1/32"]);
    let text = || {
        let metrics = registry.gather();
        prometheus::TextEncoder::new()
            .encode_to_string(&metrics)
            .expect("text")
    };
    let peer = router.settings().dial.peer;
    let up = format!("metallb_bgp_session_up{{peer=\"{peer}\"}} 1\n");
    let announced = format!("metallb_bgp_announced_prefixes_total{{peer=\"{peer}\"}} 1\n");
    wait_for("the session is counted", || {
        let text = text();
        text.contains(&up) && text.contains(&announced)
    });
    bgp.send(BgpCommand::RemovePeer(name()));
    wait_for("no series is left", || !text().contains("metallb_bgp"));
}

fn interface(addresses: &[&str]) -> Interface {
    let nets = addresses
        .iter()
        .map(|net| net.parse().expect("an address and a length"));
    Interface {
        index: 2,
        name: "eth0".into(),
        mac: None,
        up: true,
        running: true,
        noarp: false,
        broadcast: true,
        loopback: false,
        master: None,
        addresses: nets.clone().collect(),
        preferred: nets.collect(),
        routes: Vec::new(),
        advertised: Vec::new(),
    }
}

#[test]
fn routes_whose_next_hop_is_gone_are_withdrawn_and_come_back_with_it() {
    let router = Router::listen();
    let (bgp, _reports, _registry) = start();
    let with_ipv6 = || vec![interface(&["127.0.0.1/8", "2001:db8::1/64"])];
    bgp.set_interfaces(with_ipv6());
    set_peer(&bgp, "router", router.settings());
    let mut connection = router.accept();
    connection.open(90);
    bgp.send(BgpCommand::SetRoute(change("router", "198.51.100.1", Some(1))));
    bgp.send(BgpCommand::SetRoute(change("router", "2001:db8:80::1", Some(1))));
    let both = ["198.51.100.1/32", "2001:db8:80::1/128"];
    assert_eq!(connection.wait_for_routes(2), both);
    bgp.set_interfaces(vec![interface(&["127.0.0.1/8"])]);
    assert_eq!(connection.wait_for_routes(1), both[..1]);
    bgp.set_interfaces(with_ipv6());
    assert_eq!(connection.wait_for_routes(2), both);
}

#[test]
fn what_a_session_cannot_have_is_reported_before_it_is_up_and_when_it_changes() {
    let router = Router::listen();
    let (bgp, mut reports, registry) = start();
    bgp.set_interfaces(vec![interface(&["127.0.0.1/8"])]);
    set_peer(&bgp, "router", router.settings());
    bgp.send(BgpCommand::SetRoute(change("router", "2001:db8:80::1", Some(1))));
    let mut connection = router.accept();
    connection.open(90);
    let mut next = || reports.blocking_recv().map(|report| report.event);
    let (first, second) = (next(), next());
    let Some(PeerEvent::Limited(limits)) = first else {
        panic!("{first:?}");
    };
    assert_eq!((limits.v4, limits.v6), (None, Some(FamilyLimit::NoNextHop)));
    assert!(matches!(second, Some(PeerEvent::Up(_))), "{second:?}");
    let is_counted = || {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let text = text.expect("metrics can be encoded");
        let value = |name: &str, value: u8| {
            text.lines()
                .any(|line| line.starts_with(name) && line.ends_with(&format!(" {value}")))
        };
        value("herald_bgp_unsendable_prefixes{", 1) && value("metallb_bgp_pending_prefixes_total{", 0)
    };
    wait_for("the metrics count it as unsendable", is_counted);
    bgp.set_interfaces(vec![interface(&["127.0.0.1/8", "2001:db8::1/64"])]);
    let changed = next();
    let Some(PeerEvent::Limited(limits)) = changed else {
        panic!("{changed:?}");
    };
    assert_eq!(limits, SessionLimits::default());
    assert_eq!(connection.wait_for_routes(1), ["2001:db8:80::1/128"]);
}

/// Returns the next report of a session that begins or ends, and what was reported of limits before it.
fn next_report(reports: &mut UnboundedReceiver<BgpReport>) -> (Vec<SessionLimits>, PeerEvent) {
    let mut limits = Vec::new();
    loop {
        match reports.blocking_recv().expect("the thread lives").event {
            PeerEvent::Limited(limit) => limits.push(limit),
            event @ (PeerEvent::Up(_) | PeerEvent::Ended { .. }) => return (limits, event),
        }
    }
}

#[test]
fn a_route_that_was_too_long_is_so_in_the_next_session_until_it_was_tried() {
    let router = Router::listen();
    let (bgp, mut reports, _registry) = start();
    set_peer(&bgp, "router", router.settings());
    let mut too_long = change("router", "198.51.100.1", Some(1));
    let communities = (0..2_000).map(|number| Community(64_512, number));
    let attributes = too_long.attributes.as_mut().expect("it is announced");
    attributes.communities.standard = communities.collect();
    let prefix = too_long.prefix;
    bgp.send(BgpCommand::SetRoute(too_long));
    bgp.send(BgpCommand::SetRoute(change("router", "198.51.100.2", Some(1))));
    let mut connection = router.accept();
    connection.open(90);
    let (_, up) = next_report(&mut reports);
    assert!(matches!(up, PeerEvent::Up(_)), "{up:?}");
    assert_eq!(connection.wait_for_routes(1), ["198.51.100.2/32"]);
    // By then all routes were tried.
    connection.wait_for_end_of_rib();
    connection.notify_and_reset();
    let (limits, end) = next_report(&mut reports);
    assert!(matches!(end, PeerEvent::Ended { .. }), "{end:?}");
    let last = limits.last().expect("the limits were reported");
    assert_eq!(last.too_long, [prefix].into());
    let mut connection = router.accept();
    connection.open(90);
    let (limits, up) = next_report(&mut reports);
    assert!(matches!(up, PeerEvent::Up(_)), "{up:?}");
    assert_eq!(limits, []);
    // One that fits is announced.
    bgp.send(BgpCommand::SetRoute(change("router", "198.51.100.1", Some(1))));
    connection.wait_for_routes(2);
    let report = reports.blocking_recv().expect("the thread lives").event;
    let PeerEvent::Limited(limits) = report else {
        panic!("{report:?}");
    };
    assert!(limits.too_long.is_empty());
}

#[test]
fn a_decision_about_many_routes_is_one_entry_of_the_metric() {
    let router = Router::listen();
    let (bgp, mut reports, registry) = start();
    set_peer(&bgp, "router", router.settings());
    let mut connection = router.accept();
    connection.open(90);
    let (_, up) = next_report(&mut reports);
    assert!(matches!(up, PeerEvent::Up(_)), "{up:?}");
    let routes = |count: u16, med| {
        let route = move |number: u16| {
            let [high, low] = number.to_be_bytes();
            BgpCommand::SetRoute(change("router", &format!("10.0.{high}.{low}"), Some(med)))
        };
        (0..count).map(route)
    };
    let entries = || {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let text = text.expect("metrics can be encoded");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("herald_bgp_update_seconds_count "));
        line.expect("it is registered").to_owned()
    };
    // The sender is slower than the thread: the thread has nothing to do in between.
    bgp.send_all(routes(3_000, 1).inspect(|_| std::thread::sleep(Duration::from_micros(20))));
    connection.wait_for_routes(3_000);
    wait_for("the decision is counted", || entries() != "0");
    assert_eq!(entries(), "1");
    bgp.send_all(routes(1, 2));
    wait_for("the next one is counted", || entries() == "2");
}

#[test]
fn routers_have_all_routes_of_a_decision_before_end_of_rib() {
    let routers = [Router::listen(), Router::listen()];
    let names = ["router", "other"];
    let (bgp, mut reports, _registry) = start();
    let routes = |peer: &'static str, numbers: std::ops::Range<u16>| {
        numbers.map(move |number| {
            let [high, low] = number.to_be_bytes();
            BgpCommand::SetRoute(change(peer, &format!("10.0.{high}.{low}"), Some(1)))
        })
    };
    let peers = names.iter().zip(&routers).map(|(name, router)| {
        let settings = Box::new(router.settings());
        BgpCommand::SetPeer((*name).into(), settings)
    });
    let mut connections = Vec::new();
    // More commands than wait at once, then both sessions begin while the others are still to come.
    let establish = || {
        for router in &routers {
            let mut connection = router.accept();
            connection.open(90);
            connections.push(connection);
            let (_, up) = next_report(&mut reports);
            assert!(matches!(up, PeerEvent::Up(_)), "{up:?}");
        }
        None
    };
    let first = names.into_iter().flat_map(|name| routes(name, 0..1_500));
    let rest = names.into_iter().flat_map(|name| routes(name, 1_500..3_000));
    let commands = peers
        .chain(first)
        .chain(std::iter::once_with(establish).flatten());
    bgp.send_all(commands.chain(rest));
    for connection in &mut connections {
        assert_eq!(connection.wait_for_end_of_rib(), [3_000, 3_000]);
    }
}

#[test]
fn a_session_ends_when_its_own_address_is_gone() {
    let router = Router::listen();
    let (mut shell, mut connection) = Shell::established(&router);
    for (addresses, is_gone) in [(["127.0.0.1/8"], false), (["192.0.2.1/24"], true)] {
        shell.context.interfaces = vec![interface(&addresses)];
        shell.shell.handle_interfaces(&mut shell.context, shell.now);
        shell.drive();
        let cause = shell.poll_report().map(|report| match report {
            PeerEvent::Ended { cause, .. } => cause.map(|cause| cause.to_string()),
            PeerEvent::Up(_) | PeerEvent::Limited(_) => None,
        });
        let expected = Some("this node does not have the source address 127.0.0.1".to_owned());
        assert_eq!(cause, is_gone.then_some(expected));
    }
    connection.wait_for_end();
}

#[test]
fn neither_a_flood_nor_many_routes_nor_peers_that_do_not_read_delay_the_keepalives_of_others() {
    let [good, flooding, deaf, slow] = std::array::from_fn(|_| Router::listen());
    let (bgp, mut reports, _registry) = start();
    let mut settings = good.settings();
    settings.session.hold_time = HoldTime::new(3).expect("long enough");
    set_peer(&bgp, "good", settings);
    for (name, router) in [("flooding", &flooding), ("deaf", &deaf), ("slow", &slow)] {
        set_peer(&bgp, name, router.settings());
    }
    let mut connection = good.accept();
    connection.open(3);
    flooding.accept().flood();
    let mut deaf = deaf.accept();
    deaf.open(90);
    slow.accept().read_slowly();
    let end = Instant::now() + Duration::from_secs(5);
    let (mut last, mut longest, mut keepalives) = (Instant::now(), Duration::ZERO, 0);
    let mut med = 0;
    while Instant::now() < end {
        // All routes change again and again.
        med += 1;
        let routes = (0..2_000_u16).flat_map(|n| {
            let [high, low] = n.to_be_bytes();
            let address = format!("198.51.{high}.{low}");
            ["deaf", "slow", "flooding"].map(|peer| change(peer, &address, Some(med)))
        });
        bgp.send_all(routes.map(BgpCommand::SetRoute));
        connection.send_keepalive();
        while let Some(message) = connection.poll() {
            if message == BgpMessage::Keepalive {
                longest = longest.max(last.elapsed());
                (last, keepalives) = (Instant::now(), keepalives + 1);
            }
        }
    }
    // One each second at most, of which jitter takes up to a quarter (RFC 4271 section 10).
    assert!(
        keepalives >= 4 && longest < Duration::from_millis(1_800),
        "{keepalives} {longest:?}"
    );
    while let Ok(report) = reports.try_recv() {
        let is_expected = matches!(report.event, PeerEvent::Up(_) | PeerEvent::Limited(_));
        assert!(is_expected, "{report:?}");
    }
}
