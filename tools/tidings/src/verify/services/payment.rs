//! payment's tables, and those of the built-in provider.

mod ledger;

use contracts::Topic;
use contracts::order::{OrderCancelled, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::StockReserved;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::{Case, Occurrence, Published, first, first_of};
use crate::verify::check::Check;
use crate::verify::history::trace_id;
use crate::verify::report::Comparisons;
use crate::verify::rows::payment::{PaymentRow, StepRow};

const PAYMENT: ServiceName = ServiceName::Payment;

/// Compares payment's tables with what it has applied and published, and with the provider's books.
pub(in crate::verify) fn orders(case: &Case<'_>, out: &mut Comparisons) {
    let rows = &case.snapshot.payment;
    for order_id in case.orders.keys() {
        let is_known = !case.applied(PAYMENT, *order_id).is_empty();
        out.holds(Check::Payments, !is_known || rows.payments.contains_key(order_id), || {
            format!("order {order_id}: payment has applied an event of it and has no row")
        });
    }
    for (order_id, row) in &rows.payments {
        let counters = (row.last_sequence, row.last_message_id);
        let published = case.aggregate(out, PAYMENT, Topic::Payments, &order_id.to_string(), counters);
        let applied = case.applied(PAYMENT, *order_id);
        timeline(case, row, &applied, out);
        if row.is_under_way() {
            let what = format!("order {order_id}: its payment has a step to do ({})", row.state);
            out.not_compared(Check::Payments, what);
            continue;
        }
        payment(row, &applied, &published, rows.steps_of(row.payment_id), out);
        ledger::check(case, row, &applied, out);
    }
}

/// Every line of the provider's books belongs to a payment.
pub(in crate::verify) fn whole(case: &Case<'_>, out: &mut Comparisons) {
    for (payment_id, what) in &case.snapshot.payment.ownerless {
        out.violated(
            Check::ProviderLedger,
            format!("payment {payment_id}: the provider has a {what}, and payment no such row"),
        );
    }
}

fn payment(
    row: &PaymentRow,
    applied: &[Occurrence<'_>],
    published: &[Published<'_>],
    steps: &[StepRow],
    out: &mut Comparisons,
) {
    const CHECK: Check = Check::Payments;
    let subject = format!("the payment of order {}", row.order_id);
    let placed = first::<OrderPlaced>(applied).map(|(placed, _)| placed);
    let (completed, declined) =
        (first_of::<PaymentCompleted>(published), first_of::<PaymentDeclined>(published));
    let refunded = first_of::<PaymentRefunded>(published);
    let is_cancelled = first::<OrderCancelled>(applied).is_some();
    let is_reserved = first::<StockReserved>(applied).is_some();
    let expected = match (placed, is_reserved) {
        _ if refunded.is_some() => "refunded",
        _ if completed.is_some() && is_cancelled => "refunded, and announced",
        _ if completed.is_some() => "completed",
        _ if declined.is_some() => "declined",
        _ if is_cancelled && steps.is_empty() => "cancelled",
        _ if is_cancelled => "voided",
        (Some(_), true) => "under way",
        (Some(_), false) => "awaiting_stock",
        (None, true) => "awaiting_order",
        (None, false) => "unknown",
    };
    out.same(CHECK, &subject, "state", &row.state.as_str(), &expected);
    let is_charged = !["unknown", "awaiting_order", "cancelled"].contains(&expected);
    let charge = placed.filter(|_| is_charged);
    out.same(CHECK, &subject, "amount_minor", &row.amount_minor, &charge.map(|placed| placed.total_minor));
    out.same(CHECK, &subject, "currency", &row.currency.as_ref(), &charge.map(|placed| &placed.currency));
    let method = charge.map(|placed| &placed.payment_method);
    out.same_hidden(CHECK, &subject, "payment_method", &row.payment_method.as_ref(), &method);
    let transaction = |name: &str| {
        let step = steps.iter().find(|step| step.step == name && step.approved);
        step.map(|step| step.transaction_id.clone())
    };
    out.same(CHECK, &subject, "authorization_id", &row.authorization_id, &None);
    out.same(CHECK, &subject, "capture_id", &row.capture_id, &transaction("capture"));
    out.same(CHECK, &subject, "refund_transaction_id", &row.refund_transaction_id, &transaction("refund"));
    if let Some(completed) = completed {
        let captured = Some(&completed.transaction_id);
        out.same(CHECK, &subject, "capture_id", &row.capture_id.as_ref(), &captured);
    }
    out.same(CHECK, &subject, "refund_id", &row.refund_id, &refunded.map(|event| event.refund_id));
    let reason = declined.map(|event| &event.reason);
    out.same(CHECK, &subject, "decline_reason", &row.decline_reason.as_ref(), &reason);
    let ids = [
        completed.map(|event| event.payment_id),
        declined.map(|event| event.payment_id),
        refunded.map(|event| event.payment_id),
    ];
    for id in ids.into_iter().flatten() {
        out.same(CHECK, &subject, "payment_id", &row.payment_id, &id);
    }
    out.same(CHECK, &subject, "a step is due", &(row.due_at.is_some() || row.lease_id.is_some()), &false);
}

/// What led to the present state is one of the events that were applied.
fn timeline(case: &Case<'_>, row: &PaymentRow, applied: &[Occurrence<'_>], out: &mut Comparisons) {
    const CHECK: Check = Check::Payments;
    let subject = format!("the payment of order {}", row.order_id);
    let cause = applied.iter().find(|it| Some(it.event.event_id()) == row.causation_id);
    out.holds(CHECK, cause.is_some() || applied.is_empty(), || {
        format!("{subject}: causation_id {:?} is no event that payment has applied", row.causation_id)
    });
    let Some(cause) = cause else { return };
    let correlation_id = cause.record.header("ce_correlationid").and_then(|id| Uuid::parse_str(id).ok());
    out.same(CHECK, &subject, "correlation_id", &row.correlation_id, &correlation_id);
    out.same_hidden(CHECK, &subject, "user_id", &row.user_id.as_deref(), &cause.record.header("ce_userid"));
    let trace = trace_id(row.traceparent.as_deref());
    out.same(CHECK, &subject, "the trace's id", &trace, &cause.record.trace_id());
    out.same(CHECK, &subject, "tracestate", &row.tracestate.as_deref(), &cause.record.header("tracestate"));
    let times = (cause.event.occurred_at(), case.taken_at(PAYMENT));
    case.plausible(out, CHECK, &subject, "updated_at", row.updated_at, times);
}
