//! Network checks on request: from the JSON of a request to that of the report. The driver makes them.

use std::sync::Arc;

use herald_api::checks::ChecksRequest;
use herald_runtime::admin::{BeginChecks, ChecksRun};
use tokio::sync::{mpsc, oneshot};

use crate::driver::CheckRequest;

/// Returns what begins checks, and the requests for the driver.
pub(crate) fn channel() -> (BeginChecks, mpsc::Receiver<CheckRequest>) {
    let (requests, received) = mpsc::channel(1);
    let begin: BeginChecks = Arc::new(move |body| begin(&requests, body));
    (begin, received)
}

fn begin(requests: &mpsc::Sender<CheckRequest>, body: &[u8]) -> Result<ChecksRun, String> {
    let ChecksRequest { checks } =
        serde_json::from_slice(body).map_err(|error| format!("the request is no list of checks: {error}"))?;
    let names: Vec<&str> = checks.iter().map(|check| check.as_str()).collect();
    let names = names.join(",");
    let requests = requests.clone();
    let report = async move {
        let (answer, report) = oneshot::channel();
        requests.send(CheckRequest { checks, answer }).await.ok()?;
        serde_json::to_vec(&report.await.ok()?).ok()
    };
    Ok(ChecksRun {
        checks: names,
        report: Box::pin(report),
    })
}
