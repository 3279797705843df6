//! Reads YAML into trees of [`MarkedNode`]s, one for each document. A document that is broken does not hide the next one.

mod syntax;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::mistake::SyntaxMistake;
use super::node::{MarkedEntry, MarkedNode, MarkedValue};
pub(crate) use syntax::{TEMPLATE, after_dash, split_at_colon};
use syntax::{mark_template, scan_error, tab_before};

/// The most lists and mappings in each other. Kubernetes' own objects have 20.
const MOST_DEPTH: usize = 100;
/// The most nodes of a file, with those that aliases repeat: more than the largest object that the API server stores.
const MOST_NODES: usize = 1_000_000;
/// The most bytes of text that the anchors and aliases of a file repeat: ten times the largest object that the API server stores.
const MOST_REPEATED: usize = 16 << 20;

/// A document of a file.
#[derive(Debug, Default)]
pub(crate) struct MarkedDocument {
    /// The content; none if the document is empty or broken.
    pub(crate) root: Option<MarkedNode>,
    /// What is wrong with its syntax.
    pub(crate) mistakes: Vec<SyntaxError>,
}

/// An error of syntax: where, what, and, if a key is there twice, where it is first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) span: Range<usize>,
    pub(crate) mistake: SyntaxMistake,
    pub(crate) first: Option<Range<usize>>,
}

/// Parses all documents of a file.
pub(crate) fn parse(text: &str) -> Vec<MarkedDocument> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MOST_DEPTH,
        block_nesting_limit: MOST_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder {
        text,
        ..Builder::default()
    };
    let mut documents = Vec::new();
    while let Some(next) = parser.next_event() {
        let built = match next {
            Ok((Event::StreamEnd, _)) => break,
            Ok((Event::DocumentEnd, _)) => {
                documents.push(builder.finish());
                Ok(())
            }
            Ok((event, span)) => builder.handle(&event, &bytes(&span)),
            Err(error) => Err(scan_error(text, &error)),
        };
        let Err(error) = built else { continue };
        builder.mistakes.push(error);
        let mut document = builder.finish();
        document.root = None;
        let is_template = mark_template(text, &mut document);
        documents.push(document);
        // What follows in a template is no YAML either.
        let is_end = is_template || builder.is_full();
        if is_end || !matches!(parser.proceed_next_document(), Ok(true)) {
            break;
        }
    }
    documents
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}

/// The open lists and mappings of a document.
#[derive(Debug, Default)]
struct Builder<'a> {
    text: &'a str,
    root: Option<MarkedNode>,
    open: Vec<OpenNode>,
    anchors: BTreeMap<usize, MarkedNode>,
    mistakes: Vec<SyntaxError>,
    /// The nodes of the file so far.
    nodes: usize,
    /// The bytes of text that its anchors and aliases repeat so far.
    repeated: usize,
}

/// A list or mapping whose end has not come.
#[derive(Debug)]
struct OpenNode {
    node: MarkedNode,
    anchor: usize,
    /// Whether indentation shows what is in it.
    is_block: bool,
    /// The key whose value comes next.
    key: Option<(String, Range<usize>)>,
    /// The keys so far, and their places.
    keys: BTreeMap<String, Range<usize>>,
}

impl Builder<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's events may become more"
    )]
    fn handle(&mut self, event: &Event<'_>, span: &Range<usize>) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = *style == ScalarStyle::Plain && tag.is_none();
                let text = text.clone().into_owned();
                let value = MarkedValue::Scalar { text, is_plain };
                self.add(node(value, span), *anchor)
            }
            Event::Alias(id) => {
                // It is taken out, so that it is measured before it is copied.
                let target = self.anchors.remove(id);
                // An alias in its own anchor is one without an end.
                let target = target.ok_or_else(|| error(span, SyntaxMistake::EndlessAlias))?;
                self.check_depth(target.depth(), span)?;
                self.repeat(&target, span)?;
                let value = target.value.clone();
                self.anchors.insert(*id, target);
                self.add(node(value, span), 0)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.start(MarkedValue::Sequence(Vec::new()), *style, *anchor, span)
            }
            Event::MappingStart(style, anchor, _) => {
                self.start(MarkedValue::Mapping(Vec::new()), *style, *anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(OpenNode { mut node, anchor, .. }) = self.open.pop() else {
                    return Ok(());
                };
                merge(&mut node);
                self.add(node, anchor)
            }
            _ => Ok(()),
        }
    }

    fn start(
        &mut self,
        value: MarkedValue,
        style: StructureStyle,
        anchor: usize,
        span: &Range<usize>,
    ) -> Result<(), SyntaxError> {
        self.check_depth(1, span)?;
        let node = node(value, span);
        self.open.push(OpenNode {
            node,
            anchor,
            is_block: style == StructureStyle::Block,
            key: None,
            keys: BTreeMap::new(),
        });
        Ok(())
    }

    fn check_depth(&self, more: usize, span: &Range<usize>) -> Result<(), SyntaxError> {
        match self.open.len() + more > MOST_DEPTH {
            true => Err(error(span, SyntaxMistake::TooDeep(MOST_DEPTH))),
            false => Ok(()),
        }
    }

    /// Adds a node that is complete to the innermost list or mapping.
    fn add(&mut self, node: MarkedNode, anchor: usize) -> Result<(), SyntaxError> {
        self.count(1, &node.span)?;
        if anchor != 0 {
            self.repeat(&node, &node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            MarkedValue::Sequence(items) => items.push(node),
            MarkedValue::Mapping(entries) => match (open.key.take(), node.value) {
                (Some((key, key_span)), value) => {
                    let span = node.span;
                    let node = MarkedNode { value, span };
                    entries.push(MarkedEntry { key, key_span, node });
                }
                (None, MarkedValue::Scalar { text, .. }) => {
                    // In flow style many keys may be in one line, and each would read all of it.
                    let tab = open.is_block.then(|| tab_before(self.text, node.span.start));
                    if let Some(tab) = tab.flatten() {
                        return Err(error(&tab, SyntaxMistake::Tab));
                    }
                    // Of two the first counts; with both the API server refuses the object. Merge keys may be several.
                    let first = open.keys.insert(text.clone(), node.span.clone());
                    if let Some(first) = first.filter(|_| text != MERGE) {
                        let mistake = SyntaxMistake::DuplicateKey(text.clone());
                        let found = error(&node.span, mistake);
                        self.mistakes.push(SyntaxError {
                            first: Some(first),
                            ..found
                        });
                    }
                    open.key = Some((text, node.span));
                }
                (None, MarkedValue::Sequence(_) | MarkedValue::Mapping(_)) => {
                    return Err(error(&node.span, SyntaxMistake::ComplexKey));
                }
            },
            MarkedValue::Scalar { .. } => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: &Range<usize>) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        match self.nodes > MOST_NODES {
            true => Err(error(span, SyntaxMistake::TooManyNodes(MOST_NODES))),
            false => Ok(()),
        }
    }

    /// Counts a node that an anchor or an alias is about to repeat, with all that is in it.
    fn repeat(&mut self, node: &MarkedNode, span: &Range<usize>) -> Result<(), SyntaxError> {
        self.count(node.count(), span)?;
        self.repeated += node.text_len();
        match self.repeated > MOST_REPEATED {
            true => Err(error(span, SyntaxMistake::TooMuchRepeated(MOST_REPEATED))),
            false => Ok(()),
        }
    }

    /// Whether the file has more than can be read.
    const fn is_full(&self) -> bool {
        self.nodes > MOST_NODES || self.repeated > MOST_REPEATED
    }

    /// Ends a document.
    fn finish(&mut self) -> MarkedDocument {
        self.open.clear();
        self.anchors.clear();
        MarkedDocument {
            root: self.root.take().filter(|root| !root.is_null()),
            mistakes: std::mem::take(&mut self.mistakes),
        }
    }
}

const fn node(value: MarkedValue, span: &Range<usize>) -> MarkedNode {
    let span = span.start..span.end;
    MarkedNode { value, span }
}

const fn error(span: &Range<usize>, mistake: SyntaxMistake) -> SyntaxError {
    SyntaxError {
        span: span.start..span.end,
        mistake,
        first: None,
    }
}

/// The key whose value is merged into its mapping (YAML 1.1).
const MERGE: &str = "<<";

/// Replaces merge keys by what they stand for.
fn merge(node: &mut MarkedNode) {
    let MarkedValue::Mapping(entries) = &mut node.value else {
        return;
    };
    if !entries.iter().any(|entry| entry.key == MERGE) {
        return;
    }
    let (merged, mut own): (Vec<_>, Vec<_>) = std::mem::take(entries)
        .into_iter()
        .partition(|entry| entry.key == MERGE);
    let mut keys: BTreeSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
    for entry in merged {
        let sources = match &entry.node.value {
            MarkedValue::Sequence(sources) => sources.as_slice(),
            MarkedValue::Mapping(_) | MarkedValue::Scalar { .. } => std::slice::from_ref(&entry.node),
        };
        for merged in sources.iter().flat_map(MarkedNode::entries) {
            if keys.insert(merged.key.clone()) {
                own.push(merged.clone());
            }
        }
    }
    *entries = own;
}

#[cfg(test)]
mod tests;
