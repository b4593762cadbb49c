//! What order measures beyond what every service does: each order counted once its transaction is committed.

use std::time::Duration;

use metrics::{counter, histogram};
use service::corrupt_rows;
use telemetry::metrics::Metric;

use crate::application::Recorded;
use crate::domain::{CancellationReason, OrderEvent};

pub const METRICS: &[Metric] = &[
    Metric::counter(
        "orders_ended_total",
        &["status", "reason"],
        "Orders that ended: `confirmed` (reason `none`) or `cancelled` (`out_of_stock`, `payment_declined`, \
         `customer_request`, `timed_out`).",
    ),
    Metric::gauge(
        "orders_past_deadline",
        &[],
        "Open orders whose deadline has passed. They are cancelled once order has applied everything that was on the topics \
         at that time.",
    ),
    Metric::counter("orders_placed_total", &[], "Orders accepted."),
    Metric::histogram(
        "orders_time_to_end_seconds",
        &["status"],
        "Time from placed to `confirmed` or `cancelled`.",
    ),
];

const CONFIRMED: &str = "confirmed";
const CANCELLED: &str = "cancelled";
/// A confirmation needs no reason.
const NONE: &str = "none";

/// What a transaction did to orders, to be counted after its commit.
#[derive(Debug, Default)]
pub(super) struct Counts {
    placed: u64,
    ended: Vec<(&'static str, &'static str, Duration)>,
}

impl Counts {
    pub(super) fn of<'a>(journal: impl IntoIterator<Item = &'a Recorded>) -> Self {
        let mut counts = Self::default();
        for recorded in journal {
            match &recorded.event {
                OrderEvent::OrderPlaced(_) => counts.placed += 1,
                OrderEvent::OrderConfirmed { .. } => {
                    counts.ended.push((CONFIRMED, NONE, since_placed(recorded)));
                }
                OrderEvent::OrderCancelled { reason, .. } => {
                    counts.ended.push((CANCELLED, reason.as_str(), since_placed(recorded)));
                }
                OrderEvent::DeadlineScheduled { .. }
                | OrderEvent::StockReservationRecorded { .. }
                | OrderEvent::LatePaymentRecorded { .. }
                | OrderEvent::LateDeclineRecorded { .. }
                | OrderEvent::LateStockRejectionRecorded {} => {}
            }
        }
        counts
    }

    /// Counts them: they are committed.
    pub(super) fn add(self) {
        counter!("orders_placed_total").increment(self.placed);
        for (end, reason, took) in self.ended {
            counter!("orders_ended_total", "status" => end, "reason" => reason).increment(1);
            histogram!("orders_time_to_end_seconds", "status" => end).record(took.as_secs_f64());
        }
    }
}

/// An order's id was drawn when it was placed, and bears the time (UUIDv7).
fn since_placed(recorded: &Recorded) -> Duration {
    let Some(placed) = recorded.order_id.0.get_timestamp() else { return Duration::ZERO };
    let (seconds, nanos) = placed.to_unix();
    let ended_ms = u64::try_from(recorded.occurred_at.timestamp_millis()).unwrap_or(0);
    Duration::from_millis(ended_ms).saturating_sub(Duration::new(seconds, nanos))
}

/// The tables whose rows are read beside those of other orders.
pub(super) const ORDERS: &str = "orders";
pub(super) const ORDER_VIEWS: &str = "order_views";

/// Begins the counters whose absence would hide an alert.
pub(super) fn begin_counters() {
    [ORDERS, ORDER_VIEWS].into_iter().for_each(corrupt_rows::begin_counter);
    counter!("orders_ended_total", "status" => CONFIRMED, "reason" => NONE).increment(0);
    for reason in CancellationReason::ALL {
        counter!("orders_ended_total", "status" => CANCELLED, "reason" => reason.as_str()).increment(0);
    }
}
