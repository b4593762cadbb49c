//! What each subscribed event adds: translated, then counted.

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::reservation::StockReserved;
use contracts::stock::{StockLevelLow, StockReplenished};
use events::Subscribe as _;
use inbox::{Rejection, Subscriptions};
use uuid::Uuid;

use super::contract;
use super::postgres::ReadModels;
use crate::domain::{OrderFact, OrderId};

/// What analytics listens to, live and while rebuilding.
#[must_use]
pub fn subscriptions() -> Subscriptions<ReadModels> {
    Subscriptions::new()
        .on::<OrderPlaced>(|models, event, _| count(models, event.order_id, &contract::placed(event)))
        .on::<StockReserved>(|models, event, _| count(models, event.order_id, &OrderFact::Reserved))
        .on::<PaymentCompleted>(|models, event, _| count(models, event.order_id, &OrderFact::Paid))
        .on::<OrderConfirmed>(|models, event, _| {
            count(models, event.order_id, &OrderFact::Confirmed(event.occurred_at))
        })
        .on::<OrderCancelled>(|models, event, _| count(models, event.order_id, &contract::cancelled(event)))
        .on::<StockLevelLow>(|models, event, _| {
            models.counting.stock(&event.sku, &contract::fell_low(event));
            Ok(())
        })
        .on::<StockReplenished>(|models, event, _| {
            models.counting.stock(&event.sku, &contract::replenished(event));
            Ok(())
        })
}

fn count(models: &mut ReadModels, order_id: Uuid, fact: &OrderFact) -> Result<(), Rejection> {
    models
        .counting
        .order(OrderId(order_id), fact)
        .map_err(|refusal| Rejection::new(refusal.code(), format!("order {order_id}: {refusal}")))
}
