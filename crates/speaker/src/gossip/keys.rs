//! The files with the gossip keys: a mounted Secret, whose files change while the speaker runs.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use herald_membership::codec::seal::Secret;
use herald_runtime::task;
use tokio::sync::watch;
use tracing::{info, warn};

/// Time between two looks at the files. The kubelet, which writes them, takes a minute or two; looking costs three reads of
/// memory.
const PERIOD: Duration = Duration::from_secs(2);

/// Returns the keys in a directory, the one that seals first, and follows their changes for as long as the program runs.
///
/// # Errors
/// If the key that seals is missing, or one is unusable. Later on, such files only cause a log message, and the present keys
/// stay.
pub(crate) fn follow(directory: &Path) -> anyhow::Result<watch::Receiver<Vec<Secret>>> {
    follow_every(PERIOD, directory)
}

fn follow_every(period: Duration, directory: &Path) -> anyhow::Result<watch::Receiver<Vec<Secret>>> {
    let secrets = read(directory)?;
    info!("gossip keys: {}", describe(&secrets));
    let (keys, receiver) = watch::channel(secrets);
    task::spawn(read_again(period, directory.to_owned(), keys));
    Ok(receiver)
}

async fn read_again(period: Duration, directory: PathBuf, keys: watch::Sender<Vec<Secret>>) -> Infallible {
    let mut before = keys.borrow().clone();
    let mut complaint = None;
    loop {
        tokio::time::sleep(period).await;
        match read(&directory) {
            Ok(secrets) => {
                // The files may be read while they are replaced, so they count when two looks show the same.
                if secrets == before && *keys.borrow() != secrets {
                    info!("gossip keys were replaced: {}", describe(&secrets));
                    keys.send_replace(secrets.clone());
                }
                before = secrets;
                complaint = None;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if complaint.as_ref() != Some(&error) {
                    warn!("the gossip keys stay as they are: {error}");
                    complaint = Some(error);
                }
            }
        }
    }
}

fn describe(secrets: &[Secret]) -> String {
    let ids: Vec<String> = secrets
        .iter()
        .map(|secret| format!("{:08x}", secret.fingerprint()))
        .collect();
    match ids.as_slice() {
        [own] => format!("{own} seals and opens"),
        [own, others @ ..] => format!("{own} seals and opens, {} only opens", others.join(" and ")),
        [] => "none".to_owned(),
    }
}

/// Reads the key that seals, followed by the keys that only open.
fn read(directory: &Path) -> anyhow::Result<Vec<Secret>> {
    let file = directory.join("secretkey");
    let own = read_key(&file)?.with_context(|| {
        format!(
            "there is no gossip key {}: mount the memberlist Secret there",
            file.display()
        )
    })?;
    let mut secrets = vec![own];
    for name in ["secretkey.next", "secretkey.previous"] {
        secrets.extend(read_key(&directory.join(name))?);
    }
    Ok(secrets)
}

/// Reads the key in `file`; `None` if there is no such file.
fn read_key(file: &Path) -> anyhow::Result<Option<Secret>> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the gossip key {}", file.display()));
        }
    };
    let secret =
        Secret::new(bytes).with_context(|| format!("the gossip key {} cannot be used", file.display()))?;
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 16]).expect("long enough")
    }

    /// Names of files, each with 16 times a byte.
    type Files<'a> = &'a [(&'a str, u8)];

    fn directory(files: Files<'_>) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, byte) in files {
            std::fs::write(directory.path().join(name), [*byte; 16]).expect("writes");
        }
        directory
    }

    #[test]
    fn the_present_key_comes_first_in_every_step_of_a_rotation() {
        let steps: [(Files<'_>, &[u8]); 4] = [
            (&[("secretkey", 1)], &[1]),
            (&[("secretkey", 1), ("secretkey.next", 2)], &[1, 2]),
            (&[("secretkey", 2), ("secretkey.previous", 1)], &[2, 1]),
            (&[("secretkey", 2)], &[2]),
        ];
        for (files, expected) in steps {
            let read = read(directory(files).path()).expect("reads");
            let expected: Vec<Secret> = expected.iter().copied().map(secret).collect();
            assert!(read == expected, "{files:?}");
        }
    }

    #[test]
    fn a_missing_present_key_is_refused_with_the_remedy() {
        let directory = directory(&[("secretkey.next", 2)]);
        let error = read(directory.path()).expect_err("refused");
        assert!(error.to_string().contains("mount the memberlist Secret there"));
    }

    #[test]
    fn a_short_key_is_refused_by_the_name_of_its_file() {
        let directory = directory(&[("secretkey", 1)]);
        let short = directory.path().join("secretkey.previous");
        std::fs::write(&short, "short").expect("writes");
        let error = read(directory.path()).expect_err("refused");
        assert!(error.to_string().contains(&short.display().to_string()));
    }

    /// Waits until the keys are these.
    async fn wait_for(keys: &mut watch::Receiver<Vec<Secret>>, expected: &[u8]) {
        let expected: Vec<Secret> = expected.iter().copied().map(secret).collect();
        let held = keys.wait_for(|keys| *keys == expected);
        let held = tokio::time::timeout(Duration::from_secs(20), held).await;
        assert!(held.is_ok_and(|held| held.is_ok()), "not read: {expected:?}");
    }

    #[tokio::test]
    async fn replaced_files_are_read_and_what_cannot_be_used_changes_nothing() {
        let directory = directory(&[("secretkey", 1)]);
        let period = Duration::from_millis(10);
        let mut keys = follow_every(period, directory.path()).expect("reads");
        wait_for(&mut keys, &[1]).await;
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("secretkey.next"), [2; 16]).expect("writes");
        wait_for(&mut keys, &[1, 2]).await;
        std::fs::write(file("secretkey.next"), "short").expect("writes");
        std::fs::write(file("secretkey"), [3; 16]).expect("writes");
        tokio::time::sleep(20 * period).await;
        wait_for(&mut keys, &[1, 2]).await;
        std::fs::remove_file(file("secretkey.next")).expect("removes");
        wait_for(&mut keys, &[3]).await;
    }
}
