//! What the runtime of every service measures.

use telemetry::metrics::Metric;

/// What this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::gauge("build_info", &["service", "version"], "Always 1: which service this is, and its version."),
    Metric::histogram(
        "database_pool_acquire_duration_seconds",
        &[],
        "Time to get a connection from the pool.",
    ),
    Metric::gauge("database_pool_connections", &["state"], "Connections of the pool: `idle` or `in_use`."),
    Metric::gauge("database_pool_max_connections", &[], "The most connections that the pool opens."),
    Metric::counter(
        "database_stuck_sessions_ended_total",
        &[],
        "Sessions of this service's role that were ended because they waited for the rest of a statement for 20 s, holding locks.",
    ),
    Metric::counter(
        "database_timeouts_total",
        &["operation"],
        "Conversations with the database whose bound ran out, so that their connection was dropped: `batch`, `worker`, `request`, \
         `sample` or `maintenance`.",
    ),
    Metric::histogram(
        "http_request_duration_seconds",
        &["method", "route"],
        "Time from a request's head to its answer's; with `Prefer: wait` this includes the wait.",
    ),
    Metric::gauge("http_requests_in_flight", &[], "Requests that have no answer yet."),
    Metric::counter(
        "http_requests_rejected_total",
        &["reason"],
        "Requests answered 503 at once: `overloaded` (too many were in flight).",
    ),
    Metric::counter("http_requests_total", &["method", "route", "status"], "Requests answered."),
    Metric::gauge(
        "metrics_sampled_timestamp_seconds",
        &[],
        "When the gauges that need the database were last read, in seconds since 1970.",
    ),
    Metric::counter(
        "worker_failures_total",
        &["worker"],
        "Times that a worker failed and was started again.",
    ),
    Metric::gauge(
        "worker_paused",
        &["worker"],
        "1 while a worker takes no work because its last calls had no answer (mail server, provider), but one item per cool-down.",
    ),
    Metric::gauge(
        "worker_stalled",
        &["worker"],
        "1 while a worker has completed nothing for `consumer.stalled_after_ms` although work is due, or hangs.",
    ),
];
