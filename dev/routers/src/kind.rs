//! The programs that routers run, and whether they can run here.

use std::fmt;

use herald_netns::tool;
use nix::unistd::User;

use crate::frr;

/// The programs that routers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// FRR: bgpd, and zebra.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP 3.
    GoBgp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Frr, Self::Bird, Self::GoBgp];

    /// Returns why such a router cannot run here; nothing if it can.
    pub fn obstacle(self) -> Option<String> {
        let mut programs = self.programs().iter();
        if let Some(missing) = programs.find(|program| tool::find(program).is_none()) {
            return Some(format!("{missing} is not installed"));
        }
        if self != Self::Frr {
            return None;
        }
        let user = User::from_name(frr::USER).ok().flatten();
        let user = user.map(|user| user.uid.as_raw());
        let Some(user) = user else {
            return Some(format!("there is no user {}", frr::USER));
        };
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        (!is_mapped(&map, user))
            .then(|| "zebra needs root, because it changes to a user of its own".to_owned())
    }

    /// Returns the package of Debian that has the programs.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Frr => "frr",
            Self::Bird => "bird2",
            Self::GoBgp => "gobgpd",
        }
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Frr => &["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd", "vtysh"],
            Self::Bird => &["bird", "birdc"],
            Self::GoBgp => &["gobgpd", "gobgp"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frr => "frr",
            Self::Bird => "bird",
            Self::GoBgp => "gobgp",
        })
    }
}

/// Returns whether a user namespace has a user, by its `uid_map` (user_namespaces(7)): lines of the first user inside, the first
/// outside, and their number. That of an ordinary user has one user only.
fn is_mapped(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(0));
        let (first, _, count): (u64, u64, u64) = (
            numbers.next().unwrap_or(0),
            numbers.next().unwrap_or(0),
            numbers.next().unwrap_or(0),
        );
        (first..first + count).contains(&user.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_of_an_ordinary_user_has_no_other_user() {
        let all = "         0          0 4294967295\n";
        assert!(is_mapped(all, 0) && is_mapped(all, 105));
        let one = "         0       1000          1\n";
        assert!(is_mapped(one, 0) && !is_mapped(one, 105));
        assert!(!is_mapped("", 0));
    }
}
