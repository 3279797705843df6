//! The state of the controller, for `/state`.

use herald_api::state::{ControllerState, QuarantinedAddress, VERSION};
use herald_runtime::admin::StateRequest;
use jiff::Timestamp;

use super::Controller;

impl Controller {
    /// Answers a request for the state with a copy of it.
    pub(super) fn answer(&self, request: StateRequest) {
        let quarantined = self.reconciler.quarantined(self.now());
        let quarantine = quarantined.map(|(address, last, until)| QuarantinedAddress {
            address: address.to_string(),
            last_service: last.to_string(),
            until: until.to_string(),
        });
        let state = ControllerState {
            version: VERSION,
            time: Timestamp::now().to_string(),
            truncated: false,
            active: self.standing.is_active(),
            waits_for_metallb: self.standing.waits_for_metallb(Timestamp::now()),
            quarantine: quarantine.collect(),
        };
        // Fails only when the client is gone.
        let _gone = request.send(Box::new(|limit| state.to_json(limit)));
    }
}
