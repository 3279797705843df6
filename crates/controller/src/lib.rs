//! Gives addresses to Services of type `LoadBalancer`.

/// The controller's flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Runs the controller until it is told to stop.
pub fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("the controller is not wired up yet")
}
