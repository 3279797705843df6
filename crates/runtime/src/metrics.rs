//! Creation of metrics.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// Creates metrics in a registry. Each method fails when the registry has a metric of that name already.
#[derive(Debug, Clone, Copy)]
pub struct Register<'a>(pub &'a Registry);

#[expect(clippy::missing_errors_doc, reason = "the type says when they fail")]
impl Register<'_> {
    /// Creates a counter.
    pub fn counter(self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    /// Creates a counter with labels.
    pub fn counters(self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a gauge of integers.
    pub fn gauge(self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    /// Creates a gauge of integers with labels.
    pub fn gauges(self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a gauge of floats.
    pub fn float_gauge(self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    /// Creates a gauge of floats with labels.
    pub fn float_gauges(self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a histogram with these upper bounds.
    pub fn histogram(self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?)
    }

    fn add<M: Collector + Clone + 'static>(self, metric: M) -> Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_registered_once() {
        let registry = Registry::new();
        let register = Register(&registry);
        register.counter("test_total", "help").expect("a new name").inc();
        assert_eq!(registry.gather().len(), 1);
        assert!(register.gauge("test_total", "help").is_err());
    }
}
