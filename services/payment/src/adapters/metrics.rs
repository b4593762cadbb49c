//! What payment measures beyond what every service does: each outcome, counted once its transaction is committed.

use metrics::counter;
use service::corrupt_rows;
use telemetry::metrics::Metric;

use crate::application::saga_job::PAYMENTS;
use crate::domain::{PaymentEvent, Step};

/// What this service measures.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "payment_oldest_step_age_seconds",
        &["state"],
        "Time since the oldest step that is not done began, by the state of its payment; 0 if there is none.",
    ),
    Metric::counter(
        "payment_provider_calls_total",
        &["step", "outcome"],
        "Calls to the payment provider: `approved` or `declined`; `found` or `absent` for a step that was looked up; `unavailable` \
         (it did nothing), `unreachable`, `failed` (an error after which it may have acted), `unknown` (no answer).",
    ),
    Metric::counter(
        "payment_refunds_refused_total",
        &[],
        "Refunds that the provider refused. They are tried again: the money is the customer's.",
    ),
    Metric::gauge(
        "payment_steps_due",
        &["state"],
        "Steps that are not done (due, under way, or waiting for another attempt), by the state of their payments: the 10,000 oldest.",
    ),
    Metric::counter(
        "payments_total",
        &["outcome"],
        "Payments by outcome: `completed`, `declined`, `voided` (cancelled before a capture), `refunded` (counted as `completed` \
         before).",
    ),
];

/// The states of payments that have a step to be done.
pub(super) const STEP_STATES: [&str; 8] = [
    "authorizing",
    "checking_fraud",
    "capturing",
    "declining",
    "resolving_authorization",
    "resolving_capture",
    "voiding",
    "refunding",
];

const CALL_OUTCOMES: [&str; 8] =
    ["approved", "declined", "found", "absent", "unavailable", "unreachable", "failed", "unknown"];

/// Counts a call to the provider.
pub(crate) fn count_call(step: Step, outcome: &'static str) {
    counter!("payment_provider_calls_total", "step" => step.name(), "outcome" => outcome).increment(1);
}

/// Counts a refund that the provider refused.
pub(crate) fn count_refused_refund() {
    counter!("payment_refunds_refused_total").increment(1);
}

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
    counter!("payment_refunds_refused_total").increment(0);
    for (step, outcome) in Step::ALL.into_iter().flat_map(|step| CALL_OUTCOMES.map(|outcome| (step, outcome)))
    {
        counter!("payment_provider_calls_total", "step" => step.name(), "outcome" => outcome).increment(0);
    }
    for outcome in OUTCOMES {
        counter!("payments_total", "outcome" => outcome).increment(0);
    }
}
