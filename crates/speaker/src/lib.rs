//! Owns addresses on a node and answers ARP and NDP for them.

pub mod gossip;
pub mod wire;

/// The speaker's flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Runs the speaker until it is told to stop.
pub fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("the speaker is not wired up yet")
}
