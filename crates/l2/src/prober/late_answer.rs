//! The answer to a check that comes after the end of the check.

use core::net::IpAddr;

use super::Prober;
use crate::received::ReceivedFrame;
use crate::{LinkIndex, MacAddr, ProbeResult};

impl Prober {
    /// Ends an unanswered check with the answer of a machine that needs longer, because it does not get the processor for example. An
    /// announcement is no answer: it goes to all machines.
    pub(super) fn handle_late_answer(
        &mut self,
        link: LinkIndex,
        received: &ReceivedFrame,
        address: IpAddr,
        mac: MacAddr,
    ) {
        let is_to_us = self
            .links
            .get(link)
            .is_some_and(|own| received.destination == own.mac);
        let is_asked = self
            .monitored
            .get(&address)
            .is_some_and(|links| links.contains(&link));
        if is_to_us
            && is_asked
            && received.is_of_another(mac, &self.links)
            && self.unanswered.remove(&address)
        {
            self.results.insert(address, ProbeResult::Answered(mac));
        }
    }
}
