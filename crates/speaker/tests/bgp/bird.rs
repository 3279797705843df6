//! BIRD, which shows text.

use std::path::Path;

use crate::router::{Neighbour, Routes};

pub(crate) fn configuration(neighbour: &Neighbour) -> String {
    let password = neighbour.password;
    let password = password.map(|key| format!("password \"{key}\";"));
    // Without the times, BIRD rests for a minute after an error.
    format!(
        "router id 10.0.0.1;\nprotocol device {{}}\nprotocol bgp node {{\n\
         local {} as {}; neighbor {} as {}; passive yes; error wait time 1, 2; error forget time 3; {}\n\
         ipv4 {{ import all; export none; }};\nipv6 {{ import all; export none; }};\n}}\n",
        neighbour.router,
        neighbour.router_asn,
        neighbour.address,
        neighbour.asn,
        password.unwrap_or_default(),
    )
}

pub(crate) fn command(directory: &Path) -> (&'static str, Vec<String>) {
    let file = |name: &str| directory.join(name).display().to_string();
    let arguments = [
        "-f".into(),
        "-c".into(),
        file("configuration"),
        "-s".into(),
        file("control"),
        "-P".into(),
        file("pid"),
    ];
    ("bird", arguments.into())
}

pub(crate) fn routes(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<Routes, String> {
    let control = directory.join("control").display().to_string();
    let text = ask("birdc", &["-s", &control, "show", "route", "all"])?;
    let mut routes = Routes::new();
    let mut seen = None;
    for line in text.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if line.starts_with(|first: char| first.is_ascii_hexdigit()) && word.contains('/') {
            seen = Some(routes.entry(word.to_owned()).or_default());
        }
        let (Some(seen), Some((name, value))) = (&mut seen, line.trim().split_once(": ")) else {
            continue;
        };
        match name {
            // The second address is the link-local one.
            "BGP.next_hop" => seen.next_hop = value.split(' ').next().unwrap_or_default().to_owned(),
            "BGP.as_path" => value.clone_into(&mut seen.as_path),
            "BGP.med" => seen.med = value.parse().ok(),
            "BGP.local_pref" => seen.local_pref = value.parse().ok(),
            "BGP.community" => seen.communities = value.replace(['(', ')'], "").replace(',', ":"),
            _ => {}
        }
    }
    // BIRD gives routes of other ASes a preference of its own.
    for seen in routes.values_mut().filter(|seen| !seen.as_path.is_empty()) {
        seen.local_pref = None;
    }
    Ok(routes)
}
