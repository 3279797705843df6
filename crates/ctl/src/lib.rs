//! `heraldctl`: explains, checks and shows what Herald does.
//!
//! It decides nothing: it feeds what the API server and the programs say to the machines of `herald-core`, which the programs
//! run, too, and prints what they decide and why.

mod advice;
mod bundle;
mod cli;
mod cluster;
mod convert;
mod doctor;
mod drain;
mod explain;
mod migrate;
mod model;
mod output;
mod plan;
mod status;
mod tls;
mod top;
mod ui;
mod validate;
#[cfg(test)]
mod world;

pub use cli::{command, main, run};
pub use convert::converted;
pub use validate::{FileError, FindingReport, ManifestFile, Validation, validate};
