//! The table `orders`: what is known of each order, locked in order and written back together.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::clock::now;
use inbox::Locked;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::application::mail::Recipient;
use crate::domain::{End, Money, Order, OrderId, Reason, RecipientStatus};

/// One order with its recipient, who is stored in its first mail only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderRecord {
    pub(super) order: Order,
    pub(super) recipient: Option<Recipient>,
    pub(super) updated_at: DateTime<Utc>,
}

/// The status of a recipient who stands in the order's first mail.
const PRESENT: &str = "present";

/// One row of `orders`, its columns by name.
#[derive(Clone, Debug, Serialize, sqlx_macros::FromRow)]
struct OrderRow {
    order_id: Uuid,
    recipient_status: String,
    total_minor: Option<i64>,
    currency: Option<String>,
    status: Option<String>,
    cancellation_reason: Option<String>,
    refunded_minor: Option<i64>,
    refund_currency: Option<String>,
    updated_at: DateTime<Utc>,
}

/// A row as it was locked.
#[derive(sqlx_macros::FromRow)]
struct LockedRow {
    #[sqlx(flatten)]
    row: OrderRow,
    /// By this transaction.
    is_inserted: bool,
}

/// Inserts the rows that are missing, and locks all of them, in order (docs/adr/0007).
pub(super) async fn lock(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Locked<OrderId, OrderRecord>, sqlx::Error> {
    let mut rows: Vec<LockedRow> = sqlx::query_as(
        "WITH inserted AS (
             INSERT INTO orders (order_id, updated_at)
             SELECT order_id, $2 FROM UNNEST($1::uuid[]) AS missing (order_id) ORDER BY order_id
             ON CONFLICT (order_id) DO NOTHING
             RETURNING order_id, recipient_status, total_minor, currency, status, cancellation_reason,
                 refunded_minor, refund_currency, updated_at
         ), locked AS (
             SELECT order_id, recipient_status, total_minor, currency, status, cancellation_reason,
                 refunded_minor, refund_currency, updated_at
             FROM orders
             WHERE order_id = ANY($1)
               AND (SELECT count(*) FROM inserted)
                   + (SELECT count(*) FROM orders WHERE order_id = ANY($1)) = cardinality($1)
             ORDER BY order_id FOR UPDATE
         )
         SELECT *, true AS is_inserted FROM inserted UNION ALL SELECT *, false FROM locked",
    )
    .bind(order_ids)
    .bind(now())
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Vec<Uuid> = rows.iter().filter(|row| row.is_inserted).map(|row| row.row.order_id).collect();
    if rows.len() < order_ids.len() {
        rows = sqlx::query_as(
            "SELECT order_id, recipient_status, total_minor, currency, status, cancellation_reason, refunded_minor,
                 refund_currency, updated_at, false AS is_inserted
             FROM orders WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
        )
        .bind(order_ids)
        .fetch_all(&mut *conn)
        .await?;
    }
    let has_recipient = |row: &&LockedRow| row.row.recipient_status == PRESENT;
    let with_recipient: Vec<Uuid> = rows.iter().filter(has_recipient).map(|row| row.row.order_id).collect();
    let mut recipients = recipients(conn, &with_recipient).await?;
    let record = |row: LockedRow| Ok((OrderId(row.row.order_id), row.row.into_record(&mut recipients)?));
    let records = rows.into_iter().map(record).collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Locked::new(records).with_inserted(inserted.into_iter().map(OrderId)))
}

/// Deletes the rows of orders of which no event was accepted.
pub(super) async fn delete_unused(
    conn: &mut PgConnection,
    orders: &Locked<OrderId, OrderRecord>,
) -> Result<(), sqlx::Error> {
    let unused: Vec<Uuid> = orders.unused().map(|id| id.0).collect();
    if !unused.is_empty() {
        sqlx::query("DELETE FROM orders WHERE order_id = ANY($1)").bind(unused).execute(conn).await?;
    }
    Ok(())
}

/// The recipients of the orders' first mails. A statement of its own, after the locks: the one that waits for a lock
/// would not see what the transaction waited for has just inserted.
async fn recipients(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<HashMap<Uuid, Recipient>, sqlx::Error> {
    if order_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT order_id, recipient_name, recipient_email FROM mails
         WHERE order_id = ANY($1) AND kind = 'order_received'",
    )
    .bind(order_ids)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(order_id, name, email)| (order_id, Recipient { name, email })).collect())
}

/// Writes the records back to their rows, which the caller holds locked.
pub(super) async fn update<'a>(
    conn: &mut PgConnection,
    records: impl Iterator<Item = &'a OrderRecord>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<OrderRow> = records.map(OrderRow::from_record).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE orders SET
             recipient_status = new.recipient_status, total_minor = new.total_minor, currency = new.currency,
             status = new.status, cancellation_reason = new.cancellation_reason,
             refunded_minor = new.refunded_minor, refund_currency = new.refund_currency,
             updated_at = new.updated_at
         FROM jsonb_populate_recordset(NULL::orders, $1) AS new
         WHERE orders.order_id = new.order_id",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}

impl OrderRow {
    fn from_record(record: &OrderRecord) -> Self {
        let Order { order_id, recipient_status, end, refund } = &record.order;
        let total = recipient_status.total();
        let (status, reason) = match end {
            None => (None, None),
            Some(End::Confirmed) => (Some("confirmed"), None),
            Some(End::Cancelled(reason)) => (Some("cancelled"), Some(reason.name())),
        };
        Self {
            order_id: order_id.0,
            recipient_status: match recipient_status {
                RecipientStatus::Unknown => "unknown",
                RecipientStatus::Absent { .. } => "absent",
                RecipientStatus::Present { .. } => PRESENT,
            }
            .to_owned(),
            total_minor: total.map(|total| total.amount_minor),
            currency: total.map(|total| total.currency.clone()),
            status: status.map(str::to_owned),
            cancellation_reason: reason.map(str::to_owned),
            refunded_minor: refund.as_ref().map(|refund| refund.amount_minor),
            refund_currency: refund.as_ref().map(|refund| refund.currency.clone()),
            updated_at: record.updated_at,
        }
    }

    fn into_record(self, recipients: &mut HashMap<Uuid, Recipient>) -> Result<OrderRecord, sqlx::Error> {
        let order = self.order().ok_or_else(|| {
            sqlx::Error::Decode(format!("the row of order {} is inconsistent", self.order_id).into())
        })?;
        let recipient = recipients.remove(&self.order_id);
        Ok(OrderRecord { order, recipient, updated_at: self.updated_at })
    }

    /// `None` when a column is missing that the others need; the table's checks forbid that.
    fn order(&self) -> Option<Order> {
        let money = |amount_minor: Option<i64>, currency: &Option<String>| {
            Some(Money { amount_minor: amount_minor?, currency: currency.clone()? })
        };
        let total = money(self.total_minor, &self.currency);
        let recipient_status = match (self.recipient_status.as_str(), total) {
            ("unknown", None) => RecipientStatus::Unknown,
            ("absent", Some(total)) => RecipientStatus::Absent { total },
            (PRESENT, Some(total)) => RecipientStatus::Present { total },
            _ => return None,
        };
        let end = match (self.status.as_deref(), self.cancellation_reason.as_deref()) {
            (None, None) => None,
            (Some("confirmed"), None) => Some(End::Confirmed),
            (Some("cancelled"), Some(reason)) => {
                Some(End::Cancelled(Reason::ALL.into_iter().find(|known| known.name() == reason)?))
            }
            _ => return None,
        };
        let refund = money(self.refunded_minor, &self.refund_currency);
        Some(Order { order_id: OrderId(self.order_id), recipient_status, end, refund })
    }
}
