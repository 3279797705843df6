//! Scenarios of the station: each directory of `tests/scenarios` is a case.
//!
//! Each line of `in` is a time in milliseconds and an input (see [`Scene::handle`]); `#` begins a comment. `out` has
//! the frames, events and group changes that follow, with their times. With `HERALD_REWRITE` set, `out` is written
//! instead of compared; read the difference then.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use herald_core::Time;
use herald_core::announce::layer2::{Announcement, Command, WireEvent};
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};
use herald_l2::wire::ndp::Ndp;
use herald_l2::{Link, LinkIndex, MacAddr, Prefix, Purpose, Station};

#[test]
fn every_case_comes_out_as_expected() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let rewrite = std::env::var_os("HERALD_REWRITE").is_some();
    let (mut count, mut different) = (0, Vec::new());
    for case in std::fs::read_dir(&cases).expect("the cases are there") {
        let case = case.expect("an entry").path();
        let text = std::fs::read_to_string(case.join("in")).expect("a case has an input");
        let out = run(&text);
        if rewrite {
            std::fs::write(case.join("out"), &out).expect("written");
        }
        let expected = std::fs::read_to_string(case.join("out")).expect("a case has an output");
        if out != expected {
            different.push(format!(
                "{}:\n{}",
                case.display(),
                first_difference(&out, &expected)
            ));
        }
        count += 1;
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(count >= 12, "cases are missing: {count}");
}

fn first_difference(out: &str, expected: &str) -> String {
    let mut expected = expected.lines();
    for line in out.lines() {
        let expected = expected.next().unwrap_or("(the end)");
        if line != expected {
            return format!("  expected {expected}\n  but got  {line}");
        }
    }
    format!(
        "  expected {}\n  but got  (the end)",
        expected.next().unwrap_or("(another line end)")
    )
}

fn run(text: &str) -> String {
    let mut scene = Scene::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((at, what)) = line.split_once(' ') else {
            assert!(line.is_empty(), "{line}");
            continue;
        };
        let at = Time::since_zero(Duration::from_millis(at.parse().expect("milliseconds")));
        scene.pass_time(at);
        scene.handle(what.trim());
        scene.drain();
    }
    scene.out
}

struct Scene {
    station: Station,
    now: Time,
    out: String,
}

impl Scene {
    fn new() -> Self {
        Self {
            station: Station::new(Some(Duration::from_secs(60)), 7),
            now: Time::ZERO,
            out: String::new(),
        }
    }

    /// Wakes up when the station asks for it, and at `end`.
    fn pass_time(&mut self, end: Time) {
        loop {
            let Some(due) = self.station.poll_timeout().filter(|due| *due < end) else {
                self.now = end;
                self.drain();
                return;
            };
            assert!(due > self.now, "everything due was polled");
            self.now = due;
            self.drain();
        }
    }

    /// ```text
    /// links [eth2 02:00:00:00:00:02 192.0.2.1/24 ... [; eth3 ...]]   these are usable from now on
    /// announce | reannounce | defend | withdraw | probe | cancel ADDRESS [on eth2]
    /// frame eth2 ffffffffffff0200...                                 is received
    /// end
    /// ```
    fn handle(&mut self, what: &str) {
        let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
        let now = self.now;
        if verb == "links" {
            let links: Vec<Link> = rest
                .split(';')
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .map(link)
                .collect();
            self.station.set_links(links, now);
            return;
        }
        if verb == "frame" {
            let (link, hex) = rest.split_once(' ').expect("a link and a frame");
            self.receive(index(link), &bytes(hex));
            return;
        }
        let (address, interface) = rest
            .split_once(" on ")
            .map_or((rest, None), |(a, i)| (a, Some(i)));
        let interfaces = interface.map(|name| [name.to_owned()].into());
        let address = || address.parse::<IpAddr>().expect("an address");
        let announcement = || Announcement {
            address: address(),
            interfaces,
        };
        let command = match verb {
            "announce" => Command::Announce(announcement()),
            "reannounce" => Command::Reannounce(address()),
            "defend" => Command::Defend(address()),
            "withdraw" => Command::Withdraw(address()),
            "probe" => Command::Probe(announcement()),
            "cancel" => Command::CancelProbe(address()),
            "end" => return,
            _ => panic!("{what:?} is no input of a scenario"),
        };
        self.station.handle_command(command, now);
    }

    fn receive(&mut self, link: LinkIndex, frame: &[u8]) {
        let mut answer = [0; MAX_FRAME_LENGTH];
        match self.station.handle_frame(link, frame, &mut answer, self.now) {
            Ok(answered) => self.write_frame(link, "answers", &answer[..answered.length]),
            Err(reason) => self.write(format_args!("eth{link} ignores: {reason}")),
        }
    }

    /// Takes all outputs. Those of one moment are written by kind, so that a case does not depend on the order in which
    /// the kinds are polled.
    fn drain(&mut self) {
        let mut frame = [0; MAX_FRAME_LENGTH];
        while let Some(change) = self.station.poll_group() {
            let verb = if change.member { "joins" } else { "leaves" };
            self.write(format_args!("eth{} {verb} {}", change.link, change.group));
        }
        let (mut announcements, mut questions) = (Vec::new(), Vec::new());
        while let Some(sent) = self.station.poll_transmit(&mut frame, self.now) {
            let frames = match sent.purpose {
                Purpose::Announcement => &mut announcements,
                Purpose::Question => &mut questions,
            };
            frames.push((sent.link, frame[..sent.length].to_vec()));
        }
        let events: Vec<WireEvent> = std::iter::from_fn(|| self.station.poll_event(self.now)).collect();
        for event in &events {
            if let WireEvent::Claimed(address, mac) = event {
                self.write(format_args!("{address} is claimed by {mac}"));
            }
        }
        for (link, frame) in announcements {
            self.write_frame(link, "announces", &frame);
        }
        for (link, frame) in questions {
            self.write_frame(link, "asks", &frame);
        }
        for event in events {
            if let WireEvent::Probed(address, result) = event {
                self.write(format_args!("{address}: {result:?}"));
            }
        }
    }

    fn write(&mut self, what: std::fmt::Arguments<'_>) {
        let milliseconds = self.now.elapsed().as_secs_f64() * 1e3;
        writeln!(self.out, "{milliseconds:>8.2} {what}").expect("a string can grow");
    }

    fn write_frame(&mut self, link: LinkIndex, verb: &str, frame: &[u8]) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write(format_args!(
            "eth{link} {verb} {}\n         {hex}",
            meaning(frame)
        ));
    }
}

/// Returns a frame as text for the reader.
fn meaning(frame: &[u8]) -> String {
    let frame = Frame::parse(frame).expect("our own frames can be parsed");
    let to = frame.destination;
    match frame.ether_type {
        EtherType::Arp => {
            let arp = Arp::parse(frame.payload).expect("our own frames can be parsed");
            match arp.operation {
                Operation::Request => format!("to {to}: who has {}, says {}", arp.target_ip, arp.sender_ip),
                Operation::Reply => format!("to {to}: {} is at {}", arp.sender_ip, arp.sender_mac),
            }
        }
        EtherType::Ipv6 => match Ndp::parse(frame.payload).expect("our own frames can be parsed") {
            Ndp::Solicitation(ndp) => format!("to {to}: who has {}, says {}", ndp.target, ndp.source),
            Ndp::Advertisement(ndp) => {
                let solicited = if ndp.solicited { "solicited" } else { "unsolicited" };
                let overriding = if ndp.overriding { "override" } else { "no override" };
                let mac = ndp.link_address.map(|mac| mac.to_string()).unwrap_or_default();
                format!("to {to}: {} is at {mac}, {solicited}, {overriding}", ndp.target)
            }
        },
        EtherType::Other(other) => format!("to {to}: protocol {other:?}"),
    }
}

fn index(name: &str) -> LinkIndex {
    name.strip_prefix("eth")
        .and_then(|number| number.parse().ok())
        .map(LinkIndex)
        .expect("eth and a number")
}

fn link(text: &str) -> Link {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name").to_owned();
    let mac = bytes(&words.next().expect("an Ethernet address").replace(':', ""));
    let prefixes = words.map(|net| {
        let (address, length) = net.split_once('/').expect("address and length");
        Prefix {
            address: address.parse().expect("an address"),
            length: length.parse().expect("a length"),
        }
    });
    Link {
        index: index(&name),
        mac: MacAddr(mac.try_into().expect("six bytes")),
        prefixes: prefixes.collect(),
        arp: true,
        ndp: true,
        name,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |two: &[u8]| {
        let two = std::str::from_utf8(two).expect("hexadecimal digits");
        u8::from_str_radix(two, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(byte).collect()
}
