//! payment's tables, and those of the built-in provider.

mod ledger;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::Topic;
use contracts::order::{OrderCancelled, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::StockReserved;
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::{Case, Occurrence, Published, first, first_of};
use crate::verify::check::Check;
use crate::verify::history::trace_id;
use crate::verify::keys::Keys;
use crate::verify::report::Comparisons;

const PAYMENT: ServiceName = ServiceName::Payment;

/// payment's rows, and the provider's.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(in crate::verify) payments: BTreeMap<Uuid, PaymentRow>,
    steps: BTreeMap<Uuid, Vec<StepRow>>,
    accounts: BTreeMap<Uuid, String>,
    /// What the provider holds that belongs to no payment.
    ownerless: Vec<(Uuid, String)>,
}

/// A row of `payments`.
#[derive(Clone, Debug, FromRow)]
pub struct PaymentRow {
    order_id: Uuid,
    pub(in crate::verify) payment_id: Uuid,
    state: String,
    call_state: Option<String>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    payment_method: Option<String>,
    authorization_id: Option<String>,
    capture_id: Option<String>,
    refund_id: Option<Uuid>,
    refund_transaction_id: Option<String>,
    decline_reason: Option<String>,
    last_sequence: i64,
    last_message_id: Option<i64>,
    due_at: Option<DateTime<Utc>>,
    lease_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    user_id: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    updated_at: DateTime<Utc>,
}

/// A row of the provider's ledger.
#[derive(Clone, Debug, FromRow)]
pub struct StepRow {
    payment_id: Uuid,
    pub(in crate::verify) step: String,
    pub(in crate::verify) approved: bool,
    reason: Option<String>,
    transaction_id: String,
    pub(in crate::verify) amount_minor: i64,
    pub(in crate::verify) currency: String,
    recorded_at: DateTime<Utc>,
}

/// Reads what the provider holds that belongs to no payment.
///
/// # Errors
/// When the database refuses.
pub(in crate::verify) async fn read(conn: &mut PgConnection) -> sqlx::Result<Rows> {
    Ok(Rows {
        ownerless: sqlx::query_as(
            "SELECT l.payment_id, 'step ' || l.step || ' over ' || l.amount_minor || ' ' || l.currency FROM provider.ledger l
             WHERE NOT EXISTS (SELECT FROM payments p WHERE p.payment_id = l.payment_id)
             UNION ALL
             SELECT a.payment_id, 'account that is ' || a.status FROM provider.accounts a
             WHERE NOT EXISTS (SELECT FROM payments p WHERE p.payment_id = a.payment_id)
             UNION ALL
             SELECT i.payment_id, 'interruption of ' || i.step FROM provider.interruptions i
             WHERE NOT EXISTS (SELECT FROM payments p WHERE p.payment_id = i.payment_id)
                 OR i.step NOT IN ('authorize', 'check_fraud', 'capture', 'void', 'refund')",
        )
        .fetch_all(conn)
        .await?,
        ..Rows::default()
    })
}

impl Rows {
    /// Keeps the payments of these orders only.
    pub(in crate::verify) fn retain(&mut self, keep: &dyn Fn(&Uuid) -> bool) {
        self.payments.retain(|id, _| keep(id));
    }

    /// How many events of an order's payment it says to have published.
    pub(in crate::verify) fn last_sequence(&self, order_id: Uuid) -> i64 {
        self.payments.get(&order_id).map_or(0, |row| row.last_sequence)
    }

    /// The last message of each payment.
    pub(in crate::verify) fn last_messages(&self) -> Vec<i64> {
        self.payments.values().filter_map(|row| row.last_message_id).collect()
    }

    /// Adds the payments of these orders, and what the provider holds for them.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_orders(
        &mut self,
        conn: &mut PgConnection,
        keys: &Keys,
    ) -> sqlx::Result<()> {
        let payments: Vec<PaymentRow> = keys.bind(sqlx::query_as("SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
                 capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
                 lease_id, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
             FROM payments WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))"))
        .fetch_all(&mut *conn)
        .await?;
        let steps: Vec<StepRow> = keys.bind(sqlx::query_as("SELECT l.payment_id, l.step, l.approved, l.reason, l.transaction_id, l.amount_minor, l.currency, l.recorded_at
             FROM payments p JOIN provider.ledger l USING (payment_id)
             WHERE p.order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR p.order_id = ANY($3)) ORDER BY l.payment_id, l.recorded_at, l.transaction_id"))
        .fetch_all(&mut *conn)
        .await?;
        let accounts: Vec<(Uuid, String)> = keys
            .bind(sqlx::query_as(
                "SELECT a.payment_id, a.status FROM payments p JOIN provider.accounts a USING (payment_id)
             WHERE p.order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR p.order_id = ANY($3))",
            ))
            .fetch_all(conn)
            .await?;
        self.payments.extend(payments.into_iter().map(|row| (row.order_id, row)));
        self.accounts.extend(accounts);
        steps.into_iter().for_each(|row| self.steps.entry(row.payment_id).or_default().push(row));
        Ok(())
    }

    /// The steps at the provider, in order.
    #[must_use]
    pub fn steps_of(&self, payment_id: Uuid) -> &[StepRow] {
        self.steps.get(&payment_id).map_or(&[][..], Vec::as_slice)
    }
}

impl PaymentRow {
    /// Whether the saga has a step to do.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.call_state.is_some()
    }

    /// Whether it had published its event of this number.
    #[must_use]
    pub const fn has_published(&self, sequence: i64) -> bool {
        sequence <= self.last_sequence
    }
}

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
        story(case, row, &applied, out);
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
fn story(case: &Case<'_>, row: &PaymentRow, applied: &[Occurrence<'_>], out: &mut Comparisons) {
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
