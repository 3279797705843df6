//! The Secret with the gossip key of the speakers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use herald_runtime::client::is_away;
use herald_runtime::lease::Leadership;
use herald_runtime::reconcile::{Failure, TIMEOUT, within};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::{info, warn};

/// Time between two looks for the Secret. Speakers that run go on without it, but new ones cannot start.
const PERIOD: Duration = Duration::from_secs(10);
/// Time until an attempt that failed is repeated.
const RETRY: Duration = Duration::from_secs(2);
/// The file that the speakers read.
const FIELD: &str = "secretkey";

/// Creates the Secret when there is none, for as long as this controller is the active one. One that exists stays as it is. One
/// that was there and is gone is not made again: speakers that run have the old key, and another key would part them from new ones.
pub(crate) async fn keep(secrets: Api<Secret>, name: String, mut leadership: Leadership) -> Infallible {
    let mut complaint = None;
    let mut was_there = false;
    loop {
        if leadership.remaining().is_none() {
            leadership.after(None).await;
            was_there = false;
        }
        let pause = match create_missing(&secrets, &name, was_there).await {
            Ok(()) => {
                complaint = None;
                was_there = true;
                PERIOD
            }
            Err(error) => {
                let error = format!("{error:#}");
                if !is_away() && complaint.as_ref() != Some(&error) {
                    warn!(
                        "cannot make sure that Secret {name} exists, without which no speaker starts: {error}"
                    );
                    complaint = Some(error);
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn create_missing(secrets: &Api<Secret>, name: &str, was_there: bool) -> anyhow::Result<()> {
    let found = within(TIMEOUT, secrets.get_metadata_opt(name)).await;
    if found.map_err(refusal)?.is_some() {
        return Ok(());
    }
    ensure!(
        !was_there,
        "it was deleted; restore it with the key that the speakers have, or restart the controller for a new key"
    );
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(FIELD.to_owned(), ByteString(new_key()?))])),
        ..Secret::default()
    };
    match within(TIMEOUT, secrets.create(&PostParams::default(), &secret)).await {
        Ok(_) => {
            info!("created the gossip key in Secret {name}");
            Ok(())
        }
        // Another one was faster.
        Err(Failure::Outdated(_)) => Ok(()),
        Err(failure) => Err(refusal(failure)),
    }
}

fn refusal(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{}", failure.message())
}

/// Returns 256 random bits as text.
fn new_key() -> anyhow::Result<Vec<u8>> {
    let mut key = [0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .ok()
        .context("the operating system gives no random bytes")?;
    Ok(key
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect())
}
