//! The rows of notification's tables.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::verify::keys::Keys;

/// notification's rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The one domain that all Message-IDs end in: that of most mails.
    pub(in crate::verify) domain: Option<String>,
    pub(in crate::verify) orders: BTreeMap<Uuid, OrderRow>,
    pub(in crate::verify) mails: BTreeMap<Uuid, Vec<MailRow>>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct OrderRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) recipient_status: String,
    pub(in crate::verify) total_minor: Option<i64>,
    pub(in crate::verify) currency: Option<String>,
    pub(in crate::verify) status: Option<String>,
    pub(in crate::verify) cancellation_reason: Option<String>,
    pub(in crate::verify) refunded_minor: Option<i64>,
    pub(in crate::verify) refund_currency: Option<String>,
    pub(in crate::verify) updated_at: DateTime<Utc>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct MailRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) kind: String,
    pub(in crate::verify) message_id: String,
    pub(in crate::verify) recipient_name: String,
    pub(in crate::verify) recipient_email: String,
    pub(in crate::verify) subject: String,
    pub(in crate::verify) body_text: String,
    pub(in crate::verify) body_html: String,
    pub(in crate::verify) state: String,
    pub(in crate::verify) last_error: Option<String>,
    pub(in crate::verify) attempts: i32,
    pub(in crate::verify) lease_id: Option<Uuid>,
    pub(in crate::verify) traceparent: Option<String>,
    pub(in crate::verify) tracestate: Option<String>,
    pub(in crate::verify) created_at: DateTime<Utc>,
    pub(in crate::verify) completed_at: Option<DateTime<Utc>>,
}

/// Reads what all mails have in common.
///
/// # Errors
/// When the database refuses.
pub(in crate::verify) async fn read(conn: &mut PgConnection) -> sqlx::Result<Rows> {
    let domain = sqlx::query_scalar(
        "SELECT substring(message_id FROM '@([^@>]*)>$') FROM mails GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    )
    .fetch_optional(conn)
    .await?;
    Ok(Rows { domain: domain.flatten(), ..Rows::default() })
}

impl Rows {
    /// Adds the rows of these orders.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_orders(
        &mut self,
        conn: &mut PgConnection,
        keys: &Keys,
    ) -> sqlx::Result<()> {
        let orders: Vec<OrderRow> = keys.bind(sqlx::query_as("SELECT order_id, recipient_status, total_minor, currency, status, cancellation_reason, refunded_minor,
                 refund_currency, updated_at
             FROM orders WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))"))
        .fetch_all(&mut *conn)
        .await?;
        let mails: Vec<MailRow> = keys.bind(sqlx::query_as("SELECT order_id, kind, message_id, recipient_name, recipient_email, subject, body_text, body_html, state,
                 last_error, attempts, lease_id, traceparent, tracestate, created_at, completed_at
             FROM mails WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3)) ORDER BY order_id, kind"))
        .fetch_all(conn)
        .await?;
        self.orders.extend(orders.into_iter().map(|row| (row.order_id, row)));
        mails.into_iter().for_each(|row| self.mails.entry(row.order_id).or_default().push(row));
        Ok(())
    }

    /// Keeps the rows of these orders only.
    pub(in crate::verify) fn retain(&mut self, keep: &dyn Fn(&Uuid) -> bool) {
        self.orders.retain(|id, _| keep(id));
        self.mails.retain(|id, _| keep(id));
    }

    /// Whether there were mails.
    pub(in crate::verify) const fn has_domain(&self) -> bool {
        self.domain.is_some()
    }

    /// What all mails have in common.
    pub(in crate::verify) fn without_rows(&self) -> Self {
        Self { domain: self.domain.clone(), ..Self::default() }
    }
}
