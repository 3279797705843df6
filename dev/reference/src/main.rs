//! Writes the reference pages of the book from the code, so that they cannot differ from it: `docs/reference`, or the
//! directory that is given.

mod flags;
mod metrics;
mod page;
mod reasons;
mod resources;
mod source;

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "docs/reference".into()));
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let pages = [
        ("resources.md", resources::page()?),
        ("annotations.md", resources::annotations()?),
        ("flags.md", flags::page()),
        ("heraldctl.md", flags::heraldctl()),
        ("metrics.md", metrics::page()?),
        ("events.md", reasons::events()?),
        ("conditions.md", reasons::conditions()?),
    ];
    for (name, text) in pages {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
