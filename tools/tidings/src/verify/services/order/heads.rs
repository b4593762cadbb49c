//! What follows from an order's stream: its head, its view, its deadline.

use uuid::Uuid;

use super::placement;
use super::stream::Stream;
use crate::verify::check::Check;
use crate::verify::history::trace_id;
use crate::verify::report::Comparisons;
use crate::verify::rows::order::{DeadlineRow, HeadRow, ViewRow};

/// Compares the head.
pub(super) fn head(row: &HeadRow, stream: &Stream<'_>, out: &mut Comparisons) {
    const CHECK: Check = Check::OrderHeads;
    let subject = format!("the head of order {}", row.order_id);
    let is_open = stream.status == "placed";
    out.same_hidden(CHECK, &subject, "customer_id", &row.customer_id, &stream.placed.customer_id);
    out.same(CHECK, &subject, "correlation_id", &Some(row.correlation_id), &stream.correlation_id);
    let trace = trace_id(row.traceparent.as_deref());
    out.same(CHECK, &subject, "the trace's id", &trace, &stream.trace_id.as_deref());
    out.same(CHECK, &subject, "tracestate", &row.tracestate, &stream.tracestate);
    out.same(CHECK, &subject, "version", &row.version, &stream.version);
    out.same(CHECK, &subject, "last_sequence", &row.last_sequence, &stream.last_sequence);
    out.same(CHECK, &subject, "updated_at", &row.updated_at, &stream.updated_at);
    out.same(CHECK, &subject, "currency", &row.currency, &stream.placed.currency);
    out.same(CHECK, &subject, "total_minor", &row.total_minor, &stream.placed.total_minor);
    out.same(CHECK, &subject, "status", &row.status.as_str(), &stream.status);
    out.same(CHECK, &subject, "reason", &row.reason.as_deref(), &stream.reason);
    out.same(CHECK, &subject, "detail", &row.detail, &stream.detail);
    out.same(CHECK, &subject, "due_at", &row.due_at, &stream.due_at.filter(|_| is_open));
    out.same(CHECK, &subject, "ended_at", &row.ended_at, &stream.ended_at);
    out.same(CHECK, &subject, "reservation_id", &row.reservation_id, &stream.reservation_id);
    out.same(CHECK, &subject, "stock_rejected", &row.stock_rejected, &stream.stock_rejected);
    out.same(CHECK, &subject, "payment_id", &row.payment_id, &stream.payment_id);
    out.same(CHECK, &subject, "payment_declined", &row.payment_declined, &stream.payment_declined);
}

/// Compares the view.
pub(super) fn view(order_id: Uuid, row: Option<&ViewRow>, stream: &Stream<'_>, out: &mut Comparisons) {
    const CHECK: Check = Check::OrderViews;
    let subject = format!("the view of order {order_id}");
    let Some(row) = row else {
        out.violated(CHECK, format!("{subject} is not there"));
        return;
    };
    let placed = stream.placed;
    let stage = match (stream.status, stream.reservation_id) {
        ("placed", Some(_)) => "stock_reserved",
        (status, _) => status,
    };
    let payment_id = stream.payment_id.filter(|_| stream.status == "confirmed");
    out.same(CHECK, &subject, "order_id", &row.order_id, &order_id);
    out.same_hidden(CHECK, &subject, "customer_id", &row.customer_id, &placed.customer_id);
    out.same(CHECK, &subject, "version", &row.version, &stream.version);
    out.same(CHECK, &subject, "status", &row.status.as_str(), &stream.status);
    out.same(CHECK, &subject, "stage", &row.stage.as_str(), &stage);
    out.same(CHECK, &subject, "reason", &row.reason.as_deref(), &stream.reason);
    out.same(CHECK, &subject, "detail", &row.detail, &stream.detail);
    out.same(CHECK, &subject, "payment_id", &row.payment_id, &payment_id);
    out.same(CHECK, &subject, "currency", &row.currency, &placed.currency);
    out.same(CHECK, &subject, "total_minor", &row.total_minor, &placed.total_minor);
    out.same(CHECK, &subject, "placed_at", &row.placed_at, &placed.occurred_at);
    out.same(CHECK, &subject, "updated_at", &row.updated_at, &stream.updated_at);
    out.same(CHECK, &subject, "ended_at", &row.ended_at, &stream.ended_at);
    out.same_hidden(CHECK, &subject, "placement", &row.placement, &placement(placed));
}

/// Compares the deadline: one of each open order.
pub(super) fn deadline(
    order_id: Uuid,
    row: Option<&DeadlineRow>,
    stream: &Stream<'_>,
    out: &mut Comparisons,
) {
    let found = row.map(|row| (row.order_id, row.deadline_at));
    let expected = stream.due_at.filter(|_| stream.status == "placed").map(|at| (order_id, at));
    out.same(Check::Deadlines, &format!("order {order_id}"), "its deadline", &found, &expected);
}
