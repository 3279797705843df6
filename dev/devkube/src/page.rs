//! Pages of a list.

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

    /// Whether the object comes after the page before.
    pub(crate) fn is_ahead(&self, key: &Key) -> bool {
        self.before.as_ref().is_none_or(|(_, last)| key > last)
    }

    /// Cuts the rest of the list to a page, and returns the token of the next one if there is one.
    pub(crate) fn cut<T>(&self, rest: &mut Vec<T>, key: impl Fn(&T) -> Key, now: u64) -> Option<String> {
        let limit = self.limit.filter(|limit| rest.len() > *limit)?;
        rest.truncate(limit);
        let Key { namespace, name } = key(rest.last()?);
        Some(format!("{}/{namespace}/{name}", self.revision(now)))
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
