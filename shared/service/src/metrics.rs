//! What the runtime of every service measures.

use telemetry::metrics::Metric;

/// What this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "build_info",
        &["service", "version"],
        "Always 1; the labels are the service and its version.",
    ),
    Metric::counter(
        "corrupt_rows_total",
        &["table"],
        "Times that a row could not be read or changed although the database answered: a worker sets it aside for five minutes, or \
         until its lease ends; a list leaves it out.",
    ),
    Metric::histogram(
        "database_pool_acquire_duration_seconds",
        &[],
        "Time to get a connection from the pool.",
    ),
    Metric::gauge("database_pool_connections", &["state"], "Connections of the pool: `idle` or `in_use`."),
    Metric::gauge("database_pool_max_connections", &[], "Maximum number of connections in the pool."),
    Metric::counter(
        "database_stuck_sessions_ended_total",
        &[],
        "Sessions of this service's role that were ended because they held locks and waited for the rest of a statement for 20 s.",
    ),
    Metric::counter(
        "database_timeouts_total",
        &["operation"],
        "Conversations with the database that exceeded their bound, so that their connection was dropped: `batch`, `worker`, `request`, \
         `group`, `sample` or `maintenance`.",
    ),
    Metric::histogram(
        "http_request_duration_seconds",
        &["method", "route"],
        "Time from the head of a request to the head of its response, including the wait of `Prefer: wait`.",
    ),
    Metric::gauge("http_requests_in_flight", &[], "Requests without a response yet."),
    Metric::counter(
        "http_requests_rejected_total",
        &["reason"],
        "Requests rejected with 503: `overloaded` (too many requests in flight, bytes of bodies, or connections).",
    ),
    Metric::counter("http_requests_total", &["method", "route", "status"], "Requests answered."),
    Metric::gauge(
        "metrics_sampled_timestamp_seconds",
        &[],
        "Time of the last reading of the gauges that need the database, in seconds since 1970.",
    ),
    Metric::counter("worker_failures_total", &["worker"], "Times that a worker failed and was restarted."),
    Metric::gauge(
        "worker_paused",
        &["worker"],
        "1 while a worker takes no work, except one item per cool-down, because its last calls (mail server, provider) had no answer, or \
         were refused whatever they asked for.",
    ),
    Metric::gauge(
        "worker_stalled",
        &["worker"],
        "1 while a worker has due work and has completed none of it for `consumer.stalled_after_ms`, or hangs.",
    ),
];
