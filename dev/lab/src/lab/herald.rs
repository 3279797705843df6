//! Herald as a whole, in a lab that was built without it.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;

use super::{CONTROLLER, Lab, speaker_pod};
use crate::node::Node;
use crate::objects::NAMESPACE;

/// How long a program may take to stop: what Kubernetes grants by default.
const GRACE: Duration = Duration::from_secs(30);

impl Lab {
    /// Starts Herald in a lab that was built beside MetalLB.
    pub async fn start_herald(&mut self) -> anyhow::Result<()> {
        self.start_controller().await?;
        for index in 0..self.nodes.len() {
            self.start_speaker(index).await?;
        }
        Ok(())
    }

    /// Stops Herald on all nodes at once, as its uninstallation does.
    pub async fn stop_herald(&mut self) -> anyhow::Result<()> {
        let mut controller = self.controller.take().context("no controller runs")?;
        let speakers = self.nodes.iter_mut().map(Node::stop_speaker);
        let (controller, speakers) = tokio::join!(controller.stop(GRACE), try_join_all(speakers));
        for status in speakers?.into_iter().chain([controller?]) {
            ensure!(status.success(), "a program of Herald ended with {status}");
        }
        for index in 0..self.nodes.len() {
            self.cluster.remove_pod(NAMESPACE, &speaker_pod(index)).await?;
        }
        self.cluster.remove_pod(NAMESPACE, CONTROLLER).await
    }
}
