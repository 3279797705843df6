//! GoBGP.

use std::path::Path;

use serde_json::Value;

use crate::{Routes, Seen, Session, Sessions, Setup, router};

/// The port of its API, in its own namespace.
const API: &str = "127.0.0.1:50051";

pub(crate) fn configuration(setup: &Setup<'_>) -> String {
    let neighbours = setup.neighbours;
    let asn = router::asn(neighbours);
    let mut text = format!("[global.config]\nas = {asn}\nrouter-id = \"10.0.0.1\"\n");
    for neighbour in neighbours {
        // Without the time, GoBGP rests for half a minute after a session.
        text += &format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\nauth-password = \"{}\"\n\
             [neighbors.transport.config]\npassive-mode = {}\n\
             [neighbors.timers.config]\nidle-hold-time-after-reset = 1\n",
            neighbour.address,
            neighbour.asn,
            neighbour.password.unwrap_or_default(),
            !setup.dials,
        );
        for family in ["ipv4", "ipv6"] {
            text += "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n";
            text += &format!("afi-safi-name = \"{family}-unicast\"\n");
        }
    }
    text
}

pub(crate) fn command(directory: &Path) -> (&'static str, Vec<String>) {
    let configuration = directory.join("configuration").display().to_string();
    let arguments = [
        "-t",
        "toml",
        "-f",
        &configuration,
        "--api-hosts",
        API,
        "--pprof-disable",
    ];
    ("gobgpd", arguments.map(str::to_owned).into())
}

/// Adds what only its API can add.
pub(crate) fn add_networks(
    networks: &[String],
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<(), String> {
    for network in networks {
        let family = if network.contains(':') { "ipv6" } else { "ipv4" };
        ask("gobgp", &["global", "rib", "add", "-a", family, network])?;
    }
    Ok(())
}

pub(crate) fn sessions(ask: impl Fn(&str, &[&str]) -> Result<String, String>) -> Result<Sessions, String> {
    /// `SESSION_STATE` of its API.
    const ESTABLISHED: u64 = 6;
    let text = ask("gobgp", &["neighbor", "-j"])?;
    let all: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let sessions = all.as_array().into_iter().flatten().filter_map(|neighbour| {
        let state = &neighbour["state"];
        let session = Session {
            identifier: state["router_id"].as_str()?.to_owned(),
            instance: neighbour["timers"]["state"]["uptime"].to_string(),
            hold_time: neighbour["timers"]["state"]["negotiated_hold_time"].as_u64(),
        };
        let address = state["neighbor_address"].as_str()?.parse().ok()?;
        (state["session_state"] == ESTABLISHED).then_some((address, session))
    });
    Ok(sessions.collect())
}

pub(crate) fn routes(ask: impl Fn(&str, &[&str]) -> Result<String, String>) -> Result<Routes, String> {
    let mut routes = Routes::new();
    for family in ["ipv4", "ipv6"] {
        let text = ask("gobgp", &["global", "rib", "-a", family, "-j"])?;
        let table: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        for (prefix, paths) in table.as_object().into_iter().flatten() {
            let paths = paths.as_array().into_iter().flatten();
            let mut seen: Vec<Seen> = paths.map(path).collect();
            seen.sort();
            routes.insert(prefix.clone(), seen);
        }
    }
    Ok(routes)
}

fn path(path: &Value) -> Seen {
    let mut seen = Seen::default();
    for attribute in path["attrs"].as_array().into_iter().flatten() {
        read(attribute, &mut seen);
    }
    seen
}

/// Reads an attribute by its type code.
fn read(attribute: &Value, seen: &mut Seen) {
    let numbers = |value: &Value| -> Vec<u64> {
        let numbers = value.as_array().into_iter().flatten();
        numbers.filter_map(Value::as_u64).collect()
    };
    match attribute["type"].as_u64() {
        Some(2) => {
            let path = numbers(&attribute["as_paths"][0]["asns"]);
            let path: Vec<String> = path.iter().map(u64::to_string).collect();
            seen.as_path = path.join(" ");
        }
        Some(3 | 14) => {
            attribute["nexthop"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut seen.next_hop);
        }
        Some(4) => seen.med = attribute["metric"].as_u64(),
        Some(5) => seen.local_pref = attribute["value"].as_u64(),
        Some(8) => {
            let all = numbers(&attribute["communities"]);
            let all: Vec<String> = all
                .iter()
                .map(|community| format!("{}:{}", community >> 16, community & 0xffff))
                .collect();
            seen.communities = all.join(" ");
        }
        Some(32) => {
            let all = attribute["value"].as_array().into_iter().flatten();
            let all = all.map(|community| {
                ["ASN", "LocalData1", "LocalData2"]
                    .map(|part| community[part].to_string())
                    .join(":")
            });
            let all: Vec<String> = all.collect();
            seen.add_large_communities(all.iter().map(String::as_str));
        }
        _ => {}
    }
}
