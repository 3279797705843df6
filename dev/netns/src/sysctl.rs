//! Kernel parameters of the calling thread's network namespace.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Writes `value` to `/proc/sys/<key>`, e.g. key `net/ipv4/conf/all/arp_ignore`.
///
/// # Errors
/// Where `/proc/sys` is mounted read-only, as it is in containers without privileges.
pub fn set(key: &str, value: &str) -> anyhow::Result<()> {
    fs::write(Path::new("/proc/sys").join(key), value)
        .with_context(|| format!("cannot set {key}={value}; /proc/sys must be writable"))
}
