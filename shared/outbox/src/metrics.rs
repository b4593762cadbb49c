//! What the outbox measures.

use contracts::Topic;
use telemetry::metrics::Metric;

/// What this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "outbox_delivery_failures_total",
        &["topic"],
        "Times that the broker did not acknowledge or refused what was sent; what was not acknowledged is sent again.",
    ),
    Metric::counter(
        "outbox_keys_stopped_total",
        &["kind"],
        "Keys that a relay has stopped: `refused` (the broker will never take the row) or `gap` (a sequence is missing).",
    ),
    Metric::gauge(
        "outbox_oldest_unfinished_age_seconds",
        &[],
        "Age of the oldest row that waits to be published; rows behind a stopped key aside. 0 when none waits.",
    ),
    Metric::counter("outbox_pruned_rows_total", &[], "Published rows that were deleted for their age."),
    Metric::histogram(
        "outbox_publish_latency_seconds",
        &["topic"],
        "Time from a row's insertion, just before its commit, to the broker's acknowledgement.",
    ),
    Metric::counter("outbox_published_total", &["topic"], "Rows that the broker has acknowledged."),
    Metric::gauge(
        "outbox_relay_active",
        &[],
        "1 while this process's relay leads, else 0. One replica of a service leads, the others stand by.",
    ),
    Metric::gauge(
        "outbox_stopped_keys",
        &[],
        "Keys that no relay publishes until a person has looked: the rows of `outbox.stopped_keys`.",
    ),
    Metric::gauge("outbox_unfinished_rows", &[], "Rows that are not known to be published."),
];

/// Why keys are stopped.
pub(crate) const STOPS: [&str; 2] = ["refused", "gap"];

/// A topic's label: its name without its deployment's prefix.
pub(crate) fn label(topic: &str) -> &'static str {
    let suffix = topic.rsplit('.').next();
    Topic::ALL.into_iter().map(Topic::suffix).find(|known| suffix == Some(known)).unwrap_or("other")
}
