//! Every state with every event: `table.txt` is the table.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::super::fsm::{SessionEvent, SessionState, next};

#[test]
fn the_table_is_the_one_that_was_reviewed() {
    let mut text = String::new();
    for state in SessionState::ALL {
        text += &format!("{state}\n");
        for event in SessionEvent::ALL {
            let (next, effects) = next(state, event);
            let effects: Vec<_> = effects.iter().map(|effect| format!("{effect:?}")).collect();
            let line = format!(
                "  {:15} {:12} {}",
                format!("{event:?}"),
                format!("{next}"),
                effects.join(", ")
            );
            text += line.trim_end();
            text += "\n";
        }
    }
    let path = std::concat!(env!("CARGO_MANIFEST_DIR"), "/src/session/tests/table.txt");
    if std::env::var_os("HERALD_REWRITE").is_some() {
        std::fs::write(path, &text).expect("a writable directory");
    }
    let expected = std::fs::read_to_string(path).expect("a readable file");
    assert_eq!(text, expected);
}

/// RFC 4271 section 8.2.2: without a connection no message arrives, and with one nothing is dialled.
#[test]
fn an_end_closes_the_connection_and_starts_the_pause_or_stops() {
    use super::super::fsm::SessionEffect::{Close, Dial, End, Retry};
    let has_connection = |state| {
        matches!(
            state,
            SessionState::OpenSent | SessionState::OpenConfirm | SessionState::Established
        )
    };
    for state in SessionState::ALL {
        for event in SessionEvent::ALL {
            let (next, effects) = next(state, event);
            let has = |effect| effects.contains(&effect);
            if has_connection(state) && !has_connection(next) {
                assert!(has(Close) && has(End), "{state} {event:?}");
                assert_eq!(has(Retry), next == SessionState::Active, "{state} {event:?}");
            }
            assert_eq!(
                has(Dial),
                next == SessionState::Connect && state != next,
                "{state} {event:?}"
            );
            assert!(
                event != SessionEvent::Stop || next == SessionState::Idle,
                "{state}"
            );
        }
    }
}
