//! What notification measures beyond what every service does: each mail, counted once its end is committed.

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use service::corrupt_rows;
use telemetry::metrics::Metric;

use crate::application::mail::MAILS;
use crate::application::mailer::{Delivery, SendError};

/// What this service measures.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "mail_attempts_total",
        &["outcome"],
        "Attempts to send a mail: `sent`; refused for the mail's own sake for now (`transient`) or for good (`permanent`); \
         `invalid` (no server was asked); `transport` (the mail server is away or refuses everybody).",
    ),
    Metric::gauge(
        "mails",
        &["status"],
        "Mails that wait (`pending`) or have failed (`failed`), each counted up to 10,000.",
    ),
    Metric::counter(
        "mails_ended_total",
        &["status"],
        "Mails that ended: `sent`, or `failed` (rejected, or out of attempts).",
    ),
    Metric::gauge(
        "mails_oldest_pending_age_seconds",
        &[],
        "Age of the oldest mail that is not sent; 0 if there is none.",
    ),
    Metric::histogram(
        "mails_time_to_end_seconds",
        &["status"],
        "Time from the event that caused a mail to `sent` or `failed`.",
    ),
];

const ENDS: [&str; 2] = ["sent", "failed"];

const OUTCOMES: [&str; 5] = ["sent", "transient", "permanent", "invalid", "transport"];

/// Counts an attempt, whatever is stored of it.
pub(crate) fn count_attempt(outcome: &Result<Delivery, SendError>) {
    let outcome = match outcome {
        Ok(Delivery::Smtp | Delivery::None) => "sent",
        Err(SendError::Transient(_)) => "transient",
        Err(SendError::Permanent(_)) => "permanent",
        Err(SendError::Invalid(_)) => "invalid",
        Err(SendError::Transport(_)) => "transport",
    };
    counter!("mail_attempts_total", "outcome" => outcome).increment(1);
}

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
    for outcome in OUTCOMES {
        counter!("mail_attempts_total", "outcome" => outcome).increment(0);
    }
    for status in ENDS {
        counter!("mails_ended_total", "status" => status).increment(0);
    }
}
