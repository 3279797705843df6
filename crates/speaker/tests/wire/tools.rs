//! What arping, ndisc6 and tcpdump make of it. They are not part of the project: where one is missing its test
//! is ignored and says so, but under continuous integration (`CI` set) it fails.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Completion, Failed, Trial};

use crate::arp::{CLIENT, OWNER, ip};
use crate::segment::Segment;
use crate::speaker::Speaker;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        needing(
            "arping",
            "wire::tools::arping_finds_the_owner_only",
            arping_finds_the_owner_only,
        ),
        needing(
            "arping",
            "wire::tools::arping_finds_the_address_taken",
            arping_finds_the_address_taken,
        ),
        needing(
            "ndisc6",
            "wire::tools::ndisc6_finds_the_owner",
            ndisc6_finds_the_owner,
        ),
        needing(
            "tcpdump",
            "wire::tools::tcpdump_decodes_without_complaint",
            tcpdump_decodes_without_complaint,
        ),
    ]
}

fn needing(tool: &'static str, name: &str, run: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        if installed(tool) {
            run();
            return Ok(Completion::Completed);
        }
        let reason = format!("{tool} is not installed");
        if std::env::var_os("CI").is_some() {
            return Err(Failed::from(reason));
        }
        Ok(Completion::ignored_with(reason))
    })
}

fn installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

struct Scene {
    client: crate::host::Host,
    speaker: Speaker,
    _owner: crate::host::Host,
    _segment: Segment,
}

fn scene() -> Scene {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24", "2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24", "2001:db8::9/64"]);
    let speaker = Speaker::start(&owner);
    for address in ["192.0.2.100", "2001:db8::100"] {
        speaker.announce(ip(address));
        speaker.wait_announced(ip(address), 1);
    }
    Scene {
        client,
        speaker,
        _owner: owner,
        _segment: segment,
    }
}

impl Scene {
    fn output(&self, tool: &'static str, arguments: &'static [&'static str]) -> (Output, String) {
        let output = self
            .client
            .run(move |_| Command::new(tool).args(arguments).output());
        let output = output.expect("the tool runs");
        let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        (output, text)
    }
}

fn arping_finds_the_owner_only() {
    let scene = scene();
    let (output, text) = scene.output("arping", &["-c", "2", "-w", "5", "-I", "eth0", "192.0.2.100"]);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("[02:00:00:00:00:0A]").count(), 2, "{text}");
    let (output, text) = scene.output("arping", &["-c", "1", "-w", "1", "-I", "eth0", "192.0.2.101"]);
    assert!(!output.status.success(), "{text}");
}

/// Duplicate address detection (RFC 5227): a reply means that the address is taken.
fn arping_finds_the_address_taken() {
    let scene = scene();
    let (output, text) = scene.output(
        "arping",
        &["-D", "-c", "1", "-w", "3", "-I", "eth0", "192.0.2.100"],
    );
    assert!(!output.status.success(), "{text}");
    let (output, text) = scene.output(
        "arping",
        &["-D", "-c", "1", "-w", "1", "-I", "eth0", "192.0.2.101"],
    );
    assert!(output.status.success(), "{text}");
}

fn ndisc6_finds_the_owner() {
    let scene = scene();
    let (output, text) = scene.output(
        "ndisc6",
        &["-1", "-r", "3", "-w", "1000", "2001:db8::100", "eth0"],
    );
    assert!(output.status.success(), "{text}");
    assert!(text.contains("02:00:00:00:00:0A"), "{text}");
}

fn tcpdump_decodes_without_complaint() {
    let scene = scene();
    let filter = "ether src 02:00:00:00:00:0a and (arp or icmp6[0] == 136)";
    let arguments = [
        "-i",
        "eth0",
        "-n",
        "-e",
        "-vv",
        "-l",
        "-c",
        "4",
        "--immediate-mode",
        filter,
    ];
    let capturing = scene.client.run(move |_| {
        let mut command = Command::new("tcpdump");
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut capturing = capturing.expect("tcpdump runs");
    let mut said = BufReader::new(capturing.stderr.take().expect("piped")).lines();
    let listening = said.any(|line| line.expect("text").contains("listening on"));
    assert!(listening);
    let asking = [ip("192.0.2.100"), ip("2001:db8::100")];
    for address in asking {
        scene.speaker.withdraw(address);
        scene.speaker.announce(address);
        scene.client.resolve(address);
    }
    let output = capturing.wait_with_output().expect("tcpdump ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Request who-has 192.0.2.100"), "{text}");
    assert!(
        text.contains("Reply 192.0.2.100 is-at 02:00:00:00:00:0a"),
        "{text}"
    );
    assert!(
        text.contains("[icmp6 sum ok] ICMP6, neighbor advertisement"),
        "{text}"
    );
    assert!(text.contains("Flags [override]"), "{text}");
    for complaint in ["bad", "invalid", "truncated", "[|", "wrong"] {
        assert!(!text.contains(complaint), "{complaint}: {text}");
    }
}
