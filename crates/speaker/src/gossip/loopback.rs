//! The gossip of three speakers over real sockets on the loopback interface.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use herald_core::{Liveness, Member, NodeName, NodeState};
use herald_runtime::health::Beat;
use prometheus::Registry;
use tokio::sync::watch;

use super::{Gossip, GossipOptions, PeerMessage, Secret, Timings};

/// The limit for events that take well below a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(20);

struct LoopbackSpeaker {
    gossip: Gossip,
    secrets: watch::Sender<Vec<Secret>>,
    registry: Registry,
}

fn name(index: u8) -> NodeName {
    NodeName::new(format!("node-{index}"))
}

/// Starts the speaker of node `index` on 127.0.0.`index`, at any free port or at `port`.
fn start(index: u8, port: u16, secret: u8) -> LoopbackSpeaker {
    let registry = Registry::new();
    let (secrets, receiver) = watch::channel(keys([secret]));
    let options = GossipOptions {
        node: name(index),
        bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, index)), port),
        secrets: receiver,
        // Test machines stall.
        timings: Timings::CALM,
    };
    let gossip = Gossip::start(options, &registry, Beat::default()).expect("starts");
    LoopbackSpeaker {
        gossip,
        secrets,
        registry,
    }
}

fn keys<const N: usize>(bytes: [u8; N]) -> Vec<Secret> {
    let key = |byte| Secret::new([byte; 32]).expect("long enough");
    bytes.into_iter().map(key).collect()
}

fn addresses<'a>(
    speakers: impl IntoIterator<Item = (u8, &'a LoopbackSpeaker)>,
) -> BTreeMap<NodeName, SocketAddr> {
    let address = |(index, speaker): (u8, &LoopbackSpeaker)| (name(index), speaker.gossip.address);
    speakers.into_iter().map(address).collect()
}

async fn wait_for<T: Clone + Send + Sync + std::fmt::Debug + 'static>(
    mut watched: watch::Receiver<T>,
    condition: impl FnMut(&T) -> bool,
) {
    let held = tokio::time::timeout(DEADLINE, watched.wait_for(condition)).await;
    let held = held.map(|value| value.is_ok());
    assert_eq!(held, Ok(true), "still {:?}", watched.borrow());
}

impl LoopbackSpeaker {
    async fn sees(&self, index: u8, liveness: Liveness, state: NodeState) {
        let wanted = |m: &Member| (&m.node, m.liveness, m.state) == (&name(index), liveness, state);
        wait_for(self.gossip.members(), |members| members.iter().any(wanted)).await;
    }

    /// The value of the metric `name`, of the child whose first label has the value `label`.
    fn metric(&self, name: &str, label: Option<&str>) -> f64 {
        let family = self
            .registry
            .gather()
            .into_iter()
            .find(|family| family.name() == name);
        let family = family.expect("the metric exists");
        let children = family.get_metric().iter();
        let mut wanted = children.filter(|child| {
            label.is_none_or(|label| child.get_label().iter().any(|pair| pair.value() == label))
        });
        let child = wanted.next().expect("the label exists");
        child.get_counter().get_value() + child.get_gauge().get_value()
    }
}

#[tokio::test]
async fn three_speakers_crash_leave_and_come_back() {
    let (one, two, three) = (start(1, 0, 1), start(2, 0, 1), start(3, 0, 1));
    let peers = addresses([(1, &one), (2, &two), (3, &three)]);
    for speaker in [&one, &two, &three] {
        assert!(!*speaker.gossip.joined().borrow());
        speaker.gossip.set_peers(peers.clone());
        speaker.gossip.set_state(NodeState::Ready);
    }
    for speaker in [&one, &two, &three] {
        wait_for(speaker.gossip.joined(), |joined| *joined).await;
        for index in 1..=3 {
            speaker.sees(index, Liveness::Alive, NodeState::Ready).await;
        }
    }
    assert_eq!(one.metric("herald_gossip_members", Some("alive")), 3.0);
    assert!(one.metric("herald_gossip_datagrams_total", Some("received")) > 0.0);

    one.gossip.set_state(NodeState::Draining);
    two.sees(1, Liveness::Alive, NodeState::Draining).await;
    three.sees(1, Liveness::Alive, NodeState::Draining).await;

    // A crash: no leave message.
    let port = three.gossip.address.port();
    drop(three);
    let mut twos_view = two.gossip.members();
    let mut liveness = Vec::new();
    while liveness.last() != Some(&Liveness::Down) {
        let changed = tokio::time::timeout(DEADLINE, twos_view.changed()).await;
        assert!(matches!(changed, Ok(Ok(()))), "saw {liveness:?}");
        let seen = twos_view.borrow_and_update();
        liveness.extend(seen.iter().find(|m| m.node == name(3)).map(|m| m.liveness));
    }
    one.sees(3, Liveness::Down, NodeState::Ready).await;
    assert!(two.metric("herald_gossip_suspicions_total", None) >= 1.0);
    assert_eq!(two.metric("herald_gossip_members", Some("down")), 1.0);

    // Back with the same name and address, a new process that has reported nothing yet.
    let three = start(3, port, 1);
    three.gossip.set_peers(peers);
    wait_for(three.gossip.joined(), |joined| *joined).await;
    three.sees(1, Liveness::Alive, NodeState::Draining).await;
    two.sees(3, Liveness::Alive, NodeState::Starting).await;

    one.gossip.leave().await;
    two.sees(1, Liveness::Down, NodeState::Draining).await;
    three.sees(1, Liveness::Down, NodeState::Draining).await;
}

#[tokio::test]
async fn keys_are_replaced_while_the_speakers_run() {
    let (one, two) = (start(1, 0, 1), start(2, 0, 2));
    let peers = addresses([(1, &one), (2, &two)]);
    for speaker in [&one, &two] {
        speaker.gossip.set_peers(peers.clone());
        wait_for(speaker.gossip.joined(), |joined| *joined).await;
    }
    one.sees(2, Liveness::Down, NodeState::Starting).await;
    // Both open the other's key from now on.
    one.secrets.send_replace(keys([1, 2]));
    two.secrets.send_replace(keys([2, 1]));
    one.sees(2, Liveness::Alive, NodeState::Starting).await;
    two.sees(1, Liveness::Alive, NodeState::Starting).await;
    // And neither does.
    one.secrets.send_replace(keys([1]));
    two.secrets.send_replace(keys([2]));
    one.sees(2, Liveness::Down, NodeState::Starting).await;
}

#[tokio::test]
async fn a_speaker_with_another_key_stays_isolated_and_its_datagrams_are_counted() {
    let (one, two) = (start(1, 0, 1), start(2, 0, 2));
    let peers = addresses([(1, &one), (2, &two)]);
    one.gossip.set_peers(peers.clone());
    two.gossip.set_peers(peers);
    wait_for(one.gossip.joined(), |joined| *joined).await;
    one.sees(2, Liveness::Down, NodeState::Starting).await;
    two.sees(1, Liveness::Down, NodeState::Starting).await;
    assert!(one.metric("herald_gossip_dropped_total", Some("unauthentic")) >= 1.0);
}

#[tokio::test]
async fn a_flood_of_invented_sessions_is_dropped_cheaply_and_separates_no_members() {
    let (one, two) = (start(1, 0, 1), start(2, 0, 1));
    let peers = addresses([(1, &one), (2, &two)]);
    let attacker = std::net::UdpSocket::bind("127.0.0.3:0").expect("binds");
    let flooded =
        |speaker: &LoopbackSpeaker| speaker.metric("herald_gossip_dropped_total", Some("flood")) > 0.0;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut datagram = [1_u8; 200];
    for session in 0_u64.. {
        datagram[1..9].copy_from_slice(&session.to_be_bytes());
        attacker.send_to(&datagram, one.gossip.address).expect("sends");
        if session % 100 == 0 && flooded(&one) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "nothing dropped as a flood"
        );
    }
    assert!(one.metric("herald_gossip_dropped_total", Some("unauthentic")) >= 100.0);
    // The allowance is used up, and expected peers still find each other.
    for speaker in [&one, &two] {
        speaker.gossip.set_peers(peers.clone());
    }
    one.sees(2, Liveness::Alive, NodeState::Starting).await;
    two.sees(1, Liveness::Alive, NodeState::Starting).await;
}

#[tokio::test]
async fn a_speaker_asks_another_one_whether_it_announces_an_address() {
    let (one, two) = (start(1, 0, 1), start(2, 0, 1));
    let peers = addresses([(1, &one), (2, &two)]);
    for speaker in [&one, &two] {
        speaker.gossip.set_peers(peers.clone());
        speaker.gossip.set_state(NodeState::Ready);
    }
    // Only a speaker that has reported its features is asked.
    one.sees(2, Liveness::Alive, NodeState::Ready).await;
    two.sees(1, Liveness::Alive, NodeState::Ready).await;
    let address = IpAddr::from([192, 0, 2, 100]);
    one.gossip.query(name(2), address);
    let next = |speaker: LoopbackSpeaker| async move {
        let mut gossip = Some(speaker.gossip);
        let message = tokio::time::timeout(DEADLINE, super::next_message(&mut gossip)).await;
        (message.expect("in time").expect("the thread runs"), gossip)
    };
    let (asked, two) = next(two).await;
    assert_eq!(
        asked,
        PeerMessage::Queried {
            peer: name(1),
            address
        }
    );
    let two = two.expect("still there");
    two.answer(name(1), address, true);
    let (answered, _one) = next(one).await;
    let announces = true;
    assert_eq!(
        answered,
        PeerMessage::Answered {
            peer: name(2),
            address,
            announces
        }
    );
}

#[test]
fn a_clock_before_1970_counts_as_1970() {
    let early = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(super::since_1970(early), Duration::ZERO);
    assert_eq!(super::since_1970(UNIX_EPOCH + DEADLINE), DEADLINE);
}

#[test]
fn the_socket_has_as_much_room_as_the_kernel_gives() {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let greedy = std::net::UdpSocket::bind(loopback).expect("binds");
    let greedy = socket2::SockRef::from(&greedy);
    greedy.set_recv_buffer_size(1 << 30).expect("cut to the limit");
    let limit = greedy.recv_buffer_size().expect("known");
    let socket = super::listen(loopback).expect("binds");
    let room = socket2::SockRef::from(&socket).recv_buffer_size();
    // The kernel doubles what is asked for, to account for its own overhead.
    assert_eq!(room.expect("known"), limit.min(2 * super::RECEIVE_BUFFER));
}

#[tokio::test]
async fn members_are_published_only_when_a_member_changed() {
    let (one, two) = (start(1, 0, 1), start(2, 0, 1));
    let peers = addresses([(1, &one), (2, &two)]);
    for speaker in [&one, &two] {
        speaker.gossip.set_peers(peers.clone());
        wait_for(speaker.gossip.joined(), |joined| *joined).await;
    }
    let mut members = one.gossip.members();
    let mut before = members.borrow_and_update().clone();
    let received = one.metric("herald_gossip_datagrams_total", Some("received"));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while one.metric("herald_gossip_datagrams_total", Some("received")) < received + 10.0 {
        assert!(tokio::time::Instant::now() < deadline, "no datagrams");
        let changed = tokio::time::timeout(Timings::CALM.probe_period, members.changed()).await;
        if changed.is_ok() {
            let after = members.borrow_and_update().clone();
            assert_ne!(after, before);
            before = after;
        }
    }
}

#[test]
fn invalid_options_are_refused_with_the_reason() {
    let options = |node: &str, bind: &str| GossipOptions {
        node: NodeName::from(node),
        bind: bind.parse().expect("an address"),
        secrets: watch::channel(Vec::new()).1,
        timings: Timings::FAST,
    };
    let refused = |options| {
        let error = Gossip::start(options, &Registry::new(), Beat::default()).err();
        format!("{:#}", error.expect("refused"))
    };
    assert!(refused(options("a", "0.0.0.0:7946")).contains("must be one of this node's"));
    assert!(refused(options("", "127.0.0.1:0")).contains("must have 1 to 253 bytes"));
    let taken = start(1, 0, 1);
    let bind = taken.gossip.address.to_string();
    assert!(refused(options("a", &bind)).contains(&format!("cannot listen for gossip on UDP {bind}")));
}
