//! Routers that speak BGP, each in a network namespace: FRR, BIRD and GoBGP, as Debian packages them.
//!
//! A [`Router`] waits for its neighbours to connect, takes all their routes and shows them as [`Routes`]; by a
//! [`Setup`] it also forwards packets by them. It ends with its value,
//! and a failure is a panic that names what failed and shows the log. Calls block: asynchronous programs make them on a thread of
//! their own.

mod bird;
mod frr;
mod gobgp;
mod kind;
mod router;

use std::time::{Duration, Instant};

pub use kind::Kind;
pub use router::{Neighbour, Router, Routes, Seen, Session, Sessions, Setup};

/// How long a condition may take: several attempts to connect, of which each may take 5 s, on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(90);

/// Polls `check` until it returns a value.
///
/// # Panics
/// When there is none within 90 s, with what was awaited and the last reason.
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(last) => assert!(
                Instant::now() < deadline,
                "{what}: not within {DEADLINE:?}, but {last}"
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
