//! Pages of a list.

use std::sync::Arc;

use serde_json::Value;

use crate::object::Key;
use crate::request::Request;
use crate::status::ApiError;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// At most so many objects; `None` is all.
    limit: Option<usize>,
    /// The version of the first page, and the last object of the page before.
    before: Option<(u64, Key)>,
}

impl Page {
    /// Reads `limit` and `continue`.
    pub(crate) fn of(request: &Request) -> Result<Self, ApiError> {
        let token = request.parameter("continue");
        let before = (!token.is_empty()).then(|| parse(token)).transpose()?;
        Ok(Self {
            limit: request.parameter("limit").parse().ok().filter(|limit| *limit > 0),
            before,
        })
    }

    /// The version that the list shows: that of the first page, so that a watch from there repeats what changes between the
    /// pages, which show the present.
    pub(crate) fn revision(&self, now: u64) -> u64 {
        self.before.as_ref().map_or(now, |(revision, _)| *revision)
    }

    /// The last object of the page before.
    pub(crate) fn after(&self) -> Option<&Key> {
        self.before.as_ref().map(|(_, last)| last)
    }

    /// Takes a page of the rest of the list, and no more of it than is needed to know whether it is the last; returns the
    /// token of the next one, too, if there is one.
    pub(crate) fn take<'a>(
        &self,
        mut rest: impl Iterator<Item = &'a Arc<Value>>,
        now: u64,
    ) -> (Vec<Arc<Value>>, Option<String>) {
        let Some(limit) = self.limit else {
            return (rest.cloned().collect(), None);
        };
        let taken: Vec<_> = rest.by_ref().take(limit).cloned().collect();
        let last = taken.last().filter(|_| rest.next().is_some());
        let next = last.map(|last| {
            let Key { namespace, name } = Key::of(last);
            format!("{}/{namespace}/{name}", self.revision(now))
        });
        (taken, next)
    }
}

/// Reads a token: the version, the namespace and the name.
fn parse(token: &str) -> Result<(u64, Key), ApiError> {
    let mut parts = token.splitn(3, '/');
    let revision = parts.next().and_then(|revision| revision.parse().ok());
    match (revision, parts.next(), parts.next()) {
        (Some(revision), Some(namespace), Some(name)) => Ok((revision, Key::new(namespace, name))),
        _ => Err(ApiError::bad_request(format!(
            "continue key is not valid: {token:?}"
        ))),
    }
}
