//! What other services say of an order, and its way through the inbox.

use contracts::payment::{PaymentCompleted, PaymentDeclined};
use contracts::reservation::{StockRejected, StockReserved};
use contracts::{AnyEvent, Cause, Envelope, Event, TraceContext, clock};
use database::Database;
use events::Subscribe as _;
use inbox::Subscriptions;
use order::adapters::postgres::{Batch, BatchDeps};
use order::domain::OrderId;
use order::handlers;
use uuid::Uuid;

/// What main.rs subscribes to.
pub(crate) fn subscriptions() -> Subscriptions<Batch> {
    Subscriptions::new()
        .on::<StockReserved>(handlers::stock_reserved)
        .on::<StockRejected>(handlers::stock_rejected)
        .on::<PaymentCompleted>(handlers::payment_completed)
        .on::<PaymentDeclined>(handlers::payment_declined)
}

/// Applies these events as one batch on this database, as the inbox would.
pub(crate) async fn apply(database: &Database, deps: BatchDeps, events: Vec<AnyEvent>) {
    let cause = Cause {
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let enveloped = |event| (Envelope::of(&event, "another service", &cause), event);
    let events = events.into_iter().map(enveloped).collect();
    inbox::testing::apply(database, &subscriptions(), &deps, events).await.unwrap();
}

/// What [`valid_order`](crate::stack::valid_order) costs.
const TOTAL_MINOR: i64 = 1_530;

pub(crate) fn payment_id(order_id: OrderId) -> Uuid {
    Uuid::new_v5(&order_id.0, b"payment")
}

pub(crate) fn stock_reserved(order_id: OrderId) -> AnyEvent {
    StockReserved {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id: order_id.0,
        sequence: 1,
        reservation_id: Uuid::new_v5(&order_id.0, b"reservation"),
        lines: Vec::new(),
    }
    .into_any()
}

pub(crate) fn stock_rejected(order_id: OrderId) -> AnyEvent {
    StockRejected {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id: order_id.0,
        sequence: 1,
        shortages: Vec::new(),
    }
    .into_any()
}

pub(crate) fn payment_completed(order_id: OrderId) -> AnyEvent {
    PaymentCompleted {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id: order_id.0,
        sequence: 1,
        payment_id: payment_id(order_id),
        amount_minor: TOTAL_MINOR,
        currency: "GBP".to_owned(),
        transaction_id: "tx".to_owned(),
    }
    .into_any()
}

pub(crate) fn payment_declined(order_id: OrderId) -> AnyEvent {
    PaymentDeclined {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id: order_id.0,
        sequence: 1,
        payment_id: payment_id(order_id),
        amount_minor: TOTAL_MINOR,
        currency: "GBP".to_owned(),
        reason: "card expired".to_owned(),
    }
    .into_any()
}
