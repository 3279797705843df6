//! The requests that kube-apiserver counted, by its metrics.

use herald_devkube::RequestCounts;

/// Requests by verb and resource, from `apiserver_request_total` in the text format of Prometheus.
pub(super) fn request_counts(metrics: &str) -> RequestCounts {
    let samples = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix("apiserver_request_total{")?.split_once("} ")?;
        let label = |name: &str| {
            labels
                .split(',')
                .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        let resource = match label("subresource")? {
            "" => label("resource")?.to_owned(),
            subresource => format!("{}/{subresource}", label("resource")?),
        };
        // Counters are printed as floating-point numbers, e.g. `1.0002e+04`.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = value.parse::<f64>().ok()? as u64;
        Some((verb(label("verb")?), resource, count))
    });
    samples.collect()
}

/// The verb that a role would name for the server's one.
fn verb(method: &str) -> String {
    match method {
        "POST" => "create".to_owned(),
        "PUT" => "update".to_owned(),
        "APPLY" => "patch".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_added_up_over_all_that_we_do_not_ask_for() {
        let counts = request_counts(concat!(
            "# TYPE apiserver_request_total counter\n",
            "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"services\",scope=\"resource\",subresource=\"status\",verb=\"PATCH\",version=\"v1\"} 1.0002e+04\n",
            "apiserver_request_total{code=\"409\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"services\",scope=\"resource\",subresource=\"status\",verb=\"PATCH\",version=\"v1\"} 3\n",
            "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"services\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} 7\n",
            "apiserver_request_duration_seconds_count{verb=\"POST\"} 9\n",
        ));
        assert_eq!(counts.of("patch", "services/status"), 10_005);
        assert_eq!(counts.of("create", "services"), 7);
        assert_eq!(counts.total(), 10_012);
    }
}
