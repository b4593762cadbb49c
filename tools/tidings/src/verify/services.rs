//! The tables of each service, and what they should hold by the events that the service had applied.

pub mod analytics;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod payment;

use contracts::order::CancellationReason;

/// The name of a reason in tables.
pub(super) const fn reason_name(reason: CancellationReason) -> &'static str {
    match reason {
        CancellationReason::OutOfStock => "out_of_stock",
        CancellationReason::PaymentDeclined => "payment_declined",
        CancellationReason::CustomerRequest => "customer_request",
        CancellationReason::TimedOut => "timed_out",
        CancellationReason::Unknown => "unknown",
    }
}
