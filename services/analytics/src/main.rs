//! The analytics service: wiring only.

use std::sync::Arc;

use analytics::adapters::postgres::{self, Batch, Generation};
use analytics::adapters::rebuild::Rebuilder;
use analytics::adapters::{http, metrics};
use analytics::config::Config;
use analytics::handlers;
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::reservation::StockReserved;
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use events::Subscribe as _;
use inbox::Subscriptions;
use service::{Definition, Deps, Service};
use tokio::sync::Notify;

/// Live, and of a rebuild.
fn subscriptions() -> Subscriptions<Batch> {
    Subscriptions::new()
        .on::<OrderPlaced>(handlers::order_placed)
        .on::<StockReserved>(handlers::stock_reserved)
        .on::<PaymentCompleted>(handlers::payment_completed)
        .on::<OrderConfirmed>(handlers::order_confirmed)
        .on::<OrderCancelled>(handlers::order_cancelled)
        .on::<StockLevelLow>(handlers::stock_level_low)
        .on::<StockLevelRestored>(handlers::stock_level_restored)
        .on::<StockReplenished>(handlers::stock_replenished)
}

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "analytics",
        listen: "127.0.0.1:8084",
        migrator: postgres::migrator(),
        publishes: &[],
        metrics: metrics::METRICS,
    };
    service::run(definition, |_: &Config, deps: &Deps| {
        let rebuild = Arc::new(Notify::new());
        let store = postgres::ReadModelStore::new(deps.database.clone());
        Ok(Service::new()
            .consumes(subscriptions(), Generation::Live)
            .sampler(metrics::RevenueSampler::new(store))
            .worker(Rebuilder::new(deps, subscriptions(), Arc::clone(&rebuild)))
            .http(http::routes(deps.database.clone(), rebuild), http::openapi()))
    })
}
