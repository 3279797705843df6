//! keepalived as people run it for one address on several machines: a reference, and a foreign host for Herald.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use herald_netns::tool;
use tokio::process::Command;

use crate::process;
use crate::switch::LINK;

/// The name of the program.
pub const PROGRAM: &str = "keepalived";

/// One machine of a group.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The machine's name.
    pub name: &'a str,
    /// The living machine with the highest priority has the address.
    pub priority: u8,
    /// Seconds between two advertisements, as they are written in the configuration.
    pub advert_int: &'a str,
    /// The address of the group.
    pub address: Ipv4Addr,
}

impl Member<'_> {
    /// The command that runs it in the foreground; its files go to `directory`.
    ///
    /// # Errors
    /// When keepalived is not installed.
    pub fn command(&self, directory: &Path) -> anyhow::Result<Command> {
        let program = tool::find(PROGRAM).context("keepalived is not installed")?;
        let file = |suffix: &str| directory.join(format!("{}.{suffix}", self.name));
        fs::write(file("conf"), self.configuration())?;
        Ok(process::role(&[
            "exec".to_owned(),
            program.display().to_string(),
            "--dont-fork".to_owned(),
            "--log-console".to_owned(),
            "--vrrp".to_owned(),
            format!("--use-file={}", file("conf").display()),
            format!("--pid={}", file("pid").display()),
            format!("--vrrp_pid={}", file("vrrp.pid").display()),
        ]))
    }

    /// VRRP version 3, because version 2 has no intervals below a second.
    fn configuration(&self) -> String {
        let Self {
            name,
            priority,
            advert_int,
            address,
        } = self;
        format!(
            "global_defs {{\n  router_id {name}\n  vrrp_version 3\n}}\n\
             vrrp_instance lab {{\n  state BACKUP\n  interface {LINK}\n  virtual_router_id 67\n  \
             priority {priority}\n  advert_int {advert_int}\n  virtual_ipaddress {{\n    {address}/32\n  }}\n}}\n"
        )
    }
}
