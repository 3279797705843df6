//! Where the page has its data from: the cluster, read again for a request when the last reading is old.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::overview::Overview;
use crate::cluster::{ApiConnection, ClusterView, CommonArgs};
use crate::status;

/// For how long a reading counts for an overview: several pages that are open cost as much as one.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// For how long it counts for an explanation, which is of what the page shows.
pub(super) const SHOWN: Duration = Duration::from_secs(10);
/// The time that one program has to answer: a node that has just failed does not, and the page is to show what the others did.
const LIMIT: Duration = Duration::from_secs(2);

/// Reads the cluster by the kubeconfig of the user.
pub(super) struct ClusterReader {
    pub(super) connection: ApiConnection,
    common: CommonArgs,
    last: Mutex<Option<Reading>>,
}

/// The cluster at one moment.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) cluster: Arc<ClusterView>,
    /// [`Overview`] as JSON.
    pub(super) overview: Bytes,
    end: Instant,
}

impl ClusterReader {
    pub(super) fn new(connection: ApiConnection, common: CommonArgs) -> Self {
        let last = Mutex::new(None);
        Self {
            connection,
            common,
            last,
        }
    }

    /// Returns the last reading if its age is less than `age`, and a new one otherwise. Who asks meanwhile waits for the same.
    pub(super) async fn read(&self, age: Duration) -> Reading {
        let mut last = self.last.lock().await;
        if let Some(reading) = last.as_ref().filter(|reading| reading.end.elapsed() < age) {
            return reading.clone();
        }
        let cluster = self.common.read_by(&self.connection, LIMIT, None).await;
        let namespace = self.common.namespace(&cluster.installation);
        let leader = status::leader(&self.connection.client, namespace).await;
        let overview = Overview::new(&cluster, namespace, leader);
        let overview = serde_json::to_vec(&overview).expect("all keys are texts");
        let reading = Reading {
            overview: overview.into(),
            cluster: Arc::new(cluster),
            end: Instant::now(),
        };
        *last = Some(reading.clone());
        reading
    }
}
