//! What a process needs before it may make network namespaces: root's capabilities, or a user namespace of its own.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

/// `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_SYS_ADMIN` by their number in `capabilities(7)`.
const NEEDED: [u32; 3] = [12, 13, 21];

/// Why network namespaces cannot be made, with the remedy.
#[derive(Debug)]
pub struct Denied {
    step: &'static str,
    cause: io::Error,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cannot {}: {}; run as root, or allow namespaces: sysctl user.max_user_namespaces and \
             user.max_net_namespaces > 0, kernel.unprivileged_userns_clone=1 (Debian) and kernel.apparmor_restrict_unprivileged_userns=0 \
             (Ubuntu), and in a container a security profile that permits unshare(2)",
            self.step, self.cause
        )
    }
}

impl std::error::Error for Denied {}

/// Makes sure that this process may create network namespaces, entering a user namespace if it is not
/// root already. Call it first thing in `main`: the kernel refuses a user namespace to a process with threads.
pub fn enter() -> Result<(), Denied> {
    if !is_capable() {
        enter_user_namespace()?;
    }
    // AppArmor allows the user namespace and then withholds its capabilities, so it has to be tried.
    std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
        .join()
        .unwrap_or(Err(nix::Error::EAGAIN))
        .map_err(|errno| denied("make a network namespace", errno.into()))
}

fn enter_user_namespace() -> Result<(), Denied> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| denied("make a user namespace", errno.into()))?;
    // user_namespaces(7): without CAP_SETGID outside, gid_map can be written only once setgroups is denied.
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {uid} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {gid} 1")))
        .map_err(|cause| denied("map the user into a user namespace", cause))
}

fn denied(step: &'static str, cause: io::Error) -> Denied {
    Denied { step, cause }
}

fn is_capable() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| has_capabilities(&status, &NEEDED))
}

fn has_capabilities(status: &str, needed: &[u32]) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    needed.iter().all(|bit| effective & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read_from_the_status_file() {
        let root = "Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n";
        let container = "Name:\tx\nCapPrm:\t0\nCapEff:\t00000000a80425fb\n";
        assert!(has_capabilities(root, &NEEDED));
        assert!(
            has_capabilities(container, &[13]),
            "a default container has NET_RAW"
        );
        assert!(
            !has_capabilities(container, &NEEDED),
            "but neither NET_ADMIN nor SYS_ADMIN"
        );
        assert!(!has_capabilities("no such line", &NEEDED));
    }

    #[test]
    fn a_denial_names_the_step_the_cause_and_the_remedy() {
        let text = denied("make a user namespace", io::Error::from_raw_os_error(1)).to_string();
        assert!(
            text.starts_with("cannot make a user namespace: Operation not permitted"),
            "{text}"
        );
        assert!(text.contains("run as root"), "{text}");
        assert!(!text.contains('\n'), "one line: {text}");
    }
}
