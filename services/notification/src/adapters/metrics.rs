//! What notification measures beyond what every service does: each mail, counted once its end is committed.

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use service::corrupt_rows;
use telemetry::metrics::Metric;

use crate::application::mail::MAILS;

/// What this service measures.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "mails_ended_total",
        &["status"],
        "Mails that ended: `sent`, or `failed` (rejected, or out of attempts).",
    ),
    Metric::histogram(
        "mails_time_to_end_seconds",
        &["status"],
        "Time from the event that caused a mail to `sent` or `failed`.",
    ),
];

const ENDS: [&str; 2] = ["sent", "failed"];

/// Counts a mail whose state is committed; one that is retried has not ended.
pub(super) fn count(state: &str, created_at: DateTime<Utc>, completed_at: Option<DateTime<Utc>>) {
    let Some(status) = ENDS.into_iter().find(|end| *end == state) else { return };
    counter!("mails_ended_total", "status" => status).increment(1);
    let took = completed_at.and_then(|completed_at| (completed_at - created_at).to_std().ok());
    histogram!("mails_time_to_end_seconds", "status" => status)
        .record(took.unwrap_or_default().as_secs_f64());
}

/// Begins the counters, so that a rate includes their first mail.
pub(super) fn begin_counters() {
    corrupt_rows::begin_counter(MAILS);
    for status in ENDS {
        counter!("mails_ended_total", "status" => status).increment(0);
    }
}
