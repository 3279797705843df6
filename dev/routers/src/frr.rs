//! FRR: bgpd without routes in the kernel, and zebra, which shows it the interfaces. zebra needs a user of its own.

use std::collections::BTreeSet;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::unistd::User;
use serde_json::Value;

use crate::{Neighbour, Routes, Seen, Session, Sessions, Setup, router};

pub(crate) fn configuration(setup: &Setup<'_>) -> String {
    let neighbours = setup.neighbours;
    let mut text = format!(
        "router bgp {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n bgp router-id 10.0.0.1\n \
         no bgp network import-check\n",
        router::asn(neighbours)
    );
    for neighbour in neighbours {
        let (name, asn) = (name(neighbour), neighbour.asn);
        text += &match neighbour.interface {
            Some(_) => format!(" neighbor {name} interface remote-as {asn}\n"),
            None => format!(" neighbor {name} remote-as {asn}\n"),
        };
        if neighbour.interface.is_none() && !setup.dials {
            text += &format!(" neighbor {name} passive\n");
        }
        if let Some(key) = neighbour.password {
            text += &format!(" neighbor {name} password {key}\n");
        }
    }
    for family in ["ipv4", "ipv6"] {
        text += &format!(" address-family {family} unicast\n");
        for neighbour in neighbours {
            text += &format!("  neighbor {} activate\n", name(neighbour));
        }
        let of_family = |network: &&&str| network.contains(':') == (family == "ipv6");
        for network in setup.networks.iter().filter(of_family) {
            text += &format!("  network {network}\n");
        }
        text += " exit-address-family\n";
    }
    text
}

fn name(neighbour: &Neighbour) -> String {
    let interface = neighbour.interface.map(str::to_owned);
    interface.unwrap_or_else(|| neighbour.address.to_string())
}

/// The socket of zebra.
pub(crate) const ZEBRA: &str = "zebra.socket";
/// The user that zebra changes to.
pub(crate) const USER: &str = "frr";

pub(crate) fn zebra(directory: &Path) -> (&'static str, Vec<String>) {
    // What vtysh reads for itself, and zebra.
    for file in ["vtysh.conf", "zebra.conf"] {
        std::fs::write(directory.join(file), "").expect("it can be written");
    }
    // That of a run before this one.
    let _none = std::fs::remove_file(directory.join(ZEBRA));
    let user = User::from_name(USER).expect("users can be read");
    let user = user.expect("the package makes the user");
    chown(directory, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("it can be given away");
    let directory = directory.display();
    let arguments = [
        format!("--user={USER}"),
        format!("--group={USER}"),
        "--vty_port=0".into(),
        format!("--vty_socket={directory}"),
        format!("--socket={directory}/{ZEBRA}"),
        format!("--pid_file={directory}/zebra.pid"),
        format!("--config_file={directory}/zebra.conf"),
        "--log=stdout".into(),
    ];
    ("/usr/lib/frr/zebra", arguments.into())
}

/// Succeeds when zebra has bgpd as its client, which it has then told of the interfaces.
pub(crate) fn has_interfaces(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<(), String> {
    let directory = directory.display().to_string();
    let show = "show zebra client summary";
    let clients = ask(
        "vtysh",
        &["--vty_socket", &directory, "--config_dir", &directory, "-c", show],
    )?;
    clients.contains("bgp").then_some(()).ok_or(clients)
}

pub(crate) fn bgpd(directory: &Path, forwards: bool) -> (&'static str, Vec<String>) {
    let directory = directory.display();
    let mut arguments = vec![
        "--skip_runas".into(),
        format!("--socket={directory}/{ZEBRA}"),
        "--vty_port=0".into(),
        format!("--vty_socket={directory}"),
        format!("--pid_file={directory}/pid"),
        format!("--config_file={directory}/configuration"),
        "--log=stdout".into(),
    ];
    if !forwards {
        arguments.push("--no_kernel".into());
    }
    ("/usr/lib/frr/bgpd", arguments)
}

pub(crate) fn prefixes(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<BTreeSet<String>, String> {
    let mut prefixes = BTreeSet::new();
    for family in ["ipv4", "ipv6"] {
        let table = show(directory, &ask, &format!("show bgp {family} unicast json"))?;
        let routes = table["routes"].as_object().into_iter().flatten();
        prefixes.extend(routes.map(|(prefix, _)| prefix.clone()));
    }
    Ok(prefixes)
}

/// Returns the routes with their attributes, one question each.
pub(crate) fn routes(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<Routes, String> {
    let mut routes = Routes::new();
    for prefix in prefixes(directory, &ask)? {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let route = show(
            directory,
            &ask,
            &format!("show bgp {family} unicast {prefix} json"),
        )?;
        let paths = route["paths"].as_array().into_iter().flatten();
        let mut seen: Vec<Seen> = paths.map(path).collect();
        seen.sort();
        routes.insert(prefix, seen);
    }
    Ok(routes)
}

pub(crate) fn sessions(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<Sessions, String> {
    let all = show(directory, &ask, "show bgp neighbors json")?;
    let neighbours = all.as_object().into_iter().flatten();
    let established = neighbours.filter(|(_, neighbour)| neighbour["bgpState"] == "Established");
    let sessions = established.filter_map(|(address, neighbour)| {
        let session = Session {
            identifier: neighbour["remoteRouterId"].as_str()?.to_owned(),
            instance: neighbour["connectionsEstablished"].to_string(),
            hold_time: neighbour["bgpTimerHoldTimeMsecs"]
                .as_u64()
                .map(|milliseconds| milliseconds / 1000),
        };
        Some((address.parse().ok()?, session))
    });
    Ok(sessions.collect())
}

fn path(path: &Value) -> Seen {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let as_path = text(&path["aspath"]["string"]);
    let mut seen = Seen {
        next_hop: text(&path["nexthops"][0]["ip"]),
        as_path: if as_path == "Local" {
            String::new()
        } else {
            as_path
        },
        med: path["metric"].as_u64(),
        local_pref: path["locPrf"].as_u64(),
        communities: text(&path["community"]["string"]),
    };
    seen.add_large_communities(text(&path["largeCommunity"]["string"]).split_whitespace());
    seen
}

fn show(
    directory: &Path,
    ask: &impl Fn(&str, &[&str]) -> Result<String, String>,
    command: &str,
) -> Result<Value, String> {
    let directory = directory.display().to_string();
    let arguments = [
        "--vty_socket",
        &directory,
        "--config_dir",
        &directory,
        "-c",
        command,
    ];
    let text = ask("vtysh", &arguments)?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}
