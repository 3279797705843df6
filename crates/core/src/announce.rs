//! Which node announces which address of a Service, and why another node does not.

pub mod agent;
pub mod bgp;
pub mod eligibility;
pub mod facts;
pub mod layer2;
pub mod network_check;

/// How an address is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// ARP and NDP on the segments of the node.
    Layer2,
    /// Routes for the routers that the node has sessions with.
    Bgp,
}

impl Protocol {
    /// The word in events and metric labels, as MetalLB has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Layer2 => "layer2",
            Self::Bgp => "bgp",
        }
    }
}

impl core::fmt::Display for Protocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}
