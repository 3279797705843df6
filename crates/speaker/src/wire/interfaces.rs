//! The links of the station from the interfaces of the kernel.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use herald_l2::{Link, LinkIndex, MacAddr, Prefix, SurveyLink};
use herald_netio::Interface;
use herald_netio::watch::{InterfaceWatch, InterfaceWatchError};
use ipnet::IpNet;
use regex::Regex;

/// Delay before netlink is tried again; it fails only when descriptors or memory are short.
const RETRY: Duration = Duration::from_secs(1);

/// Returns the interfaces that can carry announcements: usable ones whose name matches no pattern of `exclude`.
pub fn links(interfaces: &[Interface], exclude: &[Regex]) -> Vec<Link> {
    let allowed = |i: &&Interface| !exclude.iter().any(|pattern| pattern.is_match(&i.name));
    let usable: Vec<(&Interface, [u8; 6])> = interfaces
        .iter()
        .filter(allowed)
        .filter_map(|interface| Some((interface, interface.usable().ok()?)))
        .collect();
    let configured = usable
        .iter()
        .flat_map(|(i, _)| i.addresses.iter().chain(&i.routes));
    let configured: BTreeSet<IpNet> = configured
        .map(IpNet::trunc)
        .filter(|net| net.prefix_len() > 0)
        .collect();
    let links = usable
        .iter()
        .map(|(interface, mac)| link(interface, *mac, &configured));
    links.collect()
}

/// Returns where a survey can ask, and the addresses that it can ask from: those that the kernel itself chooses as source addresses
/// and that `is_own` leaves, so that neighbours learn nothing new.
pub fn survey_links(
    interfaces: &[Interface],
    exclude: &[Regex],
    is_own: impl Fn(IpAddr) -> bool,
) -> Vec<SurveyLink> {
    let links = links(interfaces, exclude);
    let link = |link: &Link| {
        let interface = interfaces.iter().find(|one| one.index == link.index.0)?;
        let sources = interface.preferred.iter().filter(|net| is_own(net.addr()));
        Some(SurveyLink {
            index: link.index,
            arp: link.arp,
            ndp: link.ndp,
            sources: sources
                .map(|net| Prefix {
                    address: net.addr(),
                    length: net.prefix_len(),
                })
                .collect(),
        })
    };
    links.iter().filter_map(link).collect()
}

/// A prefix that a router advertised counts where no subnet of `configured` covers it: a host on the segment that advertises
/// longer prefixes must not decide which interface answers.
fn link(interface: &Interface, mac: [u8; 6], configured: &BTreeSet<IpNet>) -> Link {
    let is_covered = |net: &IpNet| configured.iter().any(|configured| configured.contains(net));
    let advertised = interface.advertised.iter().filter(|net| !is_covered(net));
    let nets = interface
        .addresses
        .iter()
        .chain(&interface.routes)
        .chain(advertised);
    let prefixes = nets.map(|net| Prefix {
        address: net.addr(),
        length: net.prefix_len(),
    });
    Link {
        index: LinkIndex(interface.index),
        name: interface.name.clone(),
        mac: MacAddr(mac),
        prefixes: prefixes.collect(),
        arp: interface.resolves_v4(),
        ndp: interface.resolves_v6(),
    }
}

/// Calls `changed` with all interfaces of the node, now and after each change. Never ends; errors are logged and
/// netlink is opened again. Each call counts: an interface that lost its carrier and regained it is reported in both
/// states, one directly after the other.
pub async fn watch_interfaces(mut changed: impl FnMut(Vec<Interface>)) -> Infallible {
    let mut links = None;
    loop {
        let Err(error) = watch(&mut links, &mut changed).await;
        tracing::warn!(%error, "cannot watch network interfaces, trying again");
        tokio::time::sleep(RETRY).await;
    }
}

async fn watch(
    links: &mut Option<InterfaceWatch>,
    changed: &mut impl FnMut(Vec<Interface>),
) -> Result<Infallible, InterfaceWatchError> {
    let links = match links {
        Some(broken) => {
            broken.reopen()?;
            broken
        }
        None => links.insert(InterfaceWatch::open()?),
    };
    loop {
        changed(links.next().await?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(name: &str) -> Interface {
        Interface {
            index: 2,
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            up: true,
            running: true,
            noarp: false,
            broadcast: true,
            loopback: false,
            master: None,
            addresses: vec!["192.0.2.1/24".parse().expect("prefix")],
            preferred: Vec::new(),
            routes: vec!["198.51.100.0/24".parse().expect("prefix")],
            advertised: Vec::new(),
        }
    }

    #[test]
    fn excluded_and_unusable_interfaces_are_left_out() {
        let mut down = ethernet("eth1");
        down.up = false;
        let interfaces = [ethernet("eth0"), down, ethernet("veth12")];
        let exclude = [
            Regex::new("^veth.*").expect("pattern"),
            Regex::new("^lo$").expect("pattern"),
        ];
        let links = links(&interfaces, &exclude);
        assert_eq!(
            links.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(),
            ["eth0"]
        );
        assert_eq!(links[0].mac, MacAddr([2, 0, 0, 0, 0, 1]));
        assert!(links[0].arp && !links[0].ndp);
        for (prefix, address) in links[0].prefixes.iter().zip(["192.0.2.77", "198.51.100.77"]) {
            assert!(prefix.contains(address.parse().expect("address")));
        }
    }

    #[test]
    fn an_advertised_prefix_counts_where_no_configured_subnet_covers_it() {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().expect("prefix")).collect();
        let mut near = ethernet("eth0");
        (near.addresses, near.routes) = (nets(&["2001:db8::1/64"]), nets(&["::/0", "2001:db8:1::/64"]));
        let mut attacked = ethernet("eth1");
        (attacked.addresses, attacked.routes) = (nets(&["2001:db8:3::1/128"]), Vec::new());
        attacked.advertised = nets(&["2001:db8::/120", "2001:db8:1::/80", "2001:db8:2::/64"]);
        let links = links(&[near, attacked], &[]);
        let covers = |address: &str| {
            let address = address.parse().expect("address");
            let covering = links
                .iter()
                .filter(|link| link.prefixes.iter().any(|p| p.length > 0 && p.contains(address)));
            covering.map(|link| link.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(covers("2001:db8::77"), ["eth0"]);
        assert_eq!(covers("2001:db8:1::77"), ["eth0"]);
        assert_eq!(covers("2001:db8:2::77"), ["eth1"]);
    }

    #[test]
    fn a_survey_asks_from_addresses_that_the_kernel_chooses_and_no_pool_has() {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().expect("prefix")).collect();
        let mut interface = ethernet("eth0");
        interface.addresses = nets(&["192.0.2.1/24", "192.0.2.50/24", "192.0.2.60/24"]);
        interface.preferred = nets(&["192.0.2.1/24", "192.0.2.50/24"]);
        let exclude = [Regex::new("^veth.*").expect("pattern")];
        let is_own = |address: IpAddr| address != "192.0.2.50".parse::<IpAddr>().expect("an address");
        let links = survey_links(&[interface, ethernet("veth1")], &exclude, is_own);
        assert_eq!(links.len(), 1);
        let sources: Vec<String> = links[0]
            .sources
            .iter()
            .map(|own| own.address.to_string())
            .collect();
        assert_eq!(sources, ["192.0.2.1"]);
    }

    #[test]
    fn exclusion_patterns_are_not_anchored() {
        let exclude = [Regex::new("th").expect("pattern")];
        assert!(links(&[ethernet("eth0")], &exclude).is_empty());
    }
}
