//! Counts of requests by verb and resource.

use std::collections::BTreeMap;

/// Requests by verb (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
/// `deletecollection`) and resource (`services`, `services/status`), since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestCounts {
    counts: BTreeMap<(String, String), u64>,
}

impl RequestCounts {
    /// How many requests there were with this verb to this resource.
    pub fn of(&self, verb: &str, resource: &str) -> u64 {
        self.counts
            .get(&(verb.to_string(), resource.to_string()))
            .copied()
            .unwrap_or(0)
    }

    /// All non-zero counts as `(verb, resource, count)`, ordered by verb and resource.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.counts
            .iter()
            .map(|((verb, resource), count)| (verb.as_str(), resource.as_str(), *count))
    }

    /// The number of all requests.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// What was counted after `earlier` was taken.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let later = self.counts.iter().map(|(key, count)| {
            let before = earlier.counts.get(key).copied().unwrap_or(0);
            (key.clone(), count.saturating_sub(before))
        });
        Self {
            counts: later.filter(|(_, count)| *count > 0).collect(),
        }
    }

    pub(crate) fn add(&mut self, verb: &str, resource: String) {
        *self.counts.entry((verb.to_string(), resource)).or_default() += 1;
    }
}

/// Adds up counts by verb and resource, as another server may have reported them.
impl FromIterator<(String, String, u64)> for RequestCounts {
    fn from_iter<I: IntoIterator<Item = (String, String, u64)>>(counts: I) -> Self {
        let mut sums = Self::default();
        for (verb, resource, count) in counts {
            *sums.counts.entry((verb, resource)).or_default() += count;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_since_an_earlier_moment_leave_out_what_did_not_move() {
        let mut earlier = RequestCounts::default();
        earlier.add("list", "services".into());
        let mut later = earlier.clone();
        later.add("patch", "services/status".into());
        let since = later.since(&earlier);
        assert_eq!(
            since.iter().collect::<Vec<_>>(),
            [("patch", "services/status", 1)]
        );
        assert_eq!((since.total(), since.of("list", "services")), (1, 0));
    }
}
