//! What the peers of the BGP thread share.

use herald_bgp::ribs_out::RibsOut;
use herald_netio::{Interface, Poller};
use tokio::sync::mpsc::UnboundedSender;

use super::BgpReport;
use super::metrics::BgpMetrics;

/// What all peers of the thread use.
pub(super) struct PeerContext {
    pub(super) poller: Poller,
    pub(super) reports: UnboundedSender<BgpReport>,
    pub(super) routes: RibsOut,
    pub(super) metrics: BgpMetrics,
    pub(super) interfaces: Vec<Interface>,
    /// Room for received bytes.
    pub(super) buffer: Vec<u8>,
}
