//! What the inbox measures.

use metric_table::Metric;

/// What this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::histogram(
        "inbox_batch_duration_seconds",
        &["topic"],
        "Time to apply one batch, from decoding to the commit.",
    ),
    Metric::histogram("inbox_batch_records", &["topic"], "Records in one batch."),
    Metric::gauge(
        "inbox_dead_letters",
        &["topic", "reason"],
        "Records that could not be applied and wait for an operator, or for a release that knows their type \
         (`unknown_event_type`), with those of the same key behind them (`behind_dead_letter`): the rows of `inbox.dead_letters`.",
    ),
    Metric::histogram(
        "inbox_event_age_seconds",
        &["topic"],
        "Age of an event when its effect was committed: from the time at which it happened.",
    ),
    Metric::gauge(
        "inbox_lag_read_timestamp_seconds",
        &["topic", "partition"],
        "When `inbox_lag_records` of a partition was last read, in seconds since 1970: it keeps its last value while the \
         partition has no leader, or the broker does not answer.",
    ),
    Metric::gauge(
        "inbox_lag_records",
        &["topic", "partition"],
        "Records of a partition that this service has not applied yet: the topic's end less the database's position.",
    ),
    Metric::counter(
        "inbox_memberships_given_up_total",
        &["cause"],
        "Times that this process left its consumer group, because another member could work where it could not: `database` (no \
         answer, while others commit) or `broker` (a partition's leader does not answer it, and answers another).",
    ),
    Metric::gauge(
        "inbox_next_offset",
        &["topic", "partition"],
        "Offset of the first record of a partition that this service has not applied yet: the database's position, whichever \
         replica reads the partition, and even if none does.",
    ),
    Metric::gauge(
        "inbox_partitions",
        &["state"],
        "Partitions assigned to this process: `running`, `retrying` (a transient error), `stopped` (records are \
         missing, or all events of a type fail) or `stalled` (there is work, or its leader does not answer, and nothing has moved for `consumer.stalled_after_ms`).",
    ),
    Metric::counter(
        "inbox_partitions_stopped_total",
        &["topic", "reason"],
        "Times that a partition was stopped: `out_of_range` (its position lies outside what the topic holds), `another_log` (the record that was applied last does not stand where it stood), `dead_letter_refused` (the database takes not even a dead letter), `repeated_failure` (the events of one type fail in succession for one cause; once per pause).",
    ),
    Metric::counter(
        "inbox_rebalances_total",
        &["change"],
        "Changes of what this process reads: partitions `assigned` or `revoked`.",
    ),
    Metric::counter(
        "inbox_records_total",
        &["topic", "outcome"],
        "Records behind the position: `applied`, `duplicate` (handled before), `skipped` (no subscription) \
         or `dead_lettered`.",
    ),
    Metric::counter(
        "inbox_retries_total",
        &["topic", "reason"],
        "Times that a batch, or a part of one, failed and was tried again: `transient` (it passes), `operator` (rights, schema or \
         settings; it does not pass by itself), `data` or `unknown` (some event may be at fault).",
    ),
    Metric::gauge(
        "inbox_table_partitions_end_timestamp_seconds",
        &[],
        "Until when the inbox has table partitions for the ids of events, in seconds since 1970: more than four weeks ahead, unless \
         no new ones are being created. Later ids go to the default partition, and are remembered there.",
    ),
    Metric::gauge(
        "inbox_topic_partitions_unexpected",
        &["topic"],
        "Difference between the partitions of a topic and the count by which keys were placed so far.",
    ),
];

/// What becomes of a record.
pub(crate) const OUTCOMES: [&str; 4] = ["applied", "duplicate", "skipped", "dead_lettered"];

/// How this process reads partitions.
pub(crate) const STATES: [&str; 4] = ["running", "retrying", "stopped", "stalled"];

/// Why a partition is stopped.
pub(crate) const OUT_OF_RANGE: &str = "out_of_range";
/// A partition was stopped because the topic was made anew, restored, or is a mirror.
pub(crate) const ANOTHER_LOG: &str = "another_log";
/// A partition was stopped because the database refuses a record's dead letter.
pub(crate) const LETTER_REFUSED: &str = "dead_letter_refused";

/// A partition was stopped because its events of one type fail in succession.
pub(crate) const REPEATED_FAILURE: &str = "repeated_failure";

/// How assignments change.
pub(crate) const ASSIGNED: &str = "assigned";
pub(crate) const REVOKED: &str = "revoked";
