//! What `explain` says of each variant of an enum, as a text file `NAME.expected` beside this one.
//!
//! `UPDATE_EXPECTED=1 cargo test -p herald-ctl --lib explain` writes the texts; read the difference before you commit it.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use herald_core::ServiceKey;

use super::super::{history, service};
use crate::cluster::ClusterView;
use crate::model::Model;
use crate::output::Printable;

/// Defines a function that names the variants of an enum, and the list of these names. A new variant does not compile without a line
/// here, and with one it needs a case: [`Texts::check`] fails for a name without a text.
macro_rules! variants {
    ($names:ident, $name_of:ident($kind:ty) { $($pattern:pat => $name:literal,)* }) => {
        const $names: &[&str] = &[$($name),*];

        fn $name_of(value: &$kind) -> &'static str {
            match value {
                $($pattern => $name,)*
            }
        }
    };
}

/// What is said of each variant.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<&'static str, String>);

impl Texts {
    /// Adds the text of a variant, which must be the first one.
    pub(super) fn add(&mut self, name: &'static str, text: &str) {
        let text = anstream::adapter::strip_str(text).to_string();
        let before = self.0.insert(name, text);
        assert!(before.is_none(), "{name} has two cases");
    }

    /// Compares the texts with those of the file.
    pub(super) fn check(&self, file: &str, names: &[&str]) {
        let missing = names.iter().filter(|name| !self.0.contains_key(**name));
        let missing: Vec<&&str> = missing.collect();
        assert!(missing.is_empty(), "no case produces {missing:?}");
        assert_eq!(
            self.0.len(),
            names.len(),
            "a name is no variant: {:?}",
            self.0.keys()
        );
        let mut text = String::new();
        for name in names {
            text += &format!("=== {name}\n{}\n", self.0[name].trim_end());
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/explain/tests");
        let path = folder.join(file);
        if env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&path, &text).expect("a file");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{}", path.display());
    }
}

/// Returns what `explain service` prints of `default/web`, without the paragraphs that do not start with one of `headings`.
pub(super) fn explained(cluster: &ClusterView, model: &mut Model, headings: &[&str]) -> String {
    let key = ServiceKey::new("default", "web");
    let explained = service::explain(cluster, model, &key, history::History::default()).expect("a Service");
    let text = anstream::adapter::strip_str(&explained.text(true)).to_string();
    let paragraphs = text.split("\n\n");
    let paragraphs =
        paragraphs.filter(|paragraph| headings.iter().any(|heading| paragraph.starts_with(heading)));
    paragraphs.collect::<Vec<_>>().join("\n")
}
