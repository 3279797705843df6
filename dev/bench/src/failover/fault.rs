//! What happens to the owner of an address.

use clap::ValueEnum;

/// What happens to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Its cable is pulled.
    LinkLoss,
    /// The program that answers for the address is killed (SIGKILL); the machine goes on.
    Sigkill,
    /// The program that answers for the address is paused (SIGSTOP); the machine goes on.
    Sigstop,
    /// Its cable is pulled and all its processes are killed, as when it loses its power.
    NodeGone,
    /// The program is asked to stop (SIGTERM).
    Sigterm,
    /// Its cable is pulled while the API server is away.
    ApiDown,
}

impl Fault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LinkLoss => "link-loss",
            Self::Sigkill => "sigkill",
            Self::Sigstop => "sigstop",
            Self::NodeGone => "node-gone",
            Self::Sigterm => "sigterm",
            Self::ApiDown => "api-down",
        }
    }

    /// Whether the machine goes on without its program, so that only clients that have its Ethernet address are served.
    pub(super) const fn spares_the_machine(self) -> bool {
        matches!(self, Self::Sigkill | Self::Sigstop)
    }

    /// Whether the machine's pods are gone with it, so that they are marked as not ready.
    pub(super) const fn takes_endpoints(self) -> bool {
        matches!(self, Self::LinkLoss | Self::NodeGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_called_the_same_in_flags_and_in_figures() {
        for fault in Fault::value_variants() {
            let value = fault.to_possible_value().expect("none is skipped");
            assert_eq!(value.get_name(), fault.name());
        }
    }
}
