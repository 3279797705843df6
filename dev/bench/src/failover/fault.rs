//! What happens to the owner of an address.

use clap::ValueEnum;

/// What happens to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Its cable is pulled.
    LinkLoss,
    /// The program that holds the address is killed (SIGKILL); the machine goes on.
    Sigkill,
    /// The program that holds the address stands still (SIGSTOP); the machine goes on.
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

    /// Whether the machine goes on without its program, so that who has learnt its Ethernet address is served on, and who has
    /// not is not.
    pub(super) const fn spares_the_machine(self) -> bool {
        matches!(self, Self::Sigkill | Self::Sigstop)
    }

    /// Whether the machine's pods are gone with it, and the API server can be told.
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
