//! What was found, and where.

use std::ops::Range;

use super::mistake::Mistake;
use super::object::ManifestObject;
use super::path::FieldPath;

/// A mistake or warning, and its place.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// The place of the file.
    pub(crate) file: usize,
    /// The bytes of the file.
    pub(crate) span: Range<usize>,
    /// Kind and name of the object, as far as they are known.
    pub(crate) object: Option<(String, String)>,
    pub(crate) field: Option<FieldPath>,
    pub(crate) mistake: Mistake,
    /// The other place that it is about, and its file: the first of two that have the same name, or overlap.
    pub(crate) first: Option<(usize, Range<usize>)>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    /// Adds what was found at a field of an object whose kind is not known.
    pub(crate) fn push_field(&mut self, file: usize, span: Range<usize>, field: FieldPath, mistake: Mistake) {
        self.add(file, span, mistake).field = Some(field);
    }

    /// Adds what was found at a place of an object.
    pub(crate) fn push_object(
        &mut self,
        object: &ManifestObject<'_>,
        span: Range<usize>,
        field: Option<FieldPath>,
        mistake: Mistake,
    ) -> &mut Finding {
        let finding = self.add(object.file, span, mistake);
        finding.object = Some((object.kind.clone(), object.name.clone()));
        finding.field = field;
        finding
    }

    /// Adds what was found at a field of an object.
    pub(crate) fn push_at(
        &mut self,
        object: &ManifestObject<'_>,
        field: FieldPath,
        mistake: impl Into<Mistake>,
    ) -> &mut Finding {
        let span = field.locate(object.node);
        self.push_object(object, span, Some(field), mistake.into())
    }

    /// Adds what was found at a place.
    pub(crate) fn add(&mut self, file: usize, span: Range<usize>, mistake: Mistake) -> &mut Finding {
        self.0.push(Finding {
            file,
            span,
            object: None,
            field: None,
            mistake,
            first: None,
        });
        self.0.last_mut().expect("a finding that was pushed")
    }
}
