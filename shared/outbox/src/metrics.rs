//! What the outbox measures.

use metric_table::Metric;
use metrics::Gauge;

/// What this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "outbox_blocked_keys",
        &[],
        "Keys of which nothing more is published: the rows of `outbox.blocked_keys`. Rejected ones are tried again by \
         themselves, those behind a gap need an operator.",
    ),
    Metric::counter(
        "outbox_delivery_failures_total",
        &["topic"],
        "Times that the broker did not acknowledge, or rejected, what was sent; what was not acknowledged is sent again.",
    ),
    Metric::counter(
        "outbox_keys_blocked_total",
        &["reason"],
        "Keys that a relay has blocked: `rejected` (the broker refused the message) or `gap` (the message \
         before it is missing).",
    ),
    Metric::counter(
        "outbox_leads_given_up_total",
        &[],
        "Times that this process's relay, cut off from partitions with messages to publish, gave the lead up to one that \
         reaches them.",
    ),
    Metric::counter(
        "outbox_messages_published_total",
        &["topic"],
        "Messages that the broker has acknowledged.",
    ),
    Metric::gauge(
        "outbox_oldest_unpublished_age_seconds",
        &[],
        "Age of the oldest message that waits to be published; those behind a blocked key aside. 0 when none waits.",
    ),
    Metric::histogram(
        "outbox_publish_latency_seconds",
        &["topic"],
        "Time from a message's insertion, just before its commit, to the broker's acknowledgement.",
    ),
    Metric::gauge(
        "outbox_refused_topics",
        &["topic"],
        "1 while the broker refuses whatever the relay sends to the topic, for one reason (clock, size limit, policy), else 0: \
         one record at a time is tried until one is taken.",
    ),
    Metric::gauge(
        "outbox_relay_leader",
        &[],
        "1 while this process's relay leads, else 0. One replica of a service leads, the others stand by.",
    ),
    Metric::gauge(
        "outbox_slot_lag_bytes",
        &[],
        "How much of the write-ahead log the replication slot of the relay `wal` holds: what is not confirmed. The server keeps \
         that much at least, up to `max_slot_wal_keep_size`.",
    ),
    Metric::gauge(
        "outbox_stalled_partitions",
        &["topic"],
        "Partitions of the topic that have acknowledged nothing of what the relay sent them for \
         `outbox.delivery_timeout_ms`: mostly they have no leader, or too few in-sync replicas. Others are published.",
    ),
    Metric::gauge(
        "outbox_table_partitions",
        &[],
        "Table partitions of the outbox that can still take messages, the one in use among them. New ones are made in time: \
         below two, the right to create them is missing.",
    ),
    Metric::counter(
        "outbox_table_partitions_dropped_total",
        &[],
        "Table partitions of the outbox that were dropped: all of their messages were published, and old enough.",
    ),
    Metric::gauge("outbox_unpublished_messages", &[], "Messages that are not known to be published."),
];

pub(crate) const REASONS: [&str; 2] = [REJECTED, GAP];
/// The broker refused the message.
pub(crate) const REJECTED: &str = "rejected";
/// The message before it is missing.
pub(crate) const GAP: &str = "gap";

/// A gauge without meaning once the relay no longer leads.
pub(crate) struct WhileLeading(Gauge);

impl WhileLeading {
    pub(crate) fn new(gauge: Gauge) -> Self {
        gauge.set(0.0);
        Self(gauge)
    }

    pub(crate) fn set(&self, value: f64) {
        self.0.set(value);
    }
}

impl Drop for WhileLeading {
    fn drop(&mut self) {
        self.0.set(0.0);
    }
}
