//! A batch of events as a unit of work: missing rows first, then all locks in one sorted statement.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use contracts::AnyEvent;
use contracts::clock::now;
use inbox::{HandlerError, Received, Rejection, UnitOfWork};
use sqlx::PgConnection;
use sqlx::types::Json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::mails::insert;
use super::row::OrderRow;
use crate::adapters::rendering::Renderer;
use crate::application::mail::Recipient;
use crate::application::{Entry, Orders};

/// What a batch of notification's events needs.
#[derive(Debug)]
pub struct BatchDeps {
    /// Writes the mails.
    pub renderer: Renderer,
    /// Wakes the mailer.
    pub wake: Arc<Notify>,
}

impl UnitOfWork for Orders {
    type Event = AnyEvent;
    type Deps = BatchDeps;

    async fn load(
        _: &BatchDeps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let order_ids: BTreeSet<Uuid> =
            events.iter().filter_map(|received| order_id(&received.event)).collect();
        let order_ids: Vec<Uuid> = order_ids.into_iter().collect();
        sqlx::query(
            "INSERT INTO orders (order_id, updated_at)
             SELECT order_id, $2 FROM UNNEST($1::uuid[]) AS missing (order_id) ORDER BY order_id
             ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(&order_ids)
        .bind(now())
        .execute(&mut *conn)
        .await?;
        let rows: Vec<OrderRow> = sqlx::query_as(
            "SELECT order_id, recipient_status, total_minor, currency, status, cancellation_reason, refunded_minor,
                 refund_currency, updated_at
             FROM orders WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
        )
        .bind(&order_ids)
        .fetch_all(&mut *conn)
        .await?;
        let mut recipients = recipients(conn, &order_ids).await?;
        let entries: Result<Vec<Entry>, sqlx::Error> = rows
            .into_iter()
            .map(|row| {
                let recipient = recipients.remove(&row.order_id);
                row.into_entry(recipient)
            })
            .collect();
        Ok(Self::new(entries?))
    }

    async fn store(self, deps: &BatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let (entries, drafts) = self.into_changes();
        let mut mails = Vec::with_capacity(drafts.len());
        for draft in &drafts {
            let rendered = deps.renderer.render(draft).map_err(|error| HandlerError::Rejected {
                event_id: draft.event_id,
                rejection: Rejection::new("not_renderable", error.to_string()),
            })?;
            mails.push((draft, rendered));
        }
        update(conn, &entries).await?;
        Ok(insert(conn, &mails).await?)
    }

    fn committed(deps: &BatchDeps) {
        deps.wake.notify_one();
    }
}

/// Whom the orders' first mails went to. A statement of its own, after the locks: the one that waits for a lock would
/// not see what the transaction waited for has just inserted.
async fn recipients(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<HashMap<Uuid, Recipient>, sqlx::Error> {
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT order_id, recipient_name, recipient_email FROM mails
         WHERE order_id = ANY($1) AND kind = 'order_received'",
    )
    .bind(order_ids)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(order_id, name, email)| (order_id, Recipient { name, email })).collect())
}

async fn update(conn: &mut PgConnection, entries: &[Entry]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let rows: Vec<OrderRow> = entries.iter().map(OrderRow::from_entry).collect();
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

/// The order that an event of notification's subscriptions concerns.
fn order_id(event: &AnyEvent) -> Option<Uuid> {
    match event {
        AnyEvent::OrderPlaced(event) => Some(event.order_id),
        AnyEvent::OrderConfirmed(event) => Some(event.order_id),
        AnyEvent::OrderCancelled(event) => Some(event.order_id),
        AnyEvent::PaymentRefunded(event) => Some(event.order_id),
        AnyEvent::StockReserved(_)
        | AnyEvent::StockReleased(_)
        | AnyEvent::StockRejected(_)
        | AnyEvent::PaymentCompleted(_)
        | AnyEvent::PaymentDeclined(_)
        | AnyEvent::StockReplenished(_)
        | AnyEvent::StockLevelLow(_) => None,
    }
}
