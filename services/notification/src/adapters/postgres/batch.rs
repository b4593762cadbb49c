//! A batch of events as a unit of work: its orders, locked, and the mails that their events lead to.

use std::collections::BTreeSet;
use std::sync::Arc;

use contracts::AnyEvent;
use inbox::{Context, HandlerError, Locked, Received, Rejection, UnitOfWork};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use super::mails::insert;
use super::orders::{OrderRecord, delete_unused, lock, update};
use crate::adapters::rendering::{Rendered, Renderer};
use crate::application::mail::{Draft, Introduction};
use crate::domain::{Notification, Order, OrderId, Refusal};

#[derive(Clone)]
pub struct Batch {
    orders: Locked<OrderId, OrderRecord>,
    mails: Vec<(Draft, Rendered)>,
    renderer: Renderer,
}

#[derive(Debug)]
pub struct BatchDeps {
    pub renderer: Renderer,
    /// Wakes the mailer.
    pub wake: Arc<Notify>,
}

impl Batch {
    /// Lets an event change what is known of the order, and renders the mails that follow from it.
    pub fn change(
        &mut self,
        order_id: OrderId,
        context: Context<'_>,
        introduction: Option<Introduction>,
        event: impl FnOnce(&mut Order) -> Result<Vec<Notification>, Refusal>,
    ) -> Result<(), Rejection> {
        let drafts = self.orders.change(&order_id, |record| record.change(context, introduction, event))?;
        for draft in drafts.unwrap_or_default() {
            let rendered = self.renderer.render(&draft);
            let rendered = rendered.map_err(|error| Rejection::new("not_renderable", error.to_string()))?;
            self.mails.push((draft, rendered));
        }
        Ok(())
    }
}

impl OrderRecord {
    fn change(
        &mut self,
        context: Context<'_>,
        introduction: Option<Introduction>,
        event: impl FnOnce(&mut Order) -> Result<Vec<Notification>, Refusal>,
    ) -> Result<Vec<Draft>, Rejection> {
        let before = self.order.clone();
        let notifications = event(&mut self.order)?;
        if self.order == before {
            return Ok(Vec::new());
        }
        let (recipient, mut contents) = introduction.map(|it| (it.recipient, it.contents)).unzip();
        self.recipient = self.recipient.take().or(recipient);
        self.updated_at = context.now;
        let draft = |notification| {
            let order_id = self.order.order_id;
            let (Some(recipient), Some(total)) = (&self.recipient, self.order.recipient_status.total())
            else {
                let detail = format!("order {} has a notification and no recipient", order_id.0);
                return Err(Rejection::new("recipient_missing", detail));
            };
            Ok(Draft {
                order_id,
                contents: if notification == Notification::OrderReceived { contents.take() } else { None },
                notification,
                recipient: recipient.clone(),
                total: total.clone(),
                event_id: context.envelope.event_id,
                trace: context.envelope.trace.clone(),
                created_at: context.now,
            })
        };
        notifications.into_iter().map(draft).collect()
    }
}

impl UnitOfWork for Batch {
    type Event = AnyEvent;
    type Deps = BatchDeps;

    async fn load(
        deps: &BatchDeps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let order_ids: BTreeSet<Uuid> =
            events.iter().filter_map(|received| received.event.order_id()).collect();
        let order_ids: Vec<Uuid> = order_ids.into_iter().collect();
        let orders = lock(conn, &order_ids).await?;
        Ok(Self { orders, mails: Vec::new(), renderer: deps.renderer.clone() })
    }

    async fn store(self, _: &BatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        delete_unused(&mut *conn, &self.orders).await?;
        update(conn, self.orders.changed().map(|(_, record)| record)).await?;
        Ok(insert(conn, &self.mails).await?)
    }

    fn committed(deps: &BatchDeps) {
        deps.wake.notify_one();
    }
}
