//! Switches that forget.

use std::time::{Duration, Instant};

use herald_netns::blocking::{Segment, wait_for};
use herald_speaker::wire::WireOptions;

use crate::arp::{CLIENT, OTHER, OWNER, ip};
use crate::speaker::Speaker;

crate::tests![a_client_that_never_asks_again_is_not_flooded_everywhere];

const ADDRESS: &str = "192.0.2.100";

/// How long the switch remembers. Others take ten seconds and more; this one is in a hurry.
const AGEING: Duration = Duration::from_secs(3);

/// What a switch does not know it sends everywhere; the refresh keeps it knowing, though the owner sends nothing else and
/// the client only sends.
fn a_client_that_never_asks_again_is_not_flooded_everywhere() {
    let segment = Segment::forgetful(AGEING);
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let bystander = segment.host(OTHER, &[]);
    client.set_neighbour("eth0", ip(ADDRESS), OWNER);
    let start = |refresh| {
        let options = WireOptions {
            refresh,
            ..WireOptions::default()
        };
        Speaker::start_with(&owner, options)
    };
    let overhears = |limit: Duration| {
        let capture = bystander.capture("eth0");
        let end = Instant::now() + limit;
        let strays = || {
            capture.next(Duration::from_millis(50), |frame| {
                (frame[..6] == OWNER).then_some(())
            })
        };
        std::iter::from_fn(|| (Instant::now() < end).then(|| client.send_to(ip(ADDRESS))))
            .any(|()| strays().is_some())
    };
    let refreshing = start(Some(AGEING / 5));
    refreshing.announce(ip(ADDRESS));
    refreshing.wait_announced(ip(ADDRESS), 12);
    assert!(!overhears(AGEING * 3 / 2));
    drop(refreshing);
    // Without it, that is what happens.
    let silent = start(None);
    silent.announce(ip(ADDRESS));
    silent.wait_announced(ip(ADDRESS), 12);
    wait_for("the switch forgets", || overhears(AGEING / 5).then_some(()));
}
