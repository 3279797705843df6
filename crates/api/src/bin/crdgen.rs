//! Writes the custom resource definitions to a directory (default `crds/`), one file a kind.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let directory = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "crds".into()));
    fs::create_dir_all(&directory)?;
    for crd in herald_api::crds() {
        let file = directory.join(format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural));
        let yaml = serde_saphyr::to_string(&crd).map_err(io::Error::other)?;
        fs::write(file, format!("---\n{yaml}"))?;
    }
    Ok(())
}
