//! What payment measures beyond what every service does: each outcome, counted once its transaction is committed.

use metrics::counter;
use service::corrupt_rows;
use telemetry::metrics::Metric;

use crate::application::saga_job::PAYMENTS;
use crate::domain::PaymentEvent;

/// What this service measures.
pub const METRICS: &[Metric] = &[Metric::counter(
    "payments_total",
    &["outcome"],
    "Payments by outcome: `completed`, `declined`, `voided` (cancelled before a capture), `refunded` (counted as `completed` \
     before).",
)];

const OUTCOMES: [&str; 4] = ["completed", "declined", "voided", "refunded"];

pub(super) fn count(event: &PaymentEvent) {
    let outcome = match event {
        PaymentEvent::Completed { .. } => "completed",
        PaymentEvent::Declined { .. } => "declined",
        PaymentEvent::Voided => "voided",
        PaymentEvent::Refunded { .. } => "refunded",
    };
    counter!("payments_total", "outcome" => outcome).increment(1);
}

/// Begins the counters, so that a rate includes their first event.
pub(super) fn begin_counters() {
    corrupt_rows::begin_counter(PAYMENTS);
    for outcome in OUTCOMES {
        counter!("payments_total", "outcome" => outcome).increment(0);
    }
}
