//! Programs of the machine that the lab can make use of.

use std::path::PathBuf;

/// Where a program is, if it is installed. What administers a network is often in directories that only root's PATH names.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
