//! Bounds the labels that tenants write.

use herald_core::Labels;
use k8s_openapi::api::core::v1 as core_v1;

/// The most labels of a Service that are kept.
const MOST_LABELS: usize = 64;
/// The most bytes of the keys and values together that are kept.
const MOST_BYTES: usize = 16 * 1024;

/// Returns whether the labels of a Service are too many or too long to be kept: then the Service counts as one without labels.
pub fn has_too_long_labels(service: &core_v1::Service) -> bool {
    service.metadata.labels.as_ref().is_some_and(is_too_long)
}

/// Returns the labels of a Service, or none if they are too long.
pub(super) fn labels(service: &core_v1::Service) -> Labels {
    let labels = service.metadata.labels.as_ref();
    labels
        .filter(|labels| !is_too_long(labels))
        .cloned()
        .unwrap_or_default()
}

fn is_too_long(labels: &Labels) -> bool {
    let bytes = || labels.iter().map(|(key, value)| key.len() + value.len());
    labels.len() > MOST_LABELS || bytes().sum::<usize>() > MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{exposure, service};

    /// Returns a Service with `count` labels of `bytes` bytes each.
    fn labelled(count: usize, bytes: usize) -> core_v1::Service {
        let mut object = core_v1::Service::default();
        let labels = (0..count).map(|n| (format!("{n:064}"), "x".repeat(bytes - 64)));
        object.metadata.labels = Some(labels.collect());
        object
    }

    #[test]
    fn labels_that_are_too_many_or_too_long_are_not_kept_for_allocator_or_speakers() {
        // (labels, bytes of each, too long)
        for (count, bytes, too_long) in [
            (0, 64, false),
            (64, 127, false),
            (65, 64, true),
            (64, 256, false),
            (64, 257, true),
            (40, 380, false),
            (2000, 127, true),
        ] {
            let object = labelled(count, bytes);
            let kept = if too_long { 0 } else { count };
            assert_eq!(has_too_long_labels(&object), too_long, "{count} {bytes}");
            assert_eq!(service(&object).labels.len(), kept, "{count} {bytes}");
            assert_eq!(exposure(&object).labels.len(), kept, "{count} {bytes}");
        }
    }
}
