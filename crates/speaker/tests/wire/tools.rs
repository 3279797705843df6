//! What arping, arp-scan, ndisc6 and tcpdump report. They are not part of the project: where one is missing its test
//! is ignored and says so, but under continuous integration (`CI` set) it fails.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use herald_netns::blocking::{Host, Segment};
use herald_netns::{Capture, tool};
use libtest_mimic::{Completion, Failed, Trial};

use crate::arp::{CLIENT, OWNER, ip, request};
use crate::ndp::solicitation;
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
            "arp-scan",
            "wire::tools::arp_scan_finds_what_is_announced_and_no_duplicates",
            arp_scan_finds_what_is_announced_and_no_duplicates,
        ),
        needing(
            "tcpdump",
            "wire::tools::tcpdump_decodes_without_complaint",
            tcpdump_decodes_without_complaint,
        ),
    ]
}

fn needing(program: &'static str, name: &str, run: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        if tool::find(program).is_some() {
            run();
            return Ok(Completion::Completed);
        }
        let reason = format!("{program} is not installed");
        if std::env::var_os("CI").is_some() {
            return Err(Failed::from(reason));
        }
        Ok(Completion::ignored_with(reason))
    })
}

struct Scene {
    client: Host,
    speaker: Speaker,
    _owner: Host,
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
            .run(move || Command::new(tool).args(arguments).output());
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

fn arp_scan_finds_what_is_announced_and_no_duplicates() {
    let scene = scene();
    let (output, text) = scene.output(
        "arp-scan",
        &[
            "--interface=eth0",
            "--quiet",
            "--plain",
            "--retry=2",
            "192.0.2.96/29",
        ],
    );
    assert!(output.status.success(), "{text}");
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("192.0.2.")).collect();
    assert_eq!(found, ["192.0.2.100\t02:00:00:00:00:0a"], "{text}");
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
    let mut scene = scene();
    let capture = scene.client.capture("eth0");
    for taken in ["192.0.2.9", "2001:db8::9"] {
        assert_eq!(scene.speaker.probe(ip(taken)), Some(CLIENT));
    }
    scene.speaker.reannounce(ip("192.0.2.100"));
    scene.speaker.reannounce(ip("2001:db8::100"));
    capture.send(&request(CLIENT, [192, 0, 2, 9], [192, 0, 2, 100]));
    capture.send(&solicitation("2001:db8::100".parse().expect("address")));
    let text = decode(&frames_of_each_kind(&capture));
    for line in [
        "Request who-has 192.0.2.9 tell 0.0.0.0, length 46",
        ":: > ff02::1:ff00:9: [icmp6 sum ok] ICMP6, neighbor solicitation, length 24, who has 2001:db8::9",
        "Request who-has 192.0.2.100 (ff:ff:ff:ff:ff:ff) tell 192.0.2.100, length 46",
        "Reply 192.0.2.100 is-at 02:00:00:00:00:0a, length 46",
        "2001:db8::100 > ff02::1: [icmp6 sum ok] ICMP6, neighbor advertisement",
        "2001:db8::100 > fe80::ff:fe00:c: [icmp6 sum ok] ICMP6, neighbor advertisement",
        "Flags [override]",
        "Flags [solicited, override]",
        "destination link-address option (2), length 8 (1): 02:00:00:00:00:0a",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for complaint in ["bad", "invalid", "truncated", "[|", "wrong"] {
        assert!(!text.contains(complaint), "{complaint}: {text}");
    }
}

/// What the owner sends: a question of each family, two forms of announcement and one, and an answer of each family.
fn frames_of_each_kind(capture: &Capture) -> Vec<Vec<u8>> {
    const KINDS: usize = 7;
    let mut frames = BTreeMap::new();
    while frames.len() < KINDS {
        let next = capture.next(Duration::from_secs(10), |frame| {
            // The kind of packet and its sender; a probe has no sender address.
            let kind = match frame[12..14] {
                [0x08, 0x06] => (frame[21], frame[28..32] == [0; 4]),
                [0x86, 0xdd] if [135, 136].contains(&frame[54]) => (frame[54], frame[22..38] == [0; 16]),
                _ => return None,
            };
            let is_kernels = kind == (135, false);
            (frame[6..12] == OWNER && !is_kernels).then(|| ((kind, frame[..6].to_vec()), frame.to_vec()))
        });
        frames.extend([next.expect("another kind of frame")]);
    }
    frames.into_values().collect()
}

fn decode(frames: &[Vec<u8>]) -> String {
    let arguments = ["-n", "-e", "-vv", "-r", "-"];
    let mut decoding = tool::unprivileged("tcpdump", &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump runs");
    let mut input = decoding.stdin.take().expect("piped");
    input.write_all(&pcap(frames)).expect("tcpdump reads");
    drop(input);
    let output = decoding.wait_with_output().expect("tcpdump ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A capture file (draft-ietf-opsawg-pcap) of Ethernet frames.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let header = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65535, 1_u32];
    let mut bytes: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    for frame in frames {
        let length = frame.len() as u32;
        bytes.extend([0, 0, length, length].into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(frame);
    }
    bytes
}
