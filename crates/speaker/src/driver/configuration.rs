//! The `ConfigurationState` of the speaker.

use herald_api::convert;
use herald_runtime::reconcile::object::DesiredObject;
use serde_json::json;

use super::{Driver, notice};
use crate::input::Awaiting;

impl Driver {
    /// Publishes the problems of pools and advertisements and the reachability of gossip in the `ConfigurationState`, once
    /// the configuration is complete.
    pub(super) fn publish_state(&self) {
        let is_listed =
            !self.awaited.contains(Awaiting::Pools) && !self.awaited.contains(Awaiting::Advertisements);
        if !is_listed || self.is_beside_metallb() {
            return;
        }
        let mut status = convert::configuration_state("configReconcilerValid", self.cluster.problems());
        let interfaces = self.agent.named_interfaces();
        status.interfaces = interfaces.map(|names| names.into_iter().cloned().collect());
        if let Some(is_blocked) = self.agent.is_gossip_blocked() {
            let obstacle = is_blocked.then(|| notice::gossip_obstacle(self.gossip_port));
            status
                .conditions
                .push(convert::gossip_reachable(obstacle.as_deref()));
        }
        let desired = DesiredObject {
            labels: [
                ("metallb.io/component-type".to_owned(), "speaker".to_owned()),
                ("metallb.io/node-name".to_owned(), self.node.to_string()),
            ]
            .into(),
            status: json!(status),
        };
        self.handles.state.send_if_modified(|published| {
            let differs = published.as_ref() != Some(&desired);
            *published = Some(desired);
            differs
        });
    }
}
