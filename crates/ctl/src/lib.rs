//! `heraldctl`: explains, checks and shows what Herald does.
//!
//! It decides nothing: it feeds what the API server and the programs say to the machines of `herald-core`, which the programs
//! run, too, and prints what they decide and why.

mod cli;
mod output;

pub use cli::{command, main};
