//! What the inbox measures.

use telemetry::metrics::Metric;

/// What this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::histogram(
        "inbox_batch_duration_seconds",
        &["topic"],
        "Time to apply one batch, from decoding to the commit.",
    ),
    Metric::histogram("inbox_batch_events", &["topic"], "Records in one batch."),
    Metric::histogram(
        "inbox_event_age_seconds",
        &["topic"],
        "Age of an event when its effect was committed: from the time at which it happened.",
    ),
    Metric::counter(
        "inbox_events_total",
        &["topic", "outcome"],
        "Records behind the position: `applied`, `duplicate` (had its effect before), `skipped` (nobody here subscribed) \
         or `parked`.",
    ),
    Metric::gauge(
        "inbox_lag_records",
        &["topic", "partition"],
        "Records of a partition that this service has not applied yet: the topic's end less the database's position.",
    ),
    Metric::gauge(
        "inbox_parked_events",
        &["topic", "reason"],
        "Events that could not be applied and wait for a person, with those of the same key behind them \
         (`behind_parked`): the rows of `inbox.parked`.",
    ),
    Metric::gauge(
        "inbox_partitions",
        &["state"],
        "Partitions assigned to this process: `running`, `retrying` (the world is at fault) or `stopped` (records are \
         missing).",
    ),
    Metric::counter(
        "inbox_position_alarms_total",
        &["topic"],
        "Times that a position was found outside what the topic holds.",
    ),
    Metric::counter(
        "inbox_rebalances_total",
        &["change"],
        "Changes of what this process reads: partitions `assigned` or `revoked`.",
    ),
    Metric::counter("inbox_retries_total", &["topic"], "Batches that failed and were tried again."),
];

/// What becomes of a record.
pub(crate) const OUTCOMES: [&str; 4] = ["applied", "duplicate", "skipped", "parked"];

/// How this process reads partitions.
pub(crate) const STATES: [&str; 3] = ["running", "retrying", "stopped"];

/// How assignments change.
pub(crate) const ASSIGNED: &str = "assigned";
pub(crate) const REVOKED: &str = "revoked";
