//! Doc comments of the code: an enum of reasons has a doc comment for each variant, and a function that matches all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use syn::visit::Visit;
use syn::{Attribute, Expr, ExprMatch, File, ImplItem, Item, ItemEnum, Lit, Pat};

/// Returns the path of a file of the repository.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Reads and parses a file of the repository.
pub(crate) fn parse(path: &str) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(in_repository(path)).with_context(|| format!("reading {path}"))?;
    syn::parse_file(&text).with_context(|| format!("parsing {path}"))
}

/// A reason, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) word: String,
    pub(crate) meaning: String,
}

/// Returns the reasons of enum `name` in a file in the order of their variants, as its function `reason` has them. Where an
/// arm matches a value in a variant, the doc comment of that value follows the one of the variant; `others` are the
/// files with the enums of such values.
pub(crate) fn reasons(path: &str, name: &str, others: &[&str]) -> anyhow::Result<Vec<Reason>> {
    let file = parse(path)?;
    let mut docs = BTreeMap::new();
    for file in others.iter().map(|other| parse(other)) {
        enums(&file?).for_each(|item| variant_docs(item, &mut docs));
    }
    enums(&file).for_each(|item| variant_docs(item, &mut docs));
    let variants = enums(&file).find(|item| item.ident == name);
    let variants = variants.with_context(|| format!("{path} has no enum {name}"))?;
    let arms = arms(&file, name).with_context(|| format!("{name} of {path} has no function `reason`"))?;
    let mut found: Vec<(usize, Reason)> = Vec::new();
    for (pattern, word) in arms {
        // The words of another enum: that has a table of its own.
        let Some(word) = word else { continue };
        let Some(outer) = pattern.iter().find(|(of, _)| of == "Self" || of == name) else {
            bail!("an arm of {name}::reason names no variant");
        };
        let place = variants
            .variants
            .iter()
            .position(|variant| variant.ident == outer.1);
        let place = place.with_context(|| format!("{name} has no variant {}", outer.1))?;
        let mut meaning = doc(&docs, name, &outer.1)?;
        let mut inner = pattern.iter().filter(|(of, _)| of != "Self" && of != name);
        // An arm for several values in a variant is the rest.
        if let (Some((of, value)), None) = (inner.next(), inner.next()) {
            meaning = format!("{meaning} {}", doc(&docs, of, value)?);
        }
        if let Some((_, same)) = found.iter_mut().find(|(_, reason)| reason.word == word) {
            same.meaning = format!("{} {meaning}", same.meaning);
        } else {
            found.push((place, Reason { word, meaning }));
        }
    }
    let missing = variants.variants.iter().enumerate().find(|(place, variant)| {
        let has_reason = found.iter().any(|(other, _)| other == place);
        // A variant may share the reason of another one.
        !has_reason && !all_patterns(&file, name).contains(&variant.ident.to_string())
    });
    ensure!(
        missing.is_none(),
        "a variant of {name} has no reason: {:?}",
        missing.map(|(_, v)| &v.ident)
    );
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, reason)| reason).collect())
}

/// Returns the doc comments of the string constants of a file, with their names and values.
pub(crate) fn constants(file: &File) -> BTreeMap<String, (String, String)> {
    let constants = file.items.iter().filter_map(|item| {
        let Item::Const(item) = item else { return None };
        let value = text_of(&item.expr)?;
        Some((item.ident.to_string(), (value, doc_of(&item.attrs))))
    });
    constants.collect()
}

/// Returns the value of a string literal.
pub(crate) fn text_of(expression: &Expr) -> Option<String> {
    let Expr::Lit(literal) = expression else {
        return None;
    };
    let Lit::Str(text) = &literal.lit else { return None };
    Some(text.value())
}

fn enums(file: &File) -> impl Iterator<Item = &ItemEnum> {
    file.items.iter().filter_map(|item| {
        let Item::Enum(item) = item else { return None };
        Some(item)
    })
}

type Docs = BTreeMap<(String, String), String>;

fn variant_docs(item: &ItemEnum, docs: &mut Docs) {
    for variant in &item.variants {
        let key = (item.ident.to_string(), variant.ident.to_string());
        docs.insert(key, doc_of(&variant.attrs));
    }
}

fn doc(docs: &Docs, name: &str, variant: &str) -> anyhow::Result<String> {
    let doc = docs.get(&(name.to_owned(), variant.to_owned()));
    doc.cloned()
        .with_context(|| format!("no doc comment of {name}::{variant}"))
}

/// Returns a doc comment as text: without the brackets of links within the code.
fn doc_of(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let syn::Meta::NameValue(meta) = &attribute.meta else {
            return None;
        };
        meta.path.is_ident("doc").then(|| text_of(&meta.value)).flatten()
    });
    let text: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    text.join(" ").replace("[`", "`").replace("`]", "`")
}

/// The enums and variants that a pattern names.
type Pattern = Vec<(String, String)>;

/// Returns the arms of the function `reason` of type `name`, with the word that each returns, or nothing where that is the reason
/// of the value in the variant; an arm with several variants counts for each.
fn arms(file: &File, name: &str) -> Option<Vec<(Pattern, Option<String>)>> {
    let body = function(file, name)?;
    let mut arms = Vec::new();
    for arm in &body.arms {
        let word = if is_delegated(&arm.body) {
            None
        } else {
            Some(word_of(&arm.body)?)
        };
        for pattern in alternatives(&arm.pat) {
            let mut paths = Paths::default();
            paths.visit_pat(pattern);
            arms.push((paths.0, word.clone()));
        }
    }
    Some(arms)
}

/// Whether an arm returns the reason of a value.
fn is_delegated(body: &Expr) -> bool {
    matches!(body, Expr::MethodCall(call) if call.method == "reason")
}

fn all_patterns(file: &File, name: &str) -> Vec<String> {
    let arms = arms(file, name).unwrap_or_default();
    arms.into_iter()
        .flat_map(|(pattern, _)| pattern)
        .map(|(_, variant)| variant)
        .collect()
}

/// Returns the match in the function `reason` of type `name`.
fn function<'a>(file: &'a File, name: &str) -> Option<&'a ExprMatch> {
    let impls = file.items.iter().filter_map(|item| {
        let Item::Impl(item) = item else { return None };
        let syn::Type::Path(path) = &*item.self_ty else {
            return None;
        };
        (item.trait_.is_none() && path.path.is_ident(name)).then_some(item)
    });
    let mut functions = impls.flat_map(|item| &item.items).filter_map(|item| {
        let ImplItem::Fn(function) = item else { return None };
        (function.sig.ident == "reason").then_some(function)
    });
    functions.next()?.block.stmts.iter().find_map(|statement| {
        let syn::Stmt::Expr(Expr::Match(body), _) = statement else {
            return None;
        };
        Some(body)
    })
}

/// Returns the string literal of an arm, in braces or not.
fn word_of(body: &Expr) -> Option<String> {
    let Expr::Block(block) = body else {
        return text_of(body);
    };
    let [syn::Stmt::Expr(expression, None)] = &*block.block.stmts else {
        return None;
    };
    text_of(expression)
}

fn alternatives(pattern: &Pat) -> Vec<&Pat> {
    let Pat::Or(pattern) = pattern else {
        return vec![pattern];
    };
    pattern.cases.iter().collect()
}

#[derive(Default)]
struct Paths(Pattern);

impl<'a> Visit<'a> for Paths {
    fn visit_path(&mut self, path: &'a syn::Path) {
        let mut segments = path
            .segments
            .iter()
            .rev()
            .map(|segment| segment.ident.to_string());
        if let (Some(variant), Some(name)) = (segments.next(), segments.next()) {
            self.0.push((name, variant));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_in_a_variant_adds_its_doc_comment() {
        let refusals = reasons(
            "crates/core/src/ipam/refusal.rs",
            "Refusal",
            &["crates/core/src/service.rs"],
        );
        let refusals = refusals.expect("the reasons of refusals");
        let of = |word: &str| {
            refusals
                .iter()
                .find(|reason| reason.word == word)
                .expect("the reason")
        };
        assert!(of("RequestTooLong").meaning.contains("more than 4 addresses"));
        assert!(!of("InvalidRequest").meaning.contains("more than"));
        assert_eq!(refusals.first().map(|reason| &*reason.word), Some("NoPool"));
    }

    #[test]
    fn a_variant_with_the_reasons_of_another_enum_has_no_row() {
        let path = "crates/core/src/announce/bgp/exclusion.rs";
        let routes = reasons(path, "RouteExclusion", &[]).expect("the reasons of routes");
        let words: Vec<&str> = routes.iter().map(|reason| &*reason.word).collect();
        assert_eq!(words.last(), Some(&"NoPeer"));
        assert!(words.contains(&"ConflictingAdvertisements"), "{words:?}");
    }

    #[test]
    fn variants_with_one_reason_share_a_row() {
        let others = [
            "crates/core/src/ipam/refusal.rs",
            "crates/core/src/ipam/external.rs",
        ];
        let notes =
            reasons("crates/core/src/ipam/decision.rs", "Note", &others).expect("the reasons of notes");
        let words: Vec<&str> = notes.iter().map(|note| &*note.word).collect();
        let unique: std::collections::BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(unique.len(), words.len(), "{words:?}");
        assert!(
            unique.contains("IPAllocated") && unique.contains("RequestNotMet"),
            "{words:?}"
        );
    }
}
