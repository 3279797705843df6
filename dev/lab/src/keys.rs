//! The gossip keys of the lab's nodes, to be replaced while the speakers run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::Lab;

/// How a speaker gets its key.
const KEY_FLAG: &str = "--ml-secret-key-path=";
const KEY_VARIABLE: &str = "METALLB_ML_SECRET_KEY_PATH";

impl Lab {
    /// The gossip keys of node `index`: the name of a file and its content each.
    ///
    /// # Errors
    /// When the node's speaker has no directory with keys, or it cannot be read.
    pub fn keys(&self, index: usize) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let mut keys = BTreeMap::new();
        for file in fs::read_dir(self.key_directory(index)?)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            keys.insert(name, fs::read(file.path())?);
        }
        Ok(keys)
    }

    /// Replaces the gossip keys of node `index`. The running speaker reads them again.
    ///
    /// # Errors
    /// As [`Self::keys`], and when the directory cannot be written.
    pub fn set_keys(&self, index: usize, keys: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
        let directory = self.key_directory(index)?;
        for name in self.keys(index)?.keys().filter(|name| !keys.contains_key(*name)) {
            fs::remove_file(directory.join(name))?;
        }
        for (name, content) in keys {
            fs::write(directory.join(name), content)?;
        }
        Ok(())
    }

    fn key_directory(&self, index: usize) -> anyhow::Result<&Path> {
        let speaker = self.node(index).speaker_program();
        let mut arguments = speaker.arguments.iter();
        let flag = arguments.find_map(|argument| argument.strip_prefix(KEY_FLAG));
        let mut variables = speaker.environment.iter();
        let variable = variables.find(|(name, _)| name == KEY_VARIABLE);
        let directory = flag.or_else(|| variable.map(|(_, value)| value.as_str()));
        directory
            .map(Path::new)
            .context("the speaker has no directory with keys")
    }
}
