//! The archive: a compressed tar file.

use std::collections::BTreeMap;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

/// Packs files into a folder of an archive.
///
/// # Errors
/// When a name is too long for a tar file.
pub(super) fn pack(
    folder: &str,
    files: &BTreeMap<String, Vec<u8>>,
    time: Timestamp,
) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time.as_second().try_into().unwrap_or_default());
        archive.append_data(&mut header, format!("{folder}/{name}"), content.as_slice())?;
    }
    archive.into_inner()?.finish()
}
