//! How a crate lists its metrics: each once, with everything of its documentation and its `# HELP`.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// A metric: its unit is the end of its name (`_seconds`, `_bytes`), as Prometheus wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// The names of its labels; their values are few and known (never ids, SKUs or customers).
    pub labels: &'static [&'static str],
    /// Its meaning, for the documentation and `# HELP`.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// A histogram.
    #[must_use]
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }

    fn unit(&self) -> Unit {
        match self.name.trim_end_matches("_total").rsplit('_').next() {
            Some("seconds") => Unit::Seconds,
            Some("bytes") => Unit::Bytes,
            _ => Unit::Count,
        }
    }
}

/// Describes a crate's metrics to the recorder, and begins those without labels at 0: an alert on a counter that is
/// not there would never fire. The code that knows the values of labels begins the others. A gauge is not begun: 0 would be a
/// claim.
pub fn describe(table: &[Metric]) {
    for metric in table {
        let (name, unit, help) = (metric.name, metric.unit(), metric.help);
        match metric.kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
        match metric.kind {
            Kind::Counter if metric.labels.is_empty() => counter!(name).increment(0),
            Kind::Histogram if metric.labels.is_empty() => drop(histogram!(name)),
            Kind::Counter | Kind::Gauge | Kind::Histogram => {}
        }
    }
}
