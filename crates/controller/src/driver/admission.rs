//! Reviews of changes that are about to be made. Also a standby answers: it knows what the active controller knows.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Controller;
use crate::admission::{ProposedChange, ReviewRequest, review_bgp, review_resource, review_service};

/// The driver rests from reviews for so many times as long as the last one took. Every Pod may ask for reviews, and Services must
/// get their addresses nevertheless.
const REST: u32 = 9;

/// The reviews that are asked for, as fast as the driver takes them.
pub(super) struct Reviews {
    requests: mpsc::Receiver<ReviewRequest>,
    /// The end of the rest after the last review.
    from: Instant,
}

impl Reviews {
    pub(super) fn new(requests: mpsc::Receiver<ReviewRequest>) -> Self {
        let from = Instant::now();
        Self { requests, from }
    }

    /// Waits for the next request. Takes none when it is dropped before.
    pub(super) async fn next(&mut self) -> Option<ReviewRequest> {
        sleep_until(self.from).await;
        self.requests.recv().await
    }

    /// Takes that a review took so long.
    pub(super) fn rest_after(&mut self, duration: Duration) {
        self.from = Instant::now() + duration * REST;
    }
}

impl Controller {
    /// Answers a review, and returns how long that took; gives no answer before all is listed, or when nobody waits for it any more.
    pub(super) fn review(&mut self, (change, sender): ReviewRequest) -> Duration {
        if self.listing.is_some() || sender.is_closed() {
            return Duration::ZERO;
        }
        self.apply_configuration();
        self.apply_bgp();
        let now = self.now();
        let begin = Instant::now();
        let answer = match change {
            ProposedChange::Resource { change, keeps_spec } => {
                let (catalog, effects) = (self.configuration.catalog(), &self.resources.effects);
                review_resource(change, keeps_spec, catalog, effects, &self.reconciler)
            }
            ProposedChange::Bgp(proposed) => {
                let (configuration, effects) = (&self.configuration, &self.resources.effects);
                review_bgp(*proposed, &configuration.bgp, configuration.catalog(), effects)
            }
            ProposedChange::Service { service, deprecated } => {
                review_service(&service, deprecated, &mut self.reconciler, now)
            }
        };
        // Fails only when the client is gone.
        let _gone = sender.send(answer);
        begin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;
    use herald_core::config::ConfigChange;

    fn request() -> ReviewRequest {
        let change = ConfigChange::DeletePool("pool".into());
        let keeps_spec = false;
        (
            ProposedChange::Resource { change, keeps_spec },
            oneshot::channel().0,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn reviews_take_no_more_than_a_tenth_of_the_time() {
        let (sender, requests) = mpsc::channel(2);
        let mut reviews = Reviews::new(requests);
        for _ in 0..2 {
            sender.send(request()).await.expect("there is room");
        }
        assert!(reviews.next().await.is_some());
        reviews.rest_after(Duration::from_millis(100));
        tokio::time::advance(Duration::from_millis(899)).await;
        assert!(reviews.next().now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(reviews.next().await.is_some());
    }
}
