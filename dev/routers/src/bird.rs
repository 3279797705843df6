//! BIRD, which shows text.

use std::path::Path;

use crate::{Routes, Seen, Session, Sessions, Setup};

pub(crate) fn configuration(setup: &Setup<'_>) -> String {
    let mut text = "router id 10.0.0.1;\nprotocol device {}\n".to_owned();
    for family in ["ipv4", "ipv6"] {
        let of_family = |network: &&&str| network.contains(':') == (family == "ipv6");
        let routes = setup.networks.iter().filter(of_family);
        let routes: String = routes
            .map(|network| format!("route {network} blackhole;\n"))
            .collect();
        if !routes.is_empty() {
            text += &format!("protocol static {{ {family}; {routes}}}\n");
        }
        if setup.forwards {
            text += &format!(
                "protocol kernel {{ merge paths yes; {family} {{ import none; export where source = RTS_BGP; }}; }}\n"
            );
        }
    }
    for (number, neighbour) in setup.neighbours.iter().enumerate() {
        let password = neighbour.password;
        let password = password.map(|key| format!("password \"{key}\";"));
        // Without the times, BIRD rests for a minute after an error. Without `direct` it would have to find the next hops of an internal
        // neighbour by another protocol.
        text += &format!(
            "protocol bgp node{number} {{\n\
             local {} as {}; neighbor {} as {}; passive {}; direct; error wait time 1, 2; error forget time 3; {}{}\n\
             ipv4 {{ import all; export all; }};\nipv6 {{ import all; export all; }};\n}}\n",
            neighbour.router,
            neighbour.router_asn,
            neighbour.address,
            neighbour.asn,
            if setup.dials { "no" } else { "yes" },
            password.unwrap_or_default(),
            if setup.keeps_nothing {
                "graceful restart off;"
            } else {
                ""
            },
        );
    }
    text
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
    Ok(parse(&text))
}

pub(crate) fn sessions(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<Sessions, String> {
    let control = directory.join("control").display().to_string();
    let text = ask("birdc", &["-s", &control, "show", "protocols", "all"])?;
    Ok(parse_sessions(&text))
}

/// Reads `show protocols all`: the line of a protocol has its state and since when, and those of the neighbour follow.
fn parse_sessions(text: &str) -> Sessions {
    let mut sessions = Sessions::new();
    let (mut since, mut address) = (None, None);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "BGP", _, _, time, ref info @ ..] => since = (info == ["Established"]).then_some(time),
            ["Neighbor", "address:", text] => address = text.parse().ok(),
            ["Neighbor", "ID:", identifier] => {
                if let (Some(since), Some(address)) = (since, address) {
                    let session = Session {
                        identifier: identifier.to_owned(),
                        instance: since.to_owned(),
                        hold_time: None,
                    };
                    sessions.insert(address, session);
                }
            }
            // What is left of it, and the whole.
            ["Hold", "timer:", text] => {
                let session = address.and_then(|address| sessions.get_mut(&address));
                if let (Some(session), Some((_, whole))) = (session, text.split_once('/')) {
                    session.hold_time = whole.parse().ok();
                }
            }
            _ => {}
        }
    }
    sessions
}

/// Returns how many prefixes there are, without a list of them.
pub(crate) fn count(
    directory: &Path,
    ask: impl Fn(&str, &[&str]) -> Result<String, String>,
) -> Result<usize, String> {
    let control = directory.join("control").display().to_string();
    let text = ask("birdc", &["-s", &control, "show", "route", "count"])?;
    Ok(parse_count(&text))
}

/// Reads `show route count`: a line for each table, such as `4 of 4 routes for 3 networks in table master4`. The sum of all stands
/// without a table.
fn parse_count(text: &str) -> usize {
    let tables = text.lines().filter(|line| line.contains(" in table "));
    let counts = tables.filter_map(|line| {
        let (_, networks) = line.split_once(" for ")?;
        networks.split(' ').next()?.parse::<usize>().ok()
    });
    counts.sum()
}

/// Reads `show route all`: a path starts with its protocol in brackets, the first one of a prefix behind the prefix.
fn parse(text: &str) -> Routes {
    let mut routes = Routes::new();
    let mut prefix = String::new();
    for line in text.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if line.starts_with(|first: char| first.is_ascii_hexdigit()) && word.contains('/') {
            word.clone_into(&mut prefix);
        }
        if line.contains(" [") && !prefix.is_empty() {
            routes.entry(prefix.clone()).or_default().push(Seen::default());
        }
        let seen = routes.get_mut(&prefix).and_then(|paths| paths.last_mut());
        let (Some(seen), Some((name, value))) = (seen, line.trim().split_once(": ")) else {
            continue;
        };
        match name {
            // The second address is the link-local one.
            "BGP.next_hop" => seen.next_hop = value.split(' ').next().unwrap_or_default().to_owned(),
            "BGP.as_path" => value.clone_into(&mut seen.as_path),
            "BGP.med" => seen.med = value.parse().ok(),
            "BGP.local_pref" => seen.local_pref = value.parse().ok(),
            "BGP.large_community" => {
                let all = value.replace(", ", ":").replace(['(', ')'], "");
                seen.add_large_communities(all.split_whitespace());
            }
            "BGP.community" => seen.communities = value.replace(['(', ')'], "").replace(',', ":"),
            _ => {}
        }
    }
    for paths in routes.values_mut() {
        // BIRD gives routes of other ASes a preference of its own.
        for seen in paths.iter_mut().filter(|seen| !seen.as_path.is_empty()) {
            seen.local_pref = None;
        }
        paths.sort();
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_all_tables_are_counted() {
        let text = "BIRD 2.0.12 ready.\n4 of 4 routes for 3 networks in table master4\n\
                    1 of 1 routes for 1 networks in table master6\nTotal: 5 of 5 routes for 4 networks in 2 tables\n";
        assert_eq!(parse_count(text), 4);
    }

    #[test]
    fn only_established_sessions_are_read() {
        let text = "BIRD 2.0.12 ready.\nName       Proto      Table      State  Since         Info\n\
                    device1    Device     ---        up     12:00:00.000  \n\n\
                    node0      BGP        ---        up     12:00:01.234  Established   \n\
                    \x20 BGP state:          Established\n\x20   Neighbor address: 10.0.0.2\n\x20   Neighbor AS:      65001\n\
                    \x20   Neighbor ID:      10.9.9.9\n\
                    \x20   Hold timer:       61.139/90\n\
                    node1      BGP        ---        start  12:00:02.000  Passive       \n\
                    \x20 BGP state:          Passive\n\x20   Neighbor address: 10.0.0.3\n\x20   Neighbor AS:      65001\n";
        let session = Session {
            identifier: "10.9.9.9".to_owned(),
            instance: "12:00:01.234".to_owned(),
            hold_time: Some(90),
        };
        assert_eq!(
            parse_sessions(text),
            Sessions::from([([10, 0, 0, 2].into(), session)])
        );
    }

    #[test]
    fn a_prefix_has_the_paths_of_all_neighbours() {
        let text = "BIRD 2.0.12 ready.\nTable master4:\n\
                    198.51.100.1/32      unicast [node1 12:00:00.000] * (100) [AS65001i]\n\tvia 10.0.0.3 on eth0\n\
                    \tType: BGP univ\n\tBGP.origin: IGP\n\tBGP.as_path: 65001\n\tBGP.next_hop: 10.0.0.3\n\
                    \tBGP.med: 50\n\tBGP.local_pref: 100\n\tBGP.community: (65001,7)\n\
                    \tBGP.large_community: (65001, 1, 2) (65001, 1, 3)\n\
                    \x20                    unicast [node0 12:00:00.000] (100) [AS65001i]\n\tvia 10.0.0.2 on eth0\n\
                    \tBGP.as_path: \n\tBGP.next_hop: 10.0.0.2 fe80::1\n\tBGP.local_pref: 200\n\
                    198.51.100.2/32      unicast [node0 12:00:00.000] * (100) [AS65001i]\n";
        let routes = parse(text);
        let hops = |prefix: &str| -> Vec<&str> {
            routes[prefix].iter().map(|seen| seen.next_hop.as_str()).collect()
        };
        assert_eq!(hops("198.51.100.1/32"), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(routes["198.51.100.2/32"], [Seen::default()]);
        let [internal, external] = &routes["198.51.100.1/32"][..] else {
            panic!("two paths");
        };
        assert_eq!((internal.local_pref, internal.med), (Some(200), None));
        assert_eq!((external.local_pref, external.med), (None, Some(50)));
        assert_eq!(external.communities, "65001:7 large:65001:1:2 large:65001:1:3");
    }
}
