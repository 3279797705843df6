//! The command line.

use std::process::Command;

#[test]
fn an_unknown_benchmark_is_refused_with_a_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_herald-bench"))
        .arg("nothing")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.starts_with(b"error: "), "no reason was given");
}
