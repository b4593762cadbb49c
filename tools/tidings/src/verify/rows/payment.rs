//! The rows of payment's tables, and of the provider's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::verify::keys::Keys;

/// payment's rows, and the provider's.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(in crate::verify) payments: BTreeMap<Uuid, PaymentRow>,
    pub(in crate::verify) steps: BTreeMap<Uuid, Vec<StepRow>>,
    pub(in crate::verify) accounts: BTreeMap<Uuid, String>,
    /// What the provider holds that belongs to no payment.
    pub(in crate::verify) ownerless: Vec<(Uuid, String)>,
}

/// A row of `payments`.
#[derive(Clone, Debug, FromRow)]
pub struct PaymentRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) payment_id: Uuid,
    pub(in crate::verify) state: String,
    pub(in crate::verify) call_state: Option<String>,
    pub(in crate::verify) amount_minor: Option<i64>,
    pub(in crate::verify) currency: Option<String>,
    pub(in crate::verify) payment_method: Option<String>,
    pub(in crate::verify) authorization_id: Option<String>,
    pub(in crate::verify) capture_id: Option<String>,
    pub(in crate::verify) refund_id: Option<Uuid>,
    pub(in crate::verify) refund_transaction_id: Option<String>,
    pub(in crate::verify) decline_reason: Option<String>,
    pub(in crate::verify) last_sequence: i64,
    pub(in crate::verify) last_message_id: Option<i64>,
    pub(in crate::verify) due_at: Option<DateTime<Utc>>,
    pub(in crate::verify) lease_id: Option<Uuid>,
    pub(in crate::verify) correlation_id: Option<Uuid>,
    pub(in crate::verify) causation_id: Option<Uuid>,
    pub(in crate::verify) user_id: Option<String>,
    pub(in crate::verify) traceparent: Option<String>,
    pub(in crate::verify) tracestate: Option<String>,
    pub(in crate::verify) updated_at: DateTime<Utc>,
}

/// A row of the provider's ledger.
#[derive(Clone, Debug, FromRow)]
pub struct StepRow {
    pub(in crate::verify) payment_id: Uuid,
    pub(in crate::verify) step: String,
    pub(in crate::verify) approved: bool,
    pub(in crate::verify) reason: Option<String>,
    pub(in crate::verify) transaction_id: String,
    pub(in crate::verify) amount_minor: i64,
    pub(in crate::verify) currency: String,
    pub(in crate::verify) recorded_at: DateTime<Utc>,
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
    pub fn steps_of(&self, payment_id: Uuid) -> &[StepRow] {
        self.steps.get(&payment_id).map_or(&[][..], Vec::as_slice)
    }
}

impl PaymentRow {
    /// Whether the saga has a step to do.
    pub const fn is_under_way(&self) -> bool {
        self.call_state.is_some()
    }

    /// Whether it had published its event of this number.
    pub const fn has_published(&self, sequence: i64) -> bool {
        sequence <= self.last_sequence
    }
}
